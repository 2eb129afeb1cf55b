"""XLNet: a language model over permuted orders of factorisation (Yang et al., arXiv:1906.08237).

It differs from BERT in four things. Positions and segments are relative (`layers.xl`). A layer may attend to memory:
what it was given for the text before. No normalisation follows the embeddings, which are token vectors alone. And for
pre-training a second stream of queries predicts a token without seeing it: the content stream h sees itself, the query
stream g knows only where it stands (section 2.3). `XLNetBackbone.two_streams` is that model; the backbone itself is the
content stream alone, as in fine-tuning. `pooled_output` is the last real token's vector: XLNet's [CLS] ends the text.

It differs from the released code where a query may see nothing, not even memory: there such a query attends to all keys
alike, its own token among them; here it attends to nothing.

Cost: time O(B T S D + (T + S) D^2 + B T D^2) and memory O(B N T (T + S)) a layer, where S = M + T; the query stream
once more.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfmodels.layers import DenseLastToken, FeedForward, LastTokenPooling, TransformerBlock
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.xl import Memory, RelativeBiases, RelativeSegments, RelativeSinusoids, XLAttention
from tfmodels.models.backbone import TokenModel, WithScores, token_inputs
from tfmodels.models.config import Config, Preset
from tfmodels.models.transformer_xl import Contexts, RecurrentBackbone, RecurrentLM, TiedHead, real_keys


@dataclasses.dataclass(frozen=True)
class XLNetConfig(Config):
    """The sizes and rates of an XLNet encoder.

    Attributes:
        vocabulary_size: V.
        num_layers: K.
        num_heads: N.
        hidden_dim: D.
        intermediate_dim: F.
        activation: The feed-forward network's activation.
        dropout: fraction dropped of the embeddings, the attention weights and in every residual branch.
        layer_norm_epsilon: Added to the variance.
        memory_length: M, tokens that `two_streams` and `with_memory` keep; None keeps all.
        reuse_length: Of a text only so many first tokens are kept; None keeps all.
        max_distance: Distances beyond it, in tokens, count as it; None for no bound.
    """

    vocabulary_size: int = 32_000
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768
    intermediate_dim: int = 3072
    activation: str = "gelu"
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    memory_length: int | None = None
    reuse_length: int | None = None
    max_distance: int | None = None


class XLNetBackbone(RecurrentBackbone):
    """The XLNet encoder; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("xlnet_base", num_layers=1, vocabulary_size=100)
    >>> sorted(backbone.two_streams().output)
    ['memory', 'query_output', 'sequence_output']
    """

    config_class = XLNetConfig

    @classmethod
    def make_parts(cls, config, dtype):
        heads, size = config.num_heads, config.hidden_dim // config.num_heads

        def block(index):
            return TransformerBlock(
                XLAttention(
                    heads,
                    config.hidden_dim,
                    dropout=config.dropout,
                    biases=RelativeBiases(heads, size, dtype=dtype, name="biases"),
                    segments=RelativeSegments(heads, size, dtype=dtype, name="segments"),
                    dtype=dtype,
                    name="attention",
                ),
                FeedForward(
                    config.intermediate_dim, config.activation, dropout=config.dropout, dtype=dtype, name="feed_forward"
                ),
                dropout=config.dropout,
                layer_norm_epsilon=config.layer_norm_epsilon,
                dtype=dtype,
                name=f"block_{index}",
            )

        return {
            # The row after the vocabulary's is what every query of the query stream begins with.
            "embeddings": keras.layers.Embedding(
                config.vocabulary_size + 1,
                config.hidden_dim,
                embeddings_initializer=truncated_normal(),
                dtype=dtype,
                name="embeddings",
            ),
            "drop": keras.layers.Dropout(config.dropout, dtype=dtype, name="drop"),
            "encodings": RelativeSinusoids(
                config.hidden_dim,
                max_distance=config.max_distance,
                dropout=config.dropout,
                dtype=dtype,
                name="encodings",
            ),
            "masks": _StreamMasks(dtype=dtype, name="masks"),
            "is_other_segment": _IsOtherSegment(dtype=dtype, name="is_other_segment"),
            "blocks": [block(index) for index in range(config.num_layers)],
            "memory": Memory(config.memory_length, config.reuse_length, dtype=dtype, name="memory"),
            "last": LastTokenPooling(dtype=dtype, name="last"),
        }

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        mapping = inputs.get("target_mapping")
        contexts = Contexts(parts["memory"], inputs.get("memory"))
        masks = parts["masks"](
            inputs["padding_mask"],
            inputs.get("permutation_mask"),
            memory=contexts.first,
            memory_mask=inputs.get("memory_mask"),
        )
        x = parts["drop"](parts["embeddings"](inputs["token_ids"]))
        queries = None
        if mapping is not None:
            queries = parts["drop"](parts["embeddings"](_start_ids(parts, mapping)))
            # A softmax over nothing is uniform over everything: the first query of an order would see its own token.
            mapping = mapping * ops.cast(ops.any(masks["query"], axis=-1), mapping.dtype)  # [B, P, T]
        attention_inputs = {
            "encodings": parts["encodings"](x, memory=contexts.first),
            "is_other_segment": parts["is_other_segment"](inputs["segment_ids"], memory=contexts.first),
        }
        hidden_states, attention_scores = [x], []
        for index, block in enumerate(parts["blocks"]):
            context = contexts(index, x)
            if queries is not None:
                queries = block(
                    queries,
                    attention_mask=masks["query"],
                    context=x if context is None else context,
                    attention_inputs={**attention_inputs, "target_mapping": mapping},
                )
            arguments = {
                "attention_mask": masks["content"],
                "context": context,
                "attention_inputs": attention_inputs,
            }
            if intermediates:
                x, scores = WithScores(block)(x, **arguments)
                attention_scores.append(scores)
            else:
                x = block(x, **arguments)
            hidden_states.append(x)
        x = hidden_states[-1] = parts["drop"](x)
        outputs = {"sequence_output": x, **contexts.outputs()}
        if queries is None:
            outputs["pooled_output"] = parts["last"]({"sequence_output": x, "padding_mask": inputs["padding_mask"]})
        else:
            outputs["query_output"] = parts["drop"](queries)
        if intermediates:
            outputs |= {"hidden_states": tuple(hidden_states), "attention_scores": tuple(attention_scores)}
        return outputs

    def make_classifier_pooling(self, dropout):
        return DenseLastToken(self.config.hidden_dim, "tanh", dtype=self.dtype_policy, name="pooling")

    def two_streams(self, masked=False) -> keras.Model:
        """The model of pre-training, on the same layers and weights (arXiv:1906.08237, sections 2.3 and 2.5).

        Args:
            masked: Whether the inputs also have `memory_mask`; see `with_memory`.

        Returns:
            A model whose inputs add `permutation_mask` bool[B, T, T], True where the token of the row may be predicted
            from the token of the column; `target_mapping` float[B, P, T], a 1 in each row at the token to predict; and
            `memory`, a tuple of K float[B, M, D] (see `empty_memory`). Its outputs are `query_output` float[B, P, D],
            `sequence_output` float[B, T, D], the content stream, and `memory` for the next stretch of text.
        """
        inputs = {
            **token_inputs(),
            "permutation_mask": keras.Input((None, None), dtype="bool", name="permutation_mask"),
            "target_mapping": keras.Input((None, None), dtype=self.compute_dtype, name="target_mapping"),
            **self._memory_inputs(masked),
        }
        return TokenModel(inputs, self.wire(self.parts, inputs), name=f"{self.name}_two_streams")


def _start_ids(parts, target_mapping):
    """int32[B, P]: for every prediction the row where the query stream begins."""
    last = parts["embeddings"].input_dim - 1
    return ops.cast(ops.zeros_like(target_mapping[:, :, 0]), "int32") + last


class _StreamMasks(Layer):
    """What the two streams may attend to: bool[B, 1, T, S] each.

    The query stream sees real tokens that the permutation allows; the content stream sees its own token besides.
    """

    def call(self, padding_mask, permutation_mask=None, memory=None, memory_mask=None):
        length = ops.shape(padding_mask)[1]
        is_seen = real_keys(padding_mask, memory, memory_mask)[:, None, None]  # [B, 1, 1, S]
        past = ops.shape(is_seen)[-1] - length
        is_itself = ops.equal(past + ops.arange(length)[:, None], ops.arange(past + length)[None])  # [T, S]
        if permutation_mask is not None:
            of_memory = ops.ones((*ops.shape(permutation_mask)[:2], past), dtype="bool")  # [B, T, M]
            is_seen = ops.logical_and(is_seen, ops.concatenate([of_memory, permutation_mask], axis=-1)[:, None])
        return {"query": is_seen, "content": ops.logical_or(is_seen, is_itself)}


class _IsOtherSegment(Layer):
    """bool[B, T, S]: whether query and key are of different segments; memory is of segment 0."""

    def call(self, segment_ids, memory=None):
        keys = segment_ids
        if memory is not None:
            keys = ops.concatenate([ops.zeros(ops.shape(memory)[:2], dtype=segment_ids.dtype), keys], axis=1)
        return ops.not_equal(segment_ids[:, :, None], keys[:, None, :])


class _TiedHead(TiedHead):
    """`TiedHead` without the row that queries begin with."""

    @property
    def table(self):
        return self.embeddings.embeddings[: self.vocabulary_size]


class PermutationLM(RecurrentLM):
    """A distribution over the vocabulary at every position, or by `two_streams` for every prediction.

    Args:
        backbone: An `XLNetBackbone`; the output layer shares its table.
        name: The model's name.

    Returns:
        {"logits": float32[B, T, V]}.
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        return _TiedHead(
            backbone.parts["embeddings"], backbone.config.vocabulary_size, dtype=backbone.dtype_policy, name="head"
        )

    def two_streams(self, masked=False) -> keras.Model:
        """The model of pre-training on the same layers and weights; see `XLNetBackbone.two_streams`.

        Returns:
            A model from the same inputs to `logits` float32[B, P, V], of the query stream, and the new `memory`.
        """
        return self._headed(self.backbone.two_streams(masked), "query_output")


_SOURCE = "arXiv:1906.08237, appendix A.4"

BACKBONE = XLNetBackbone
PRESETS = {
    "xlnet_base": Preset(XLNetConfig(), 116_718_336, _SOURCE),
    "xlnet_large": Preset(
        XLNetConfig(num_layers=24, num_heads=16, hidden_dim=1024, intermediate_dim=4096), 360_268_800, _SOURCE
    ),
}
