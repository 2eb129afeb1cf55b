"""Reformer: attention by hashing, reversible layers, axial positions (Kitaev et al., arXiv:2001.04451).

A causal language model for texts of tens of thousands of characters. Layers change two streams in turn
(`layers.reversible`), whose concatenation, 2 D wide and normalised, is `sequence_output`; `pooled_output` is the last
real token's vector, or the first one's where attention is not causal. Segment ids are not used. The kinds
`LSHAttention` and `LocalAttention` are for every encoder of BERT's kind too.

What differs from transformers, beside what `layers.lsh` says of rotations: chunks at an end have nothing beyond it, as
in the paper, unless the kinds say `circular=True`, which `from_hf` sets, since released models were trained on rings.
Any length is right: every layer fills up its own last chunk, where transformers fills up the whole row to a common
multiple of the chunks, so that a ring closes elsewhere, and refuses to train. In a row shorter than a chunk all tokens
see each other in both. Axial positions need not be as many as tokens. Dropout falls on the sum of words and positions
and on the outputs of the parts, not inside the feed-forward network.

Cost: time O(B T (R C D + log T + D^2 + D F)) a layer, and memory O(B T D) for all of them where activations are
computed back (`training.reversible`), plus that of one layer's attention.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import keras

from tfmodels.errors import UserError
from tfmodels.layers import (
    AxialPositions,
    ChunkedFeedForward,
    DenseFirstToken,
    DenseLastToken,
    FeedForward,
    FirstTokenPooling,
    LastTokenPooling,
    LayerNorm,
    LearnedPositions,
    LocalSelfAttention,
    LSHSelfAttention,
    ReversibleBlock,
    ReversibleStack,
    WordVectors,
)
from tfmodels.layers.base import Layer
from tfmodels.layers.lsh import check_chunks
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.backbone import Backbone
from tfmodels.models.config import Config, Preset
from tfmodels.models.tasks import Task, TokenClassifier
from tfmodels.ops import bucket_factors, padding


@dataclasses.dataclass(frozen=True)
class _ChunkedKind(AttentionKind):
    """What both kinds share.

    Attributes:
        chunk_length: C, tokens.
        chunks_before: The number of chunks before its own that a token sees.
        chunks_after: And after; None for none under causal attention, else as many as the kind has by itself.
        causal: Whether a token sees itself and what came before it alone.
        circular: Whether the last chunk stands before the first one, as in the released models.
        dropout: fraction of the attention weights dropped; None for the configuration's `attention_dropout`.
    """

    _after: ClassVar[int] = 0

    chunk_length: int = 64
    chunks_before: int = 1
    chunks_after: int | None = None
    causal: bool = False
    circular: bool = False
    dropout: float | None = None

    def __post_init__(self):
        super().__post_init__()
        check_chunks(self.chunk_length, self.chunks_before, self.after, self.causal)

    @property
    def after(self) -> int:
        """The number of chunks after its own that a token sees."""
        if self.chunks_after is None:
            return 0 if self.causal else self._after
        return self.chunks_after

    def _settings(self, config, dtype) -> dict:
        """What the layers of both kinds are made with."""
        return {
            "chunk_length": self.chunk_length,
            "chunks_before": self.chunks_before,
            "chunks_after": self.after,
            "dropout": config.attention_dropout if self.dropout is None else self.dropout,
            "is_causal": self.causal,
            "head_dim": getattr(config, "head_dim", None),
            "use_bias": getattr(config, "attention_bias", True),
            "is_circular": self.circular,
            "dtype": dtype,
            "name": "attention",
        }


@dataclasses.dataclass(frozen=True)
class LocalAttention(_ChunkedKind):
    """Attention inside chunks of neighbours (`layers.LocalSelfAttention`), linear in the length."""

    guide: ClassVar[Guide] = Guide(
        paper="Reformer, arXiv:2001.04451",
        time="T C D, chunks of C tokens and their neighbours",
        memory="N T C",
        power=1.0,
        sees="its own chunk and the chunks beside it",
        advice="The cheapest kind and a strong one for language: most layers of released Reformers. Alone it carries "
        "nothing farther than the layers times the chunks seen; put it beside a kind that does.",
    )
    _after: ClassVar[int] = 1

    def make(self, config, index, dtype, positions=None):
        return LocalSelfAttention(config.num_heads, config.hidden_dim, **self._settings(config, dtype))


@dataclasses.dataclass(frozen=True)
class LSHAttention(_ChunkedKind):
    """Attention to what hashes alike (`layers.LSHSelfAttention`), O(T log T) in the length.

    Attributes:
        num_buckets: An even number, or several whose product is the number of buckets; None for about two a chunk of
            `max_sequence_length` tokens.
        num_hashes: R, rounds; each costs as much as the first, and finds some of what the others have missed.
        seed: What the rotations at inference depend on, each layer's on its place too.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Reformer, arXiv:2001.04451",
        time="R T (C D + log T), R rounds of hashing, chunks of C tokens",
        memory="N R T C",
        power=1.0,
        sees="those of all tokens that are most like it",
        advice="Long texts in which few tokens far away matter, such as copies and names. Queries are keys, so that "
        "weights of full attention are of no use to it; more rounds at inference than in training do no harm. Causal, "
        "it attends to no later token, but later tokens change which earlier ones share a chunk with it.",
    )

    num_buckets: int | tuple[int, ...] | None = None
    num_hashes: int = 2
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.num_buckets, list):  # JSON has lists.
            object.__setattr__(self, "num_buckets", tuple(self.num_buckets))
        if self.num_buckets is not None:
            factors = self.num_buckets if isinstance(self.num_buckets, tuple) else (self.num_buckets,)
            if not all(map(_is_whole, factors)):
                raise UserError(f"num_buckets={self.num_buckets!r}: give a whole number or several, such as (16, 32).")
            bucket_factors(self.num_buckets)
        if self.num_hashes < 1:
            raise UserError(f"num_hashes={self.num_hashes}: hashing needs at least one round.")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} is no seed: choose 0 or above.")

    def make(self, config, index, dtype, positions=None):
        buckets = self.num_buckets or _number_of_buckets(config.max_sequence_length, self.chunk_length)
        return LSHSelfAttention(
            config.num_heads,
            config.hidden_dim,
            buckets,
            self.num_hashes,
            # One number a layer of a model, and none of another seed's.
            seed=self.seed * 1000 + index,
            **self._settings(config, dtype),
        )


