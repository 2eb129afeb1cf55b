"""BERT: a bidirectional Transformer encoder (Devlin et al., arXiv:1810.04805).

The small sizes are those of Turc et al., "Well-Read Students Learn Better" (arXiv:1908.08962); MiniLM is the distilled
model of Wang et al. (arXiv:2002.10957), in the size that sentence embedders use. `embedding_dim` is an addition: a
factorised embedding for students that are smaller than their vocabulary's table. `positions` takes the relative
schemes of `layers.positions` in place of the learned positions; transformers knows the first two. `attention` takes
another kind of attention (`models.attention`).

Cost: time O(B T^2 D + B T D^2) and memory O(B N T^2 + B T D) a layer.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from keras import ops

from tfmodels.errors import UserError, nearest
from tfmodels.layers import (
    BucketedBias,
    DistanceRescaling,
    FeedForward,
    LastTokenPooling,
    LearnedPositions,
    LinearBias,
    Projection,
    RelativeKeys,
    RelativeKeysAndQueries,
    RelativeKeysAndValues,
    SinusoidKeysAndValues,
    TextEmbedding,
    TransformerBlock,
)
from tfmodels.layers.xl import XLPositions
from tfmodels.models.attention import AttentionKind, FullAttention, SummaryOf, TokensOf
from tfmodels.models.backbone import Backbone, TokenModel, WithScores, token_inputs
from tfmodels.models.config import Config, Preset
from tfmodels.ops import padding


def _by_distance(scheme):
    """A scheme with a vector for every distance."""

    def make(config, **settings):
        farthest = config.num_positions - 1 if config.max_distance is None else config.max_distance
        return scheme(farthest, config.hidden_dim // config.num_heads, **settings)

    return make


def _t5_bias(config, **settings):
    farthest = 128 if config.max_distance is None else config.max_distance
    return BucketedBias(config.num_heads, max_distance=farthest, is_causal=config.is_causal, **settings)


def _transformer_xl(config, **settings):
    return XLPositions(config.num_heads, config.hidden_dim, config.max_distance, **settings)


# The values of `BertConfig.positions` -> what makes the scheme that knows the positions in attention, or None.
_SCHEMES = {
    "absolute": None,
    "none": None,
    "relative_key": _by_distance(RelativeKeys),
    "relative_key_query": _by_distance(RelativeKeysAndQueries),
    "relative_key_value": _by_distance(RelativeKeysAndValues),
    "sinusoid_key_value": _by_distance(SinusoidKeysAndValues),
    "transformer_xl": _transformer_xl,
    "t5_bias": _t5_bias,
    "alibi": lambda config, **settings: LinearBias(config.num_heads, **settings),
    "distance_aware": lambda config, **settings: DistanceRescaling(config.num_heads, **settings),
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
        positions: "absolute" for vectors added to the embeddings, "none" for sets, or what attention knows of
            distances: "relative_key", "relative_key_query", "relative_key_value" (Shaw et al.), "sinusoid_key_value"
            (NEZHA), "transformer_xl", "t5_bias", "alibi" or "distance_aware" (DA-Transformer).
        max_distance: The distance, in positions, beyond which keys share a vector or a bias; the default tells all
            apart, with "t5_bias" it is T5's 128. "alibi" and "distance_aware" know every distance.
        attention: The kind of attention, or its `to_dict`; None for full attention. Under a causal kind
            `pooled_output` is made from the last real token.
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
    attention: AttentionKind | None = None

    @property
    def num_positions(self):
        """The rows of a table of absolute positions; relative ones tell as many distances apart on either side."""
        return self.max_sequence_length

    def __post_init__(self):
        super().__post_init__()
        if self.positions not in _SCHEMES:
            raise UserError(f"there are no positions {self.positions!r}: {nearest(self.positions, _SCHEMES)}")
        if isinstance(self.attention, dict):
            object.__setattr__(self, "attention", AttentionKind.from_dict(self.attention))
        if not isinstance(self.attention, AttentionKind | None):
            raise UserError(f"attention={self.attention!r} is no kind of attention, such as FullAttention().")
        self.kind.check(self)

    @property
    def kind(self) -> AttentionKind:
        """The kind of attention, full where none is given."""
        return self.attention or FullAttention()

    @property
    def is_causal(self) -> bool:
        """Whether a token sees itself and what came before it alone."""
        return self.kind.is_causal


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
            **cls.make_nodes(config, dtype),
            "blocks": cls.make_blocks(config, dtype),
            "pooler": Projection(config.hidden_dim, "tanh", dtype=dtype, name="pooler"),
        }

    @classmethod
    def make_nodes(cls, config, dtype):
        """The kind's `Nodes` as a part, where it has any."""
        nodes = config.kind.make_nodes(config, dtype)
        return {} if nodes is None else {"nodes": nodes}

    @classmethod
    def make_embeddings(cls, config, dtype, widen=None):
        """From `token_ids`, `segment_ids` and `padding_mask` to float[B, T, D]; `widen` is as in `TextEmbedding`."""
        return TextEmbedding(
            config.vocabulary_size,
            config.hidden_dim,
            cls.make_positions(config, dtype) if config.positions == "absolute" else None,
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
                config,
                dtype,
                cls.make_attention(config, dtype, index),
                cls.make_feed_forward(config, dtype),
                f"block_{index}",
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
    def make_attention(cls, config, dtype, index=0):
        """The attention of the layer with a number."""
        make = _SCHEMES[config.positions]
        scheme = make and make(config, dtype=dtype, name="positions")
        return config.kind.make(config, index, dtype, scheme)

    @classmethod
    def make_feed_forward(cls, config, dtype):
        """One layer's feed-forward network."""
        return FeedForward(config.intermediate_dim, config.activation, dtype=dtype, name="feed_forward")

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        tokens = parts["embeddings"](inputs["token_ids"], inputs["segment_ids"], inputs["padding_mask"])
        outputs = cls.encode(parts, tokens, inputs, intermediates)
        summary = outputs.pop("summary", None)
        if summary is None:
            summary = cls.pooled(parts, outputs["sequence_output"], inputs)
        return {**outputs, "pooled_output": parts["pooler"](summary)}

    @classmethod
    def encode(cls, parts, tokens, inputs, intermediates=False) -> dict:
        """All blocks on float[B, T, D]: `sequence_output` and, if asked for, the named intermediates.

        Where further nodes sum up the sequence, `summary` is what the pooler reads.
        """
        x, is_real, further = tokens, inputs["padding_mask"], {}
        nodes = parts.get("nodes")
        if nodes is not None:
            further = nodes(tokens, is_real)
            x, is_real = further.pop("nodes"), further.pop("is_real")

        def tokens_of(values, name):
            return values if nodes is None else TokensOf(nodes, name=name)(values, tokens)

        mask = _Mask(name="mask")(is_real, inputs.get("attention_mask"))
        arguments = {"attention_mask": mask, **({"attention_inputs": further} if further else {})}
        hidden_states, attention_scores = [x], []
        with_scores = functools.cache(WithScores)  # a block may stand at several places
        for block in parts["blocks"]:
            if intermediates and block.attention.has_scores:
                x, scores = with_scores(block)(x, **arguments)
                attention_scores.append(scores)
            else:
                x = block(x, **arguments)
            hidden_states.append(x)
        outputs = {"sequence_output": tokens_of(x, "tokens")}
        if nodes is not None and nodes.sums_up:
            outputs["summary"] = SummaryOf(nodes, name="summary")(x, inputs["padding_mask"])
        if intermediates:
            states = [tokens_of(state, f"tokens_{index}") for index, state in enumerate(hidden_states[:-1])]
            outputs["hidden_states"] = (*states, outputs["sequence_output"])
            outputs["attention_scores"] = tuple(attention_scores)
        return outputs

    @classmethod
    def pooled(cls, parts, sequence, inputs):
        """What the pooler reads, float[B, D]: the first token's vector or, if that saw nothing else, the last one's."""
        if getattr(parts["blocks"][0].attention, "is_causal", False):
            return LastTokenPooling(name="last_token")({"sequence_output": sequence, **inputs})
        return sequence[:, 0]

    @property
    def max_length(self):
        """The most tokens of a row: what positions and attention can tell apart."""
        bounds = [self.config.kind.max_length]
        if self.parts["embeddings"].positions is not None:
            bounds.append(self.config.max_sequence_length)
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def attention_heads(self):
        return super().attention_heads if self.config.kind.has_scores else ()

    def with_attention_mask(self):
        if not self.config.kind.takes_masks:
            return super().with_attention_mask()
        mask = keras.Input((None, None, None), dtype="bool", name="attention_mask")
        inputs = {**token_inputs(), "attention_mask": mask}
        return TokenModel(inputs, self.wire(self.parts, inputs), name=f"{self.name}_masked")


class UnpooledBackbone(BertBackbone):
    """An encoder of BERT's kind without a pooler: `pooled_output` is what the pooler would read."""

    @classmethod
    def make_parts(cls, config, dtype):
        return {name: part for name, part in super().make_parts(config, dtype).items() if name != "pooler"}

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        return super().wire({**parts, "pooler": lambda x: x}, inputs, intermediates)


class _Mask(keras.layers.Layer):
    """Real keys, of those that a mask allows where there is one, as a node of the functional graph."""

    def call(self, is_real, attention_mask=None):
        mask = padding(is_real)
        return mask if attention_mask is None else ops.logical_and(mask, attention_mask)


def _bert(layers, heads, hidden, **changes):
    return BertConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden, **changes)


