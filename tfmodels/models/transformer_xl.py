"""Transformer-XL: a causal language model with memory (Dai et al., arXiv:1901.02860).

A layer attends to what it was given for the text before too, through which no gradient flows (section 3.2), and knows
keys by their distance alone (section 3.3, `layers.xl`). Embeddings and softmax spend less on rare words
(`layers.adaptive_softmax`).
The backbone reads one stretch of text; `with_memory` is the same model with memory in and out. `pooled_output` is the
last real token's vector; segment ids are not used.

Cost: time O(B T S D + S D^2 + B T D^2) and memory O(B N T S) a layer, where S = M + T. A text of many stretches costs
T M pairs a stretch, not the square of its length.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfmodels.layers import FeedForward, LastTokenPooling, TransformerBlock
from tfmodels.layers.adaptive_softmax import AdaptiveEmbedding, AdaptiveSoftmax
from tfmodels.layers.base import Layer
from tfmodels.layers.xl import Memory, RelativeBiases, RelativeSinusoids, XLAttention
from tfmodels.models.backbone import Backbone, TokenModel, WithScores, token_inputs
from tfmodels.models.config import Config, Preset
from tfmodels.models.tasks import Task


@dataclasses.dataclass(frozen=True)
class TransformerXLConfig(Config):
    """The sizes and rates of a Transformer-XL.

    Attributes:
        vocabulary_size: V; ids are ranks, the most frequent token first, where there are cutoffs.
        num_layers: K.
        num_heads: N.
        hidden_dim: D.
        intermediate_dim: F.
        head_dim: H; None for D / N.
        embedding_dim: The size of the first cluster's vectors; None for `hidden_dim`.
        cutoffs: The first id of every cluster but the first.
        shrinkage: A cluster's vectors are so many times shorter than the last one's.
        tie_projections: Whether the softmax of the later clusters has the embedding's projections.
        activation: The feed-forward network's activation.
        dropout: fraction dropped of the embeddings, of the output and in every residual branch.
        attention_dropout: fraction of the attention weights dropped.
        norm_first: Whether layers normalise before their parts and not after.
        layer_norm_epsilon: Added to the variance.
        share_biases: Whether u and v are one pair for all layers.
        memory_length: M, tokens that `with_memory` keeps; None keeps all.
        attention_span: A query sees so many tokens, itself among them; None for all that there are.
        max_distance: Distances beyond it, in tokens, count as it; None for no bound.
    """

    vocabulary_size: int = 267_735
    num_layers: int = 16
    num_heads: int = 10
    hidden_dim: int = 410
    intermediate_dim: int = 2100
    head_dim: int | None = None
    embedding_dim: int | None = None
    cutoffs: tuple[int, ...] = (20_000, 40_000, 200_000)
    shrinkage: int = 1
    tie_projections: bool = True
    activation: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_first: bool = False
    layer_norm_epsilon: float = 1e-5
    share_biases: bool = False
    memory_length: int | None = 150
    attention_span: int | None = None
    max_distance: int | None = None


class RecurrentBackbone(Backbone):
    """A backbone whose `wire` also takes `memory`, a tuple of what each layer remembers, and returns the new one."""

    def with_memory(self, masked=False) -> keras.Model:
        """A model on the same layers and weights with memory in and out.

        Args:
            masked: Whether the inputs also have `memory_mask`; without it all of the memory is real text.

        Returns:
            A model whose inputs add `memory`, a tuple of K float[B, M, D], M may be 0 (`empty_memory`), and if masked
            `memory_mask` bool[B, M], True at real text; and whose outputs add the `memory` for the next stretch of
            text.
        """
        inputs = {**token_inputs(), **self._memory_inputs(masked)}
        return TokenModel(inputs, self.wire(self.parts, inputs), name=f"{self.name}_with_memory")

    @property
    def memory_length(self) -> int | None:
        """M, the most places that a memory has; None where it has no bound."""
        return self.config.memory_length

    @property
    def memory_dims(self) -> tuple[int, ...]:
        """The widths of the memory of each layer: D throughout, unless the family says otherwise."""
        return (self.config.hidden_dim,) * self.config.num_layers

    def remembered_mask(self, memory_mask, padding_mask):
        """Which places of the new memory are real, bool[B, M], of those of the old one and of the batch's tokens."""
        # The mask moves as the states do.
        was, new = (ops.cast(mask, "float32")[..., None] for mask in (memory_mask, padding_mask))
        return self.parts["memory"](was, new)[..., 0] > 0

    def empty_memory(self, batch_size) -> tuple:
        """The memory at the beginning of a text: K float[B, 0, D]."""
        return tuple(ops.zeros((batch_size, 0, size), dtype=self.compute_dtype) for size in self.memory_dims)

    def _memory_inputs(self, masked):
        memory = tuple(
            keras.Input((None, size), dtype=self.compute_dtype, name=f"memory_{index}")
            for index, size in enumerate(self.memory_dims)
        )
        mask = {"memory_mask": keras.Input((None,), dtype="bool", name="memory_mask")} if masked else {}
        return {"memory": memory, **mask}


