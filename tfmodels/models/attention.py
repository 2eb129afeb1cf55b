"""Kinds of attention as parts of a configuration: `create_model("bert_small", attention=FullAttention(causal=True))`.

A kind is a frozen dataclass that makes the attention layer of every block. The encoders of BERT's family take any; what
a paper adds beside attention, its sizes say. Kinds whose layers work on more than the tokens, such as the relay of
Star-Transformer, also make a `Nodes` layer, which puts those nodes before the blocks and takes them away after.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import keras
from keras import ops

from tfmodels.errors import UserError, nearest
from tfmodels.layers import MultiHeadAttention
from tfmodels.layers.base import Layer
from tfmodels.models.config import Config


class Guide(NamedTuple):
    """What a kind of attention is chosen by, beside what was measured; `tfmodels attention-guide` prints it.

    Attributes:
        paper: Its short name and arXiv id.
        time: The cost of one layer in time; T is the length, the other letters are said in the same line.
        memory: The same in memory.
        power: The power of T in `time`, with the other letters fixed.
        sees: What a token hears of in one layer.
        advice: When to take it and when not, a sentence or two.
    """

    paper: str
    time: str
    memory: str
    power: float
    sees: str
    advice: str


@dataclasses.dataclass(frozen=True)
class AttentionKind(Config):
    """The base of all kinds; a subclass adds its settings as fields and is known by its class's name.

    Attributes:
        guide: What it is chosen by.
        takes_masks: Whether its layers take any mask, not one of padding alone.
        takes_positions: Whether its layers take a `PositionScheme`.
        has_scores: Whether its layers have a logit for every pair of tokens.
    """

    guide: ClassVar[Guide]
    takes_masks: ClassVar[bool] = False
    takes_positions: ClassVar[bool] = False
    has_scores: ClassVar[bool] = False
    _kinds: ClassVar[dict[str, type]] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        AttentionKind._kinds[cls.__name__] = cls

    @classmethod
    def kinds(cls) -> dict[str, type[AttentionKind]]:
        """All kinds of the library, by their names.

        >>> AttentionKind.kinds()["FullAttention"].guide.power
        2.0
        """
        kinds = sorted(AttentionKind._kinds.items())
        return {
            name: kind
            for name, kind in kinds
            if kind.__module__.startswith("tfmodels.") and kind.make is not AttentionKind.make
        }

    def make(self, config, index: int, dtype, positions=None) -> keras.Layer:
        """The attention of one block.

        Args:
            config: The encoder's configuration: `num_heads`, `hidden_dim`, `attention_dropout`, `num_layers` ...
            index: Which block it is of, from 0.
            dtype: A Keras dtype policy.
            positions: The `PositionScheme` of the configuration's `positions`; None where they are added to embeddings.

        Returns:
            A layer with the call signature of `MultiHeadAttention`, named "attention".
        """
        raise NotImplementedError

    def make_nodes(self, config, dtype) -> Nodes | None:
        """The layer that puts further nodes beside the tokens, or None."""
        return

    def check(self, config) -> None:
        """Looks at the configuration that the kind is part of.

        Raises:
            UserError: They do not fit.
        """
        if not self.takes_positions and config.positions not in ("absolute", "none"):
            raise UserError(
                f"{type(self).__name__} does not know positions {config.positions!r}: take positions='absolute', or "
                "FullAttention."
            )

    @property
    def is_causal(self) -> bool:
        """Whether a token sees itself and what came before it alone."""
        return getattr(self, "causal", False)

    @property
    def max_length(self) -> int | None:
        """The most tokens that it can read, or None."""
        return None

    def to_dict(self):
        return {"kind": type(self).__name__, **super().to_dict()}

    @classmethod
    def from_dict(cls, values):
        """A kind from `to_dict`'s dictionary.

        Raises:
            UserError: There is no such kind, or it has no such field; the nearest one is named.
        """
        values = dict(values)
        name = values.pop("kind", cls.__name__)
        kinds = {name: kind for name, kind in cls._kinds.items() if kind.make is not AttentionKind.make}
        if name not in kinds:
            raise UserError(f"there is no kind of attention {name!r}: {nearest(name, kinds)}")
        return super(AttentionKind, kinds[name]).from_dict(values)


@dataclasses.dataclass(frozen=True)
class FullAttention(AttentionKind):
    """Every token with every other one (arXiv:1706.03762): O(T^2) in time and memory.

    Attributes:
        causal: Whether a token sees itself and what came before it alone.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Transformer, arXiv:1706.03762",
        time="T^2 D",
        memory="N T^2",
        power=2.0,
        sees="every token",
        advice="Up to a thousand tokens, where it costs little and loses nothing; wherever masks, relative "
        "positions or attention scores are needed.",
    )
    takes_masks: ClassVar[bool] = True
    takes_positions: ClassVar[bool] = True
    has_scores: ClassVar[bool] = True

    causal: bool = False

    def make(self, config, index, dtype, positions=None):
        return MultiHeadAttention(
            config.num_heads,
            config.hidden_dim,
            config.attention_dropout,
            positions,
            self.causal,
            dtype=dtype,
            name="attention",
        )