_TURC = "arXiv:1908.08962, table 1"
_DEVLIN = "arXiv:1810.04805, section 3"
_RELEASED = "google-research/bert; arXiv:1810.04805"
_SPANBERT = "arXiv:1907.10529, section 4.2"
_UNILM = "arXiv:1905.03197, section 2.5"
_CASED = {"vocabulary_size": 28_996}

BACKBONE = BertBackbone
PRESETS = {
    "bert_tiny": Preset(_bert(2, 2, 128), 4_385_920, _TURC),
    "bert_mini": Preset(_bert(4, 4, 256), 11_170_560, _TURC),
    "bert_small": Preset(_bert(4, 8, 512), 28_763_648, _TURC),
    "bert_medium": Preset(_bert(8, 8, 512), 41_373_184, _TURC),
    "bert_base": Preset(_bert(12, 12, 768), 109_482_240, _DEVLIN),
    "bert_large": Preset(_bert(24, 16, 1024), 335_141_888, _DEVLIN),
    "bert_l2_h256": Preset(_bert(2, 4, 256), 9_591_040, _TURC),
    "bert_l2_h512": Preset(_bert(2, 8, 512), 22_458_880, _TURC),
    "bert_l2_h768": Preset(_bert(2, 12, 768), 38_603_520, _TURC),
    "bert_l4_h128": Preset(_bert(4, 2, 128), 4_782_464, _TURC),
    "bert_l4_h768": Preset(_bert(4, 12, 768), 52_779_264, _TURC),
    "bert_l6_h128": Preset(_bert(6, 2, 128), 5_179_008, _TURC),
    "bert_l6_h256": Preset(_bert(6, 4, 256), 12_750_080, _TURC),
    "bert_l6_h512": Preset(_bert(6, 8, 512), 35_068_416, _TURC),
    "bert_l6_h768": Preset(_bert(6, 12, 768), 66_955_008, _TURC),
    "bert_l8_h128": Preset(_bert(8, 2, 128), 5_575_552, _TURC),
    "bert_l8_h256": Preset(_bert(8, 4, 256), 14_329_600, _TURC),
    "bert_l8_h768": Preset(_bert(8, 12, 768), 81_130_752, _TURC),
    "bert_l10_h128": Preset(_bert(10, 2, 128), 5_972_096, _TURC),
    "bert_l10_h256": Preset(_bert(10, 4, 256), 15_909_120, _TURC),
    "bert_l10_h512": Preset(_bert(10, 8, 512), 47_677_952, _TURC),
    "bert_l10_h768": Preset(_bert(10, 12, 768), 95_306_496, _TURC),
    "bert_l12_h128": Preset(_bert(12, 2, 128), 6_368_640, _TURC),
    "bert_l12_h256": Preset(_bert(12, 4, 256), 17_488_640, _TURC),
    "bert_l12_h512": Preset(_bert(12, 8, 512), 53_982_720, _TURC),
    # The cased vocabulary, and those of other languages, as released.
    "bert_base_cased": Preset(_bert(12, 12, 768, **_CASED), 108_310_272, _DEVLIN),
    "bert_large_cased": Preset(_bert(24, 16, 1024, **_CASED), 333_579_264, _DEVLIN),
    "bert_base_multilingual_cased": Preset(_bert(12, 12, 768, vocabulary_size=119_547), 177_853_440, _RELEASED),
    "bert_base_multilingual_uncased": Preset(_bert(12, 12, 768, vocabulary_size=105_879), 167_356_416, _RELEASED),
    "bert_base_chinese": Preset(_bert(12, 12, 768, vocabulary_size=21_128), 102_267_648, _RELEASED),
    "spanbert_base": Preset(_bert(12, 12, 768, **_CASED), 108_310_272, _SPANBERT),
    "spanbert_large": Preset(_bert(24, 16, 1024, **_CASED), 333_579_264, _SPANBERT),
    # A pair of segments, or one, for each of its language models.
    "unilm_base": Preset(_bert(12, 12, 768, num_segments=6, **_CASED), 108_313_344, _UNILM),
    "unilm_large": Preset(_bert(24, 16, 1024, num_segments=6, **_CASED), 333_583_360, _UNILM),
    "minilm_l6": Preset(_bert(6, 12, 384), 22_713_216, "all-MiniLM-L6-v2; arXiv:2002.10957"),
}
