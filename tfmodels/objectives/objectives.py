"""What an encoder is asked to learn: a head on the backbone's features, a loss and its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keras import ops

from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.projection import Projection
from tfmodels.models import MaskedLM
from tfmodels.objectives import losses


class Objective(Layer):
    """The base of all objectives.

    `figures` names what `measure` returns.

    Args:
        weight: The loss's factor in the sum.
        name: Names the figures; the default is the class's name in snake case.
    """

    figures: tuple[str, ...] = ("loss", "accuracy")

    def __init__(self, weight=1.0, **kwargs):
        # Keras would number the names of further ones, and the figures with them.
        name = kwargs.pop("name", None) or re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        super().__init__(**{"dtype": "float32", **kwargs, "name": name})
        self.weight = weight

    def prepare(self, backbone) -> None:
        """Makes the weights that the objective needs, before training."""

    def counted(self, inputs, targets):
        """float32[...]: which predictions of a batch count, as far as the loss is a mean over them."""
        return ops.cast(targets["weights"], "float32")

    def count(self, inputs, targets):
        """float32[]: the number that the loss of `measure` is the mean of, without an output of the backbone."""
        return ops.sum(self.counted(inputs, targets))

    def measure(self, outputs, inputs, targets, backbone, training) -> Mapping[str, tuple]:
        """The figures of a batch.

        Args:
            outputs: The backbone's outputs for the inputs.
            inputs: What the model saw.
            targets: What is to be learnt from it.
            backbone: The backbone, for an objective that looks at other texts too.
            training: Whether dropout is on.

        Returns:
            "loss" and others, such as "accuracy", by name: a pair of a mean, float32[], and the number that it is
            the mean of, float32[].
        """
        raise NotImplementedError


class MaskedLanguageModel(Objective):
    """The original tokens at the chosen positions (BERT, arXiv:1810.04805, section 3.1).

    The head is computed at those positions only: of 512 tokens of which 15 % are chosen, that saves 85 % of the
    product with the vocabulary. It reads `positions`, `labels` and `weights`. `task` is the `MaskedLM` on the same
    weights, to export or to predict with.
    """

    def prepare(self, backbone):
        self.task = MaskedLM(backbone)

    def measure(self, outputs, inputs, targets, backbone, training):
        return prediction_figures(logits_at(self.task, outputs, targets["positions"]), targets)


class SpanBoundary(Objective):
    """Each token of a span from the two tokens beside it and its place (SpanBERT, arXiv:1907.10529, section 3.2).

    It reads `left`, `right`, `offset`, `labels` and `weights`; predictions whose span has no token on a side, or which
    stand further than `max_span_length` into it, do not count.

    Args:
        max_span_length: The number of learned places.
        position_dim: The size of a place's vector.
        weight: The loss's factor in the sum.
    """

    def __init__(self, max_span_length=20, position_dim=200, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        self.max_span_length = max_span_length
        self.position_dim = position_dim

    def prepare(self, backbone):
        self.head = SpanBoundaryHead(
            backbone.parts["embeddings"],
            backbone.config.hidden_dim,
            self.max_span_length,
            self.position_dim,
            backbone.config.layer_norm_epsilon,
            dtype=backbone.dtype_policy,
            name="span_boundary_head",
        )
        width = backbone.output["sequence_output"].shape[-1]
        self.head.build((None, None, width))

    def counted(self, inputs, targets):
        counts = (targets["left"] >= 0) & (targets["right"] >= 0) & (targets["offset"] < self.max_span_length)
        return super().counted(inputs, targets) * ops.cast(counts, "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        left, right = (
            losses.gather_positions(outputs["sequence_output"], ops.maximum(targets[side], 0))
            for side in ("left", "right")
        )
        logits = self.head(left, right, ops.minimum(targets["offset"], self.max_span_length - 1))
        return prediction_figures(logits, {**targets, "weights": self.counted(inputs, targets)})


class SpanBoundaryHead(Layer):
    """Two layers with GeLU and layer normalisation on [x_{s-1}; x_{e+1}; p_{i-s+1}], then the embedding table.

    SpanBERT (arXiv:1907.10529), section 3.2: h1 = LN(GeLU(W1 h0)), y = LN(GeLU(W2 h1)). The table has a bias, as in
    BERT's head.

    Args:
        embeddings: The backbone's `TextEmbedding`, whose table is shared.
        hidden_dim: D, the size between the two layers.
        max_span_length: The number of places.
        position_dim: The size of a place's vector.
        layer_norm_epsilon: Added to the variance.

    Call arguments:
        left: float[B, P, D], the observed token before the span.
        right: float[B, P, D], the observed token behind it.
        offset: int[B, P], the place in the span, from 0.

    Returns:
        float32[B, P, V] logits.
    """

    def __init__(
        self, embeddings, hidden_dim, max_span_length=20, position_dim=200, layer_norm_epsilon=1e-12, **kwargs
    ):
        super().__init__(**kwargs)
        self.embeddings = embeddings
        self.hidden_dim = hidden_dim
        self.max_span_length = max_span_length
        self.position_dim = position_dim
        self.layer_norm_epsilon = layer_norm_epsilon

        def layers(name, units):
            dtype = self.dtype_policy
            return Projection(units, "gelu", dtype=dtype, name=name), LayerNorm(
                layer_norm_epsilon, dtype=dtype, name=f"{name}_norm"
            )

        width = embeddings.embedding_dim
        self.first, self.first_norm = layers("first", hidden_dim)
        self.second, self.second_norm = layers("second", width)

    def build(self, left_shape, right_shape=None, offset_shape=None):
        self.places = self.add_weight(
            name="places", shape=(self.max_span_length, self.position_dim), initializer=truncated_normal()
        )
        self.first.build((None, 2 * left_shape[-1] + self.position_dim))
        self.first_norm.build((None, self.first.units))
        self.second.build((None, self.first.units))
        self.second_norm.build((None, self.second.units))
        self.bias = self.add_weight(name="bias", shape=(self.embeddings.vocabulary_size,), initializer="zeros")
        self.built = True

    def call(self, left, right, offset):
        place = ops.cast(ops.take(self.places, offset, axis=0), left.dtype)  # [B, P, position_dim]
        x = ops.concatenate([left, right, place], axis=-1)  # [B, P, 2 D + position_dim]
        x = self.first_norm(self.first(x))
        x = self.second_norm(self.second(x))
        table = ops.cast(self.embeddings.tokens, x.dtype)  # [V, E]
        return ops.cast(ops.matmul(x, ops.transpose(table)), "float32") + ops.cast(self.bias, "float32")


class _PairObjective(Objective):
    """Two classes for the pair of segments, from the pooled vector."""

    target = ""

    def prepare(self, backbone):
        width = backbone.output["pooled_output"].shape[-1]
        self.logits = Projection(2, dtype="float32", name="logits")
        self.logits.build((None, width))

    def counted(self, inputs, targets):
        # Rows whose label is -1 have no pair.
        return ops.cast(targets[self.target] >= 0, "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        logits = self.logits(ops.cast(outputs["pooled_output"], "float32"))
        return class_figures(logits, ops.maximum(targets[self.target], 0), self.counted(inputs, targets))


class NextSentence(_PairObjective):
    """Whether the second segment follows the first (BERT, arXiv:1810.04805, section 3.1).

    It reads `next_sentence` int[B]: 0 follows, 1 does not, -1 where a row has no pair.
    """

    target = "next_sentence"


class SentenceOrder(_PairObjective):
    """Whether two segments stand in their order (ALBERT, arXiv:1909.11942, section 3.1).

    It reads `sentence_order` int[B]: 0 in order, 1 swapped, -1 where a row has no pair.
    """

    target = "sentence_order"


class InfoWord(Objective):
    """Mutual information between a sentence and one of its n-grams (InfoWord, arXiv:1910.08350, section 4).

    The sentence is what the model saw, in which the n-gram must be masked; the n-gram is encoded by the same backbone
    as a text of its own. Both are the final state of the first token. The other rows' n-grams are the negatives.
    It reads `ngram_ids` int[B, G], with [CLS] first, and `ngram_mask` bool[B, G], True at tokens: see `WithNgram`.

    Cost: one more forward and backward pass on G tokens a row.
    """

    figures = ("loss",)

    def counted(self, inputs, targets):
        return ops.ones_like(targets["ngram_ids"][:, 0], "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        ngram = {
            "token_ids": targets["ngram_ids"],
            "segment_ids": ops.zeros_like(targets["ngram_ids"]),
            "padding_mask": targets["ngram_mask"],
        }
        keys = backbone(ngram, training=training)["sequence_output"][:, 0]
        queries = outputs["sequence_output"][:, 0]
        return {"loss": (losses.info_nce(queries, keys), self.count(inputs, targets))}


class EntityAlignment(Objective):
    """Which of the row's entities a token names (dEA: Zhang et al., arXiv:1905.07129, section 3.4).

    p(e_j | w_i) = softmax over the row's entities of L(w_i) . e_j, with L a linear map (equation 7). It reads
    `entities` int[B, T], what the text names before `WithEntities` hid a part of it, and judges every token that names
    one. An entity that is named several times is one candidate, and one that is the row's only one is no question: its
    loss is 0.

    Args:
        entities: The `EntityEmbedding` of a `KnowledgeEncoder`.
        weight: The loss's factor in the sum.
    """

    def __init__(self, entities, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        self.entities = entities

    def prepare(self, backbone):
        self.projection = Projection(self.entities.entity_dim, dtype="float32", name="projection")
        self.projection.build((None, backbone.output["sequence_output"].shape[-1]))

    def counted(self, inputs, targets):
        return ops.cast(targets["entities"] > 0, "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        numbers = targets["entities"]
        is_same = ops.equal(numbers[:, :, None], numbers[:, None, :])  # [B, T, T]
        places = ops.arange(ops.shape(numbers)[1])
        is_repeated = ops.any(ops.logical_and(is_same, places[None, :] < places[:, None]), axis=-1)  # [B, T]
        is_candidate = ops.logical_and(numbers > 0, ops.logical_not(is_repeated))[:, None]  # [B, 1, T]
        queries = self.projection(ops.cast(outputs["sequence_output"], "float32"))  # [B, T, E]
        keys = ops.cast(self.entities(numbers), "float32")  # [B, T, E]
        scores = ops.where(is_candidate, ops.matmul(queries, ops.swapaxes(keys, 1, 2)), -1e9)  # [B, T, T]
        labels = ops.argmax(ops.cast(ops.logical_and(is_same, is_candidate), "int32"), axis=-1)  # [B, T]
        return class_figures(scores, labels, self.counted(inputs, targets))


def logits_at(task, outputs, positions):
    """A masked language model's logits at some positions, float32[B, P, V]."""
    # Every head of `MaskedLM` works position by position.
    return task.head({"sequence_output": losses.gather_positions(outputs["sequence_output"], positions)})["logits"]


def prediction_figures(logits, targets):
    """Loss and accuracy of predicted tokens."""
    return class_figures(logits, targets["labels"], ops.cast(targets["weights"], "float32"))


def class_figures(logits, labels, weights):
    """Loss and accuracy of classes: float[..., C] logits, int[...] labels, float[...] weights, 0 where none counts."""
    hits = ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int32")), "float32")
    count = ops.sum(weights)
    return {
        "loss": (losses.weighted_mean(losses.class_losses(logits, labels), weights), count),
        "accuracy": (losses.weighted_mean(hits, weights), count),
    }