@dataclasses.dataclass(frozen=True)
class FixedLengthKind(AttentionKind):
    """The base of kinds that have weights for every position.

    Attributes:
        max_length: The most tokens of a row; None for the configuration's `max_sequence_length`.
    """

    max_length: int | None = None

    def length_of(self, config) -> int:
        """The number of positions that have weights."""
        return self.max_length or config.max_sequence_length

    def check(self, config):
        super().check(config)
        if self.max_length is None and config.positions == "none":
            raise UserError(
                f"{type(self).__name__} has weights for every position: say how many, such as max_length=512, or take "
                "positions='absolute'."
            )
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"{type(self).__name__} needs a max_length of at least one token, not {self.max_length}.")


class Nodes(Layer):
    """Further nodes beside the tokens, on which all blocks work; subclasses define what they are.

    Call arguments:
        tokens: float[B, T, D].
        is_real: bool[B, T].

    Returns:
        A dict of `nodes` float[B, L, D] and `is_real` bool[B, L]; whatever else is in it is handed to every block's
        attention, as arguments of its call.
    """

    # Whether there is a `summary`; otherwise the pooler reads a token.
    sums_up = False

    def tokens(self, nodes, length):
        """The tokens among the nodes: float[B, T, D] of float[B, L, D] and T."""
        raise NotImplementedError

    def summary(self, nodes, is_real):
        """What the pooler reads: float[B, D] of float[B, L, D] and the tokens' bool[B, T]."""
        raise NotImplementedError


class TokensOf(keras.layers.Layer):
    """`Nodes.tokens` as a node of the functional graph.

    Args:
        nodes: A `Nodes` layer.

    Call arguments:
        values: float[B, L, D].
        tokens: float[B, T, D], what the nodes were made from; only its shape is used.

    Returns:
        float[B, T, D].
    """

    def __init__(self, nodes, **kwargs):
        super().__init__(dtype=nodes.dtype_policy, **kwargs)
        self.nodes = nodes

    def call(self, values, tokens):
        return self.nodes.tokens(values, ops.shape(tokens)[1])

    def compute_output_spec(self, values, tokens):
        return keras.KerasTensor(tokens.shape, dtype=self.compute_dtype)


class SummaryOf(TokensOf):
    """`Nodes.summary` as a node of the functional graph; see `TokensOf`.

    Call arguments:
        values: float[B, L, D].
        is_real: bool[B, T], of the tokens.

    Returns:
        float[B, D].
    """

    def call(self, values, is_real):
        return self.nodes.summary(values, is_real)

    def compute_output_spec(self, values, is_real):
        return keras.KerasTensor((values.shape[0], values.shape[-1]), dtype=self.compute_dtype)