class RecurrentLM(Task):
    """A language model on a `RecurrentBackbone`, with and without memory."""

    def with_memory(self, masked=False) -> keras.Model:
        """A model on the same layers and weights with memory in and out; see `RecurrentBackbone.with_memory`."""
        return self._headed(self.backbone.with_memory(masked))

    def _headed(self, model, output="sequence_output"):
        features = model(model.input)
        outputs = self.head({**features, "sequence_output": features[output]})
        return keras.Model(model.input, {**outputs, "memory": features["memory"]}, name=f"{self.name}_with_memory")


class TiedHead(Layer):
    """The embedding's table transposed, and a bias.

    Args:
        embeddings: A layer whose `tokens` are the table.
        vocabulary_size: V.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        {"logits": float32[B, T, V]}.
    """

    def __init__(self, embeddings, vocabulary_size, **kwargs):
        super().__init__(**kwargs)
        self.embeddings = embeddings
        self.vocabulary_size = vocabulary_size

    @property
    def table(self):
        """float[V, D]."""
        return self.embeddings.tokens

    def build(self, features_shape):
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary_size,), initializer="zeros")
        self.built = True

    def call(self, features):
        x = features["sequence_output"]
        table = ops.cast(self.table, x.dtype)
        return {"logits": ops.cast(ops.matmul(x, ops.transpose(table)), "float32") + ops.cast(self.bias, "float32")}


