"""ETC: long texts with global tokens above them (Ainslie et al., arXiv:2004.08483).

It differs from BERT in its attention (`layers.etc`), in the global tokens that stand beside the text in every layer,
and in having no absolute positions: any length can be read. The global tokens are the paper's "fixed blocks", one for
every stretch of tokens, and all begin as one learned vector; the feed-forward networks are shared between both inputs,
as in the paper. `pooled_output` is made from the mean of the global tokens, which are there to sum up the text. Its
other half, contrastive predictive coding, is no part of it.

The sizes are the paper's, section 4: 166 millions of parameters and 558, and 109 where the base model shares its
projections.

Cost: time O(B T (G + r) D + B T D^2) and memory O(B N T (G + r) + B T D) a layer, for G global tokens and radius r.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from tfmodels.layers.base import check_whole, truncated_normal
from tfmodels.layers.etc import GlobalLocalAttention, num_globals
from tfmodels.models.attention import AttentionKind, Guide, Nodes
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset
from tfmodels.ops import masked_mean, stretch, to_blocks


@dataclasses.dataclass(frozen=True)
class ETCAttention(AttentionKind):
    """ETC's global-local attention with relative labels (arXiv:2004.08483, section 3); for encoders.

    Attributes:
        radius: r, the tokens that a token sees on either side of it.
        tokens_per_global: The tokens that a global token stands for.
        max_distance: k; beyond it distances share a label.
        is_shared: Whether tokens and global tokens have the same projections.
        hard_global_to_long: Whether a global token sees, of the tokens, its own stretch alone.
    """

    guide: ClassVar[Guide] = Guide(
        paper="ETC, arXiv:2004.08483",
        time="T (G + r) D, G = T / p global tokens, one for every p, radius r",
        memory="N T (G + r)",
        power=2.0,
        sees="r tokens on either side, and all global tokens, which see everything",
        advice="Long texts with a structure of stretches, where relative positions count; linear where p grows with T.",
    )

    radius: int = 84
    tokens_per_global: int = 16
    max_distance: int = 12
    is_shared: bool = False
    hard_global_to_long: bool = False

    def make(self, config, index, dtype, positions=None):
        return GlobalLocalAttention(
            config.num_heads,
            config.hidden_dim,
            config.attention_dropout,
            self.radius,
            self.tokens_per_global,
            self.max_distance,
            self.is_shared,
            self.hard_global_to_long,
            dtype=dtype,
            name="attention",
        )

    def make_nodes(self, config, dtype):
        return GlobalTokens(self.tokens_per_global, dtype=dtype, name="nodes")


class GlobalTokens(Nodes):
    """A global token before the text for every stretch of it; real where any token of the stretch is.

    The mean of the real ones sums up the text.

    Args:
        tokens_per_global: The tokens that a global token stands for.

    Call arguments:
        tokens: float[B, T, D].
        is_real: bool[B, T].

    Returns:
        A dict of `nodes` float[B, G + T, D] and `is_real` bool[B, G + T].
    """

    sums_up = True

    def __init__(self, tokens_per_global, **kwargs):
        super().__init__(**kwargs)
        check_whole(1, tokens_per_global=tokens_per_global)
        self.tokens_per_global = tokens_per_global

    def build(self, tokens_shape, is_real_shape=None):
        self.vector = self.add_weight(name="vector", shape=(tokens_shape[-1],), initializer=truncated_normal())
        self.built = True

    def call(self, tokens, is_real):
        batch, length = ops.shape(tokens)[:2]
        count = num_globals(length, self.tokens_per_global)
        above = ops.broadcast_to(ops.cast(self.vector, tokens.dtype), (batch, count, tokens.shape[-1]))
        return {
            "nodes": ops.concatenate([above, tokens], axis=1),
            "is_real": ops.concatenate([self._real(is_real), is_real], axis=1),
        }

    def _real(self, is_real):
        """bool[B, G]: which global tokens are."""
        return ops.any(to_blocks(is_real, self.tokens_per_global), axis=2)

    def compute_output_spec(self, tokens, is_real):
        batch, length, width = tokens.shape
        nodes = None if length is None else length + num_globals(length, self.tokens_per_global)
        return {
            "nodes": keras.KerasTensor((batch, nodes, width), dtype=self.compute_dtype),
            "is_real": keras.KerasTensor((batch, nodes), dtype="bool"),
        }

    def tokens(self, nodes, length):
        return stretch(nodes, ops.shape(nodes)[1] - length, length)

    def summary(self, nodes, is_real):
        real = self._real(is_real)
        return masked_mean(stretch(nodes, 0, ops.shape(real)[1]), real)


@dataclasses.dataclass(frozen=True)
class ETCConfig(BertConfig):
    """The sizes and rates of an ETC encoder; see `BertConfig`. `max_sequence_length` bounds nothing here."""

    num_segments: int = 16
    positions: str = "none"
    attention: AttentionKind | None = ETCAttention()


class ETCBackbone(BertBackbone):
    """The ETC encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("etc_base", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    12536064
    """

    config_class = ETCConfig


def _etc(layers, heads, hidden, **changes):
    return ETCConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden, **changes)


_SOURCE = "arXiv:2004.08483, section 4"

BACKBONE = ETCBackbone
PRESETS = {
    "etc_base": Preset(_etc(12, 12, 768), 166_295_040, _SOURCE),
    # Lifted from RoBERTa, whose vocabulary it has.
    "etc_large": Preset(
        _etc(24, 16, 1024, vocabulary_size=50_265, attention=ETCAttention(radius=169, max_distance=24)),
        558_879_744,
        _SOURCE,
    ),
}