def _is_whole(value) -> bool:
    """Whether it is a whole number; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _number_of_buckets(length, chunk_length):
    """The power of two from 2 T / C on, in two factors where one would make rotations as wide as vectors."""
    bits = max(1, math.ceil(math.log2(2 * length / chunk_length)))
    return 2**bits if bits < 7 else (2 ** (bits // 2), 2 ** (bits - bits // 2))


@dataclasses.dataclass(frozen=True)
class ReformerConfig(Config):
    """The sizes and rates of a Reformer.

    Attributes:
        vocabulary_size: V.
        num_layers: K.
        num_heads: N.
        hidden_dim: D, of each of the two streams.
        intermediate_dim: F.
        head_dim: H; None for D / N.
        max_sequence_length: The most tokens of a row.
        axial_shape: The factors of the positions, at least `max_sequence_length` together; None for a plain table.
        axial_dims: The sizes of the two axial vectors, D together; None for two of size D that are added.
        activation: The feed-forward network's activation.
        dropout: fraction dropped of the embeddings, of the output and in every residual branch.
        attention_dropout: fraction of the attention weights dropped, where a kind does not say otherwise.
        layer_norm_epsilon: Added to the variance.
        feed_forward_chunk: Tokens that the feed-forward network is applied to at a time; None for all.
        attention: The kinds of attention, or their `to_dict`; layers take them in turn.
    """

    # Projections of attention have none.
    attention_bias: ClassVar[bool] = False
    # They are added to the embeddings, whichever they are.
    positions: ClassVar[str] = "absolute"

    vocabulary_size: int = 320
    num_layers: int = 6
    num_heads: int = 2
    hidden_dim: int = 256
    intermediate_dim: int = 512
    head_dim: int | None = 64
    max_sequence_length: int = 524_288
    axial_shape: tuple[int, int] | None = (512, 1024)
    axial_dims: tuple[int, int] | None = (64, 192)
    activation: str = "relu"
    dropout: float = 0.05
    attention_dropout: float = 0.05
    layer_norm_epsilon: float = 1e-12
    feed_forward_chunk: int | None = None
    attention: tuple[AttentionKind, ...] = (
        LocalAttention(causal=True),
        LSHAttention(causal=True, num_buckets=(64, 128), num_hashes=1, dropout=0.0),
    )

    def __post_init__(self):
        kinds = self.attention if isinstance(self.attention, list | tuple) else (self.attention,)
        kinds = tuple(AttentionKind.from_dict(kind) if isinstance(kind, dict) else kind for kind in kinds)
        if not kinds or not all(isinstance(kind, AttentionKind) for kind in kinds):
            raise UserError(
                f"attention={self.attention!r} is not one or more kinds of attention, such as LSHAttention()."
            )
        object.__setattr__(self, "attention", kinds)
        super().__post_init__()
        if len({kind.is_causal for kind in kinds}) > 1:
            raise UserError("some layers are causal and some see what comes after: give all kinds the same `causal`.")
        for kind in kinds:
            if type(kind).make_nodes is not AttentionKind.make_nodes:
                raise UserError(
                    f"{type(kind).__name__} works on more than the tokens, which a Reformer does not have: take "
                    "another kind, or an encoder of BERT's kind."
                )
            kind.check(self)
        if self.axial_shape is not None and math.prod(self.axial_shape) < self.max_sequence_length:
            raise UserError(
                f"axial_shape={self.axial_shape} tells {math.prod(self.axial_shape)} positions apart, fewer than "
                f"max_sequence_length={self.max_sequence_length}: choose larger factors or fewer tokens."
            )

    def to_dict(self):
        return {**super().to_dict(), "attention": [kind.to_dict() for kind in self.attention]}

    @property
    def is_causal(self) -> bool:
        """Whether a token sees itself and what came before it alone."""
        return self.attention[0].is_causal


class ReformerEmbedding(Layer):
    """The sum of token and position vectors, dropped out, not normalised.

    Args:
        tokens: A layer from ids to float[B, T, D].
        positions: A layer from float[B, T, D] to the vectors to add.
        dropout: fraction of the sum dropped in training.

    Call arguments:
        token_ids: int[B, T].
        segment_ids: int[B, T], not used: a functional model needs all of its inputs.

    Returns:
        float[B, T, D].
    """

    def __init__(self, tokens, positions, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.tokens = tokens
        self.positions = positions
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, token_ids_shape, segment_ids_shape=None):
        self.tokens.build(token_ids_shape)
        self.positions.build((*token_ids_shape, self.tokens.embedding_dim))
        self.built = True

    def call(self, token_ids, segment_ids=None, training=None):
        vectors = self.tokens(token_ids)
        return self.drop(vectors + self.positions(vectors), training=training)

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None):
        return (*token_ids_shape, self.tokens.embedding_dim)


class ReformerBackbone(Backbone):
    """The Reformer; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> sizes = {"num_layers": 2, "max_sequence_length": 64, "axial_shape": (8, 8)}
    >>> backbone = tfmodels.create_model("reformer_crime_and_punishment", **sizes)
    >>> backbone.output["sequence_output"].shape
    (None, None, 512)
    """

    config_class = ReformerConfig

    @classmethod
    def make_parts(cls, config, dtype):
        def block(index):
            feed_forward = FeedForward(config.intermediate_dim, config.activation, dtype=dtype, name="feed_forward")
            if config.feed_forward_chunk is not None:
                feed_forward = ChunkedFeedForward(feed_forward, config.feed_forward_chunk, dtype=dtype, name="chunks")
            return ReversibleBlock(
                config.attention[index % len(config.attention)].make(config, index, dtype),
                feed_forward,
                dropout=config.dropout,
                layer_norm_epsilon=config.layer_norm_epsilon,
                dtype=dtype,
                name=f"block_{index}",
            )

        if config.axial_shape is None:
            positions = LearnedPositions(config.max_sequence_length, dtype=dtype, name="positions")
        else:
            positions = AxialPositions(config.axial_shape, config.axial_dims, dtype=dtype, name="positions")
        tokens = WordVectors(config.vocabulary_size, config.hidden_dim, dtype=dtype, name="tokens")
        pooling = LastTokenPooling if config.is_causal else FirstTokenPooling
        return {
            "embeddings": ReformerEmbedding(tokens, positions, config.dropout, dtype=dtype, name="embeddings"),
            "stack": ReversibleStack([block(index) for index in range(config.num_layers)], dtype=dtype, name="stack"),
            "norm": LayerNorm(config.layer_norm_epsilon, dtype=dtype, name="norm"),
            "drop": keras.layers.Dropout(config.dropout, dtype=dtype, name="drop"),
            "pooling": pooling(dtype=dtype, name="pooling"),
        }

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        x = parts["embeddings"](inputs["token_ids"], inputs["segment_ids"])
        mask, stack, states = padding(inputs["padding_mask"]), parts["stack"], ()
        if intermediates:
            y, states = _WithStates(stack)(x, mask)
        else:
            y = stack(x, attention_mask=mask)
        y = parts["drop"](parts["norm"](y))
        pooled = parts["pooling"]({"sequence_output": y, "padding_mask": inputs["padding_mask"]})
        outputs = {"sequence_output": y, "pooled_output": pooled}
        if intermediates:
            outputs |= {"hidden_states": (x, *states, y), "attention_scores": ()}
        return outputs

    def make_classifier_pooling(self, dropout):
        """A hidden layer on the first token's vector, as in transformers; of causal models on the last one's."""
        pooling = DenseLastToken if self.config.is_causal else DenseFirstToken
        return pooling(self.config.hidden_dim, "tanh", dropout, dtype=self.dtype_policy, name="pooling")

    @property
    def max_length(self):
        return self.config.max_sequence_length

    @property
    def hidden_dims(self):
        return (self.config.hidden_dim,) * self.config.num_layers + (2 * self.config.hidden_dim,)

    @property
    def attention_heads(self):
        return ()

    def layer_groups(self):
        blocks = [[block] for block in self.parts["stack"].blocks]
        return [[self.parts["embeddings"]], *blocks, [self.parts["norm"]]]


class _WithStates(keras.layers.Layer):
    """A stack's call that returns the states between blocks too, as an operation of its own (see `WithScores`)."""

    def __init__(self, stack):
        super().__init__(dtype=stack.dtype_policy, name=f"{stack.name}_with_states")
        self.stack = stack

    def call(self, inputs, attention_mask, training=None):
        return self.stack(inputs, attention_mask=attention_mask, training=training, return_states=True)

    def compute_output_spec(self, inputs, attention_mask, training=None):
        return self.stack.compute_output_spec(inputs, return_states=True)