class TransformerXLBackbone(RecurrentBackbone):
    """The Transformer-XL; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("transformer_xl_standard", num_layers=1, vocabulary_size=50, cutoffs=())
    >>> sorted(backbone.with_memory().output)
    ['memory', 'pooled_output', 'sequence_output']
    """

    config_class = TransformerXLConfig
    # As transformers classifies; the last normalisation has a bias.
    classifier_has_bias = False

    @classmethod
    def make_parts(cls, config, dtype):
        head_dim = config.head_dim or config.hidden_dim // config.num_heads

        def biases():
            return RelativeBiases(config.num_heads, head_dim, dtype=dtype, name="biases")

        shared = biases() if config.share_biases else None

        def block(index):
            return TransformerBlock(
                XLAttention(
                    config.num_heads,
                    config.hidden_dim,
                    config.head_dim,
                    dropout=config.attention_dropout,
                    biases=shared or biases(),
                    dtype=dtype,
                    name="attention",
                ),
                FeedForward(
                    config.intermediate_dim, config.activation, dropout=config.dropout, dtype=dtype, name="feed_forward"
                ),
                dropout=config.dropout,
                norm_first=config.norm_first,
                layer_norm_epsilon=config.layer_norm_epsilon,
                dtype=dtype,
                name=f"block_{index}",
            )

        return {
            "embeddings": AdaptiveEmbedding(
                config.vocabulary_size,
                config.hidden_dim,
                config.embedding_dim,
                config.cutoffs,
                config.shrinkage,
                dtype=dtype,
                name="embeddings",
            ),
            "drop": keras.layers.Dropout(config.dropout, dtype=dtype, name="drop"),
            "encodings": RelativeSinusoids(
                config.hidden_dim,
                past_only=True,
                max_distance=config.max_distance,
                dropout=config.dropout,
                dtype=dtype,
                name="encodings",
            ),
            "mask": _CausalMask(config.attention_span, dtype=dtype, name="attention_mask"),
            "blocks": [block(index) for index in range(config.num_layers)],
            "memory": Memory(config.memory_length, dtype=dtype, name="memory"),
            "last": LastTokenPooling(dtype=dtype, name="last"),
        }

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        x = parts["drop"](parts["embeddings"](inputs["token_ids"], inputs["segment_ids"]))
        contexts = Contexts(parts["memory"], inputs.get("memory"))
        mask = parts["mask"](inputs["padding_mask"], memory=contexts.first, memory_mask=inputs.get("memory_mask"))
        encodings = parts["encodings"](x, memory=contexts.first)
        hidden_states, attention_scores = [x], []
        for index, block in enumerate(parts["blocks"]):
            arguments = {
                "attention_mask": mask,
                "context": contexts(index, x),
                "attention_inputs": {"encodings": encodings},
            }
            if intermediates:
                x, scores = WithScores(block)(x, **arguments)
                attention_scores.append(scores)
            else:
                x = block(x, **arguments)
            hidden_states.append(x)
        x = hidden_states[-1] = parts["drop"](x)
        pooled = parts["last"]({"sequence_output": x, "padding_mask": inputs["padding_mask"]})
        outputs = {"sequence_output": x, "pooled_output": pooled, **contexts.outputs()}
        if intermediates:
            outputs |= {"hidden_states": tuple(hidden_states), "attention_scores": tuple(attention_scores)}
        return outputs


class Contexts:
    """What each layer attends to, and what it will remember.

    Args:
        remember: A `Memory`.
        memory: A tuple of K float[B, M, D], or None for layers that attend to their inputs alone.
    """

    def __init__(self, remember, memory=None):
        self._remember, self._memory, self._new = remember, memory, []

    @property
    def first(self):
        """The first layer's memory, or None."""
        return None if self._memory is None else self._memory[0]

    def __call__(self, index, x):
        """The memory of layer `index` and its inputs, float[B, M + T, D]; None where there is no memory."""
        if self._memory is None:
            return None
        self._new.append(self._remember(self._memory[index], x))
        return ops.concatenate([self._memory[index], x], axis=1)

    def outputs(self) -> dict:
        """The new memory, where there is any."""
        return {} if self._memory is None else {"memory": tuple(self._new)}


class _CausalMask(Layer):
    """bool[B, 1, T, S]: a query may attend to itself and to real tokens before it, at most `span` in all."""

    def __init__(self, span=None, **kwargs):
        super().__init__(**kwargs)
        self.span = span

    def call(self, padding_mask, memory=None, memory_mask=None):
        length = ops.shape(padding_mask)[1]
        past = 0 if memory is None else ops.shape(memory)[1]
        distance = past + ops.arange(length)[:, None] - ops.arange(past + length)[None]  # [T, S]
        is_seen = distance >= 0
        if self.span is not None:
            is_seen = ops.logical_and(is_seen, distance < self.span)
        return ops.logical_and(is_seen[None, None], real_keys(padding_mask, memory, memory_mask)[:, None, None])


