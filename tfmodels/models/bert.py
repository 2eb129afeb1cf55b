"""BERT: a bidirectional Transformer encoder (Devlin et al., arXiv:1810.04805).

The small sizes are those of Turc et al., "Well-Read Students Learn Better" (arXiv:1908.08962); MiniLM is the distilled
model of Wang et al. (arXiv:2002.10957), in the size that sentence embedders use. `embedding_dim` is an addition: a
factorised embedding for students that are smaller than their vocabulary's table. `positions` takes the relative
schemes of `layers.positions` in place of the learned positions; transformers knows the first two.

Cost: time O(B T^2 D + B T D^2) and memory O(B N T^2 + B T D) a layer.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers import (
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    Projection,
    RelativeKeys,
    RelativeKeysAndQueries,
    RelativeKeysAndValues,
    SinusoidKeysAndValues,
    TextEmbedding,
    TransformerBlock,
)
from tfmodels.models.backbone import Backbone, WithScores, token_inputs
from tfmodels.models.config import Config, Preset, nearest
from tfmodels.ops import padding

# The values of `BertConfig.positions` -> what knows the positions in attention, instead of the embeddings.
_SCHEMES = {
    "absolute": None,
    "relative_key": RelativeKeys,
    "relative_key_query": RelativeKeysAndQueries,
    "relative_key_value": RelativeKeysAndValues,
    "sinusoid_key_value": SinusoidKeysAndValues,
}


@dataclasses.dataclass(frozen=True)
class BertConfig(Config):
    """The sizes and rates of a BERT encoder.

    Attributes:
        vocabulary_size: V.
        num_layers: K.
        num_heads: N.
        hidden_dim: D.
        intermediate_dim: F.
        embedding_dim: The size of the embedding vectors; None for `hidden_dim`.
        max_sequence_length: The most tokens of a row, where positions are learned.
        num_segments: The number of segment ids.
        activation: The feed-forward network's activation.
        dropout: fraction dropped after the embeddings and in every residual branch.
        attention_dropout: fraction of the attention weights dropped.
        layer_norm_epsilon: Added to the variance.
        positions: "absolute" for vectors added to the embeddings, or vectors of distances in attention: "relative_key",
            "relative_key_query", "relative_key_value" (Shaw et al.) or "sinusoid_key_value" (NEZHA).
        max_distance: The distance, in positions, beyond which keys share a vector; the default tells all apart.
    """

    vocabulary_size: int = 30_522
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768
    intermediate_dim: int = 3072
    embedding_dim: int | None = None
    max_sequence_length: int = 512
    num_segments: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    positions: str = "absolute"
    max_distance: int | None = None

    @property
    def num_positions(self):
        """The rows of a table of absolute positions; relative ones tell as many distances apart on either side."""
        return self.max_sequence_length

    def __post_init__(self):
        if self.positions not in _SCHEMES:
            raise UserError(f"there are no positions {self.positions!r}: {nearest(self.positions, _SCHEMES)}")


class BertBackbone(Backbone):
    """The BERT encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("bert_tiny", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    293632
    """

    config_class = BertConfig

    @classmethod
    def make_parts(cls, config, dtype):
        return {
            "embeddings": cls.make_embeddings(config, dtype),
            "blocks": cls.make_blocks(config, dtype),
            "pooler": Projection(config.hidden_dim, "tanh", dtype=dtype, name="pooler"),
        }

    @classmethod
    def make_embeddings(cls, config, dtype, widen=None):
        """From `token_ids`, `segment_ids` and `padding_mask` to float[B, T, D]; `widen` is as in `TextEmbedding`."""
        return TextEmbedding(
            config.vocabulary_size,
            config.hidden_dim,
            cls.make_positions(config, dtype) if _SCHEMES[config.positions] is None else None,
            embedding_dim=config.embedding_dim,
            num_segments=config.num_segments,
            dropout=config.dropout,
            layer_norm_epsilon=config.layer_norm_epsilon,
            widen=widen,
            dtype=dtype,
            name="embeddings",
        )

    @classmethod
    def make_positions(cls, config, dtype):
        """The vectors that absolute positions add to the embeddings."""
        return LearnedPositions(config.num_positions, dtype=dtype, name="positions")

    @classmethod
    def make_blocks(cls, config, dtype):
        """The layers in their order; one instance may stand at several places."""
        return [
            cls.make_block(
                config, dtype, cls.make_attention(config, dtype), cls.make_feed_forward(config, dtype), f"block_{index}"
            )
            for index in range(config.num_layers)
        ]

    @classmethod
    def make_block(cls, config, dtype, attention, feed_forward, name):
        """One layer."""
        return TransformerBlock(
            attention,
            feed_forward,
            dropout=config.dropout,
            layer_norm_epsilon=config.layer_norm_epsilon,
            dtype=dtype,
            name=name,
        )

    @classmethod
    def make_attention(cls, config, dtype):
        """One layer's attention."""
        scheme = _SCHEMES[config.positions]
        if scheme is not None:
            farthest = config.num_positions - 1 if config.max_distance is None else config.max_distance
            scheme = scheme(farthest, config.hidden_dim // config.num_heads, dtype=dtype, name="positions")
        return MultiHeadAttention(
            config.num_heads, config.hidden_dim, config.attention_dropout, scheme, dtype=dtype, name="attention"
        )

    @classmethod
    def make_feed_forward(cls, config, dtype):
        """One layer's feed-forward network."""
        return FeedForward(config.intermediate_dim, config.activation, dtype=dtype, name="feed_forward")

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        x = parts["embeddings"](inputs["token_ids"], inputs["segment_ids"], inputs["padding_mask"])
        mask = _Mask(name="mask")(inputs["padding_mask"], inputs.get("attention_mask"))
        hidden_states, attention_scores = [x], []
        with_scores = functools.cache(WithScores)  # a block may stand at several places
        for block in parts["blocks"]:
            if intermediates:
                x, scores = with_scores(block)(x, attention_mask=mask)
                attention_scores.append(scores)
            else:
                x = block(x, attention_mask=mask)
            hidden_states.append(x)
        outputs = {"sequence_output": x, "pooled_output": parts["pooler"](x[:, 0])}
        if intermediates:
            outputs |= {"hidden_states": tuple(hidden_states), "attention_scores": tuple(attention_scores)}
        return outputs

    @property
    def max_length(self):
        return self.config.max_sequence_length if self.parts["embeddings"].positions is not None else None

    def with_attention_mask(self):
        mask = keras.Input((None, None, None), dtype="bool", name="attention_mask")
        inputs = {**token_inputs(), "attention_mask": mask}
        return keras.Model(inputs, self.wire(self.parts, inputs), name=f"{self.name}_masked")


class _Mask(keras.layers.Layer):
    """Real keys, of those that a mask allows where there is one, as a node of the functional graph."""

    def call(self, is_real, attention_mask=None):
        mask = padding(is_real)
        return mask if attention_mask is None else ops.logical_and(mask, attention_mask)


def _bert(layers, heads, hidden, **changes):
    return BertConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden, **changes)


_TURC = "arXiv:1908.08962, table 1"
_DEVLIN = "arXiv:1810.04805, section 3"

BACKBONE = BertBackbone
PRESETS = {
    "bert_tiny": Preset(_bert(2, 2, 128), 4_385_920, _TURC),
    "bert_mini": Preset(_bert(4, 4, 256), 11_170_560, _TURC),
    "bert_small": Preset(_bert(4, 8, 512), 28_763_648, _TURC),
    "bert_medium": Preset(_bert(8, 8, 512), 41_373_184, _TURC),
    "bert_base": Preset(_bert(12, 12, 768), 109_482_240, _DEVLIN),
    "bert_large": Preset(_bert(24, 16, 1024), 335_141_888, _DEVLIN),
    "minilm_l6": Preset(_bert(6, 12, 384), 22_713_216, "all-MiniLM-L6-v2; arXiv:2002.10957"),
}
