"""Adaptive embeddings and softmax against their definition, and their errors."""

import keras
import numpy as np
import pytest

from tests.support import check_gradients_reach, check_layer, random_sum, to_numpy
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers.adaptive_softmax import AdaptiveEmbedding, AdaptiveSoftmax

V, D, E = 23, 6, 5
KINDS = {
    "shrinking": {"embedding_dim": E, "cutoffs": (7, 15), "shrinkage": 2},
    "one table": {"cutoffs": (7, 15)},
    "one table, widened": {"embedding_dim": E, "cutoffs": (4,)},
    "no clusters": {},
}


def ids(batch, length):
    return np.random.default_rng(0).integers(0, V, (batch, length)).astype("int32")


def with_random_weights(layer, seed=9):
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_embeddings_keep_to_the_layer_contract(settings):
    check_layer(
        lambda dtype=None: AdaptiveEmbedding(V, D, **settings, dtype=dtype),
        # Every cluster is there, so that every table gets a gradient.
        lambda batch, length: {"token_ids": np.resize(np.array([0, 5, 22, 9, 14, 16], "int32"), (batch, length))},
        lambda batch, length: (batch, length, D),
    )


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_embeddings_and_probabilities_are_those_of_the_definition(settings):
    embedding = AdaptiveEmbedding(V, D, **settings)
    layer, x = AdaptiveSoftmax(embedding), np.random.default_rng(1).normal(size=(2, 3, D)).astype("float32")
    layer(x)
    with_random_weights(layer)
    tables, widen = to_numpy([t.value for t in embedding.tables]), to_numpy([p.value for p in embedding.projections])
    ends = (0, *embedding.cutoffs, V)

    def cluster_of(token):
        return sum(token >= end for end in embedding.cutoffs)

    def row(token):
        """The token's own vector, before it is widened."""
        cluster = cluster_of(token)
        return tables[cluster][token - ends[cluster]] if len(tables) > 1 else tables[0][token]

    for token, vector in zip(np.arange(V), to_numpy(embedding(np.arange(V, dtype="int32")[None]))[0]):
        expected = row(token).astype("float64")
        if widen:
            expected = widen[cluster_of(token) if len(widen) > 1 else 0] @ expected
        assert_close(vector, expected * np.sqrt(D), 1e-6)

    biases = to_numpy([b.value for b in layer.biases])
    projections = to_numpy([p.value for p in layer.projections])
    hidden = x.astype("float64")

    def logits(cluster):
        tokens = range(ends[cluster], ends[cluster + 1])
        narrow = hidden @ projections[cluster] if projections else hidden
        bias = [biases[cluster][t - ends[cluster]] if len(tables) > 1 else biases[0][t] for t in tokens]
        return narrow @ np.stack([row(t) for t in tokens]).T + bias, narrow

    first, narrow = logits(0)
    if layer.cutoffs:
        clusters = narrow @ to_numpy(layer.cluster_kernel.value).T + to_numpy(layer.cluster_bias.value)
        first = np.concatenate([first, clusters], axis=-1)
    head = softmax(first)
    parts = [head[..., : ends[1]]]
    for cluster in range(1, len(ends) - 1):
        parts.append(head[..., ends[1] + cluster - 1, None] * softmax(logits(cluster)[0]))
    probabilities = np.exp(to_numpy(layer(x)).astype("float64"))
    assert_close(probabilities, np.concatenate(parts, axis=-1), 1e-5)
    assert_close(probabilities.sum(axis=-1), np.ones((2, 3)), 1e-5)


@pytest.mark.parametrize("tie", [True, False])
def test_later_projections_are_the_embeddings_or_their_own(tie):
    embedding = AdaptiveEmbedding(V, D, **KINDS["shrinking"])
    layer, x = AdaptiveSoftmax(embedding, tie_projections=tie), np.ones((1, 2, D), "float32")
    layer(x)
    assert layer.projections[0] is not embedding.projections[0]
    assert [ours is theirs for ours, theirs in zip(layer.projections[1:], embedding.projections[1:])] == [tie, tie]
    of_embedding = embedding.projections[:1] if tie else embedding.projections
    variables = [v for v in layer.trainable_variables if not any(v is other for other in of_embedding)]
    check_gradients_reach(lambda: random_sum(layer(x)), variables)


def test_probabilities_are_float32_in_bfloat16_too():
    embedding = AdaptiveEmbedding(V, D, **KINDS["shrinking"], dtype="mixed_bfloat16")
    layer = AdaptiveSoftmax(embedding, dtype="mixed_bfloat16")
    values = layer(np.ones((1, 2, D), "float32"))
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    assert_close(np.exp(to_numpy(values)).sum(-1), np.ones((1, 2)), 1e-4)


@pytest.mark.parametrize("cutoffs", [(0, 5), (5, 5), (9, 4), (V,)])
def test_cutoffs_must_rise_within_the_vocabulary(cutoffs):
    with pytest.raises(UserError, match="must rise between 0 and vocabulary_size=23"):
        AdaptiveEmbedding(V, D, cutoffs=cutoffs)


def test_vectors_must_keep_a_component():
    with pytest.raises(UserError, match="embedding_dim=6 divided 2 times by shrinkage=4"):
        AdaptiveEmbedding(V, D, cutoffs=(5, 9), shrinkage=4)