def real_keys(padding_mask, memory, memory_mask=None):
    """bool[B, M + T]: which keys are real tokens; all of the memory is, where no mask says otherwise."""
    if memory is None:
        return padding_mask
    if memory_mask is None:
        memory_mask = ops.ones(ops.shape(memory)[:2], dtype="bool")  # [B, M]
    return ops.concatenate([memory_mask, padding_mask], axis=1)


class _AdaptiveHead(Layer):
    """`AdaptiveSoftmax` over the embedding's tables."""

    def __init__(self, softmax, **kwargs):
        super().__init__(**kwargs)
        self.softmax = softmax

    def build(self, features_shape):
        self.softmax.build(features_shape["sequence_output"])
        self.built = True

    def call(self, features):
        return {"log_probabilities": self.softmax(features["sequence_output"])}


class AdaptiveLM(RecurrentLM):
    """The next token's distribution at every position, by an adaptive softmax (arXiv:1609.04309).

    Args:
        backbone: A `TransformerXLBackbone`; the softmax shares its embedding's tables.
        name: The model's name.

    Returns:
        {"log_probabilities": float32[B, T, V]}, in nats.
    """

    def __init__(self, backbone, name=None):
        super().__init__(backbone, {}, name)

    @classmethod
    def make_head(cls, backbone):
        softmax = AdaptiveSoftmax(
            backbone.parts["embeddings"], backbone.config.tie_projections, dtype=backbone.dtype_policy, name="softmax"
        )
        return _AdaptiveHead(softmax, dtype=backbone.dtype_policy, name="head")


def _characters(vocabulary_size):
    return TransformerXLConfig(
        vocabulary_size=vocabulary_size,
        num_layers=24,
        num_heads=8,
        hidden_dim=1024,
        intermediate_dim=3072,
        cutoffs=(),
        dropout=0.15,
        attention_dropout=0.15,
        memory_length=768,
    )


BACKBONE = TransformerXLBackbone
PRESETS = {
    # The paper gives 151M, 257M, 41M, 277M twice and 0.8B. The large model is the one that was released: it has 284M
    # with d_inner = 4096. Its others (88M, 0.46B; 24M of Penn Treebank) have no published sizes that count so.
    "transformer_xl_standard": Preset(
        TransformerXLConfig(), 150_850_870, "arXiv:1901.02860, table 1 (WikiText-103, standard)"
    ),
    "transformer_xl_large": Preset(
        TransformerXLConfig(
            num_layers=18,
            num_heads=16,
            hidden_dim=1024,
            intermediate_dim=4096,
            shrinkage=4,
            dropout=0.2,
            attention_dropout=0.2,
            memory_length=384,
        ),
        283_885_936,
        "arXiv:1901.02860, table 1 (WikiText-103, large)",
    ),
    "transformer_xl_enwik8": Preset(
        TransformerXLConfig(
            vocabulary_size=204,
            num_layers=12,
            num_heads=8,
            hidden_dim=512,
            intermediate_dim=2048,
            cutoffs=(),
            memory_length=512,
        ),
        41_066_496,
        "arXiv:1901.02860, table 2 (enwik8, 12 layers)",
    ),
    "transformer_xl_enwik8_large": Preset(
        _characters(204), 277_278_720, "arXiv:1901.02860, table 2 (enwik8, 24 layers); sizes as released"
    ),
    "transformer_xl_text8": Preset(
        _characters(27), 277_097_472, "arXiv:1901.02860, table 3 (text8); sizes as released"
    ),
    "transformer_xl_one_billion_word": Preset(
        TransformerXLConfig(
            vocabulary_size=793_471,
            num_layers=24,
            num_heads=16,
            hidden_dim=1280,
            intermediate_dim=8192,
            cutoffs=(60_000, 100_000, 640_000),
            shrinkage=4,
            tie_projections=False,
            dropout=0.05,
            attention_dropout=0.05,
            memory_length=32,
        ),
        838_381_548,
        "arXiv:1901.02860, table 4 (One Billion Word, large); sizes as released",
    ),
}
