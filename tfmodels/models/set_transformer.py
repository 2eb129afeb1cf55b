"""Set Transformer: an encoder of sets, whose elements have no order (Lee et al., arXiv:1810.00825).

It differs from BERT in three things. There are no positions, so that a set's elements may come in any order. Attention
goes through m learned points in every layer (ISAB, section 3.1), which any encoder of BERT's family can take as
`attention=InducedSetAttention(...)`; `attention=None` is full attention (SAB). And `pooled_output` is what learned
seeds make of the set (PMA, section 3.2), after blocks in which the seeds see each other; several seeds are averaged.
The feed-forward network of a block is one layer with relu, as in the authors' code, unless `intermediate_dim` says
otherwise. The authors' models read numbers or points; the vectors of their elements are here those of tokens.

Cost: time O(B T m D + B T D^2) and memory O(B N T m) a layer; with full attention T for m.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers import FeedForward, MultiHeadAttention, Projection
from tfmodels.layers.sets import InducedAttention, PoolingByMultiHeadAttention
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset
from tfmodels.ops import padding


@dataclasses.dataclass(frozen=True)
class InducedSetAttention(AttentionKind):
    """Learned points ask all tokens, and the tokens ask the points (Set Transformer's ISAB, arXiv:1810.00825).

    Attributes:
        num_points: m.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Set Transformer, arXiv:1810.00825",
        time="T m D, m points",
        memory="N T m",
        power=1.0,
        sees="every token, through m points that all share",
        advice="For sets, and for texts whose order does not matter. A token cannot single out another one: what it "
        "hears is a summary.",
    )

    num_points: int = 32

    def make(self, config, index, dtype, positions=None):
        return InducedAttention(
            self.num_points,
            _block(config, dtype, "block"),
            _attention(config, dtype),
            dtype=dtype,
            name="attention",
        )

    def check(self, config):
        super().check(config)
        if self.num_points < 1:
            raise UserError(f"InducedSetAttention needs at least one point, not {self.num_points}.")


@dataclasses.dataclass(frozen=True)
class SetTransformerConfig(BertConfig):
    """The sizes and rates of a Set Transformer; see `BertConfig`. `max_sequence_length` bounds nothing here.

    Attributes:
        intermediate_dim: F; None for a feed-forward network of one layer.
        num_seeds: k, the vectors that ask for the set's summary.
        num_decoder_layers: The number of blocks in which the seeds see each other.
    """

    num_layers: int = 2
    num_heads: int = 4
    hidden_dim: int = 128
    intermediate_dim: int | None = None
    num_segments: int = 0
    activation: str = "relu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    positions: str = "none"
    attention: AttentionKind | None = InducedSetAttention()
    num_seeds: int = 1
    num_decoder_layers: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.num_seeds < 1:
            raise UserError(f"a set cannot be summed up by {self.num_seeds} seeds: give num_seeds at least 1.")


class SetTransformerBackbone(BertBackbone):
    """The Set Transformer, encoder and pooling; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("set_transformer", vocabulary_size=100)
    >>> backbone.max_length is None
    True
    """

    config_class = SetTransformerConfig
    # The seeds answer for an empty set too.
    reads_no_tokens = True

    @classmethod
    def make_parts(cls, config, dtype):
        pooler = PoolingByMultiHeadAttention(
            config.num_seeds,
            _block(config, dtype, "block"),
            cls.make_feed_forward(config, dtype),
            dtype=dtype,
            name="pooler",
        )
        decoder = [_block(config, dtype, f"decoder_{index}") for index in range(config.num_decoder_layers)]
        return {**super().make_parts(config, dtype), "pooler": pooler, "decoder": decoder}

    @classmethod
    def make_feed_forward(cls, config, dtype):
        return _feed_forward(config, dtype)

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        # Identity for BERT's pooler, which would read what `pooled` returns.
        return super().wire({**parts, "seeds": parts["pooler"], "pooler": lambda x: x}, inputs, intermediates)

    @classmethod
    def pooled(cls, parts, sequence, inputs):
        """The mean of what the seeds make of the set, float[B, D]."""
        seeds = parts["seeds"](sequence, attention_mask=padding(inputs["padding_mask"]))
        for block in parts["decoder"]:
            seeds = block(seeds)
        return ops.mean(seeds, axis=1)

    def layer_groups(self):
        groups, own = super().layer_groups(), 1 + self.config.num_layers
        # The decoder stands above the pooler, which stands above all blocks.
        return [*groups[:own], [*groups[-1], *(layer for group in groups[own:-1] for layer in group)]]


def _attention(config, dtype):
    return MultiHeadAttention(
        config.num_heads, config.hidden_dim, config.attention_dropout, dtype=dtype, name="attention"
    )


def _feed_forward(config, dtype):
    if config.intermediate_dim is None:
        return Projection(config.hidden_dim, config.activation, dtype=dtype, name="feed_forward")
    return FeedForward(config.intermediate_dim, config.activation, dtype=dtype, name="feed_forward")


def _block(config, dtype, name):
    """MAB."""
    return BertBackbone.make_block(config, dtype, _attention(config, dtype), _feed_forward(config, dtype), name)


_SOURCE = "arXiv:1810.00825, section 5, and the sizes of its released code"

BACKBONE = SetTransformerBackbone
PRESETS = {
    # Of four clusters, the paper's section 5.3.
    "set_transformer": Preset(SetTransformerConfig(num_seeds=4, num_decoder_layers=2), 4_513_792, _SOURCE),
    "set_transformer_point_cloud": Preset(
        SetTransformerConfig(hidden_dim=256, attention=InducedSetAttention(num_points=16)), 9_538_304, _SOURCE
    ),
}