class ReformerLM(Task):
    """A distribution over the token that follows, at every position, by an output layer of its own on both streams.

    Args:
        backbone: A causal `ReformerBackbone`.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}: at t for the token at t + 1.

    Raises:
        UserError: The backbone sees the tokens that it is to tell.
    """

    def __init__(self, backbone, name=None):
        if not backbone.config.is_causal:
            raise UserError(
                f"{backbone.name} sees the tokens that a language model is to tell: give its attention causal=True, or "
                "take ReformerMaskedLM."
            )
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        return TokenClassifier.make_head(backbone, backbone.config.vocabulary_size, dropout=0.0)


class ReformerMaskedLM(ReformerLM):
    """A distribution over the vocabulary at every position; see `ReformerLM`.

    Args:
        backbone: A `ReformerBackbone` that is not causal.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}.
    """

    def __init__(self, backbone, name=None):
        super(ReformerLM, self).__init__(backbone, {}, name)


BACKBONE = ReformerBackbone
PRESETS = {
    "reformer_crime_and_punishment": Preset(
        ReformerConfig(), 2_584_064, "google/reformer-crime-and-punishment as released"
    ),
    "reformer_enwik8": Preset(
        ReformerConfig(
            vocabulary_size=258,
            num_layers=12,
            num_heads=8,
            hidden_dim=1024,
            intermediate_dim=4096,
            head_dim=128,
            max_sequence_length=65_536,
            axial_shape=(128, 512),
            axial_dims=(256, 768),
            dropout=0.2,
            attention_dropout=0.2,
            attention=(
                *[LocalAttention(chunk_length=128, causal=True)] * 2,
                LSHAttention(chunk_length=256, causal=True, num_buckets=512, num_hashes=4, dropout=0.1),
                LocalAttention(chunk_length=128, causal=True),
            ),
        ),
        148_654_080,
        "google/reformer-enwik8 as released",
    ),
}
