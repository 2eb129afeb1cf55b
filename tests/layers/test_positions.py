"""Relative schemes against the papers' equations, one pair of positions at a time, and positions that count tokens."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.support import check_layer, to_numpy
from tests.support.gradients import finite_differences, gradients_of, largest_tensor
from tests.support.oracles import attention
from tests.support.tensors import assert_close
from tfmodels.layers import (
    CountedPositions,
    MultiHeadAttention,
    RelativeKeys,
    RelativeKeysAndQueries,
    RelativeKeysAndValues,
    SinusoidKeysAndValues,
)
from tfmodels.ops import attend

B, N, H = 2, 2, 3
SCHEMES = [RelativeKeys, RelativeKeysAndQueries, RelativeKeysAndValues, SinusoidKeysAndValues]


def clipped(table, max_distance, t, s):
    """The vector of a query at t and a key at s (arXiv:1803.02155, equation 4); tables count from key to query."""
    return table[max(-max_distance, min(max_distance, t - s)) + max_distance]


def sinusoid(max_distance, t, s):
    """arXiv:1909.00204, equation 3, which counts distances from -max_distance on, as its code does."""
    place = max(-max_distance, min(max_distance, s - t)) + max_distance
    return np.array(
        [(np.cos if i % 2 else np.sin)(place / 10_000 ** ((i - i % 2) / H)) for i in range(H)],
    )


def oracle(scheme, tables, max_distance, query, key, value):
    """The paper's attention in NumPy: tables by their names."""

    def keys(t, s):
        if scheme is SinusoidKeysAndValues:
            return sinusoid(max_distance, t, s)
        return clipped(tables["keys"], max_distance, t, s)

    def values(t, s):
        if scheme is SinusoidKeysAndValues:
            return sinusoid(max_distance, t, s)
        return clipped(tables["values"], max_distance, t, s)

    def score(q, k, t, s):
        both = q @ keys(t, s)
        return q @ k + both + (k @ keys(t, s) / np.sqrt(H) if scheme is RelativeKeysAndQueries else 0.0)

    has_values = scheme in (RelativeKeysAndValues, SinusoidKeysAndValues)
    seen = (lambda v, t, s: v + values(t, s)) if has_values else None
    return attention(query, key, value, score=score, seen=seen)


def arrays(length, source):
    random = np.random.default_rng(0)
    shapes = [(B, length, N, H), (B, source, N, H), (B, source, N, H)]
    return [random.normal(size=shape).astype("float32") for shape in shapes]


def built(scheme, max_distance):
    layer = scheme(max_distance, H)
    layer.build(None)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("max_distance", [0, 2, 9])
@pytest.mark.parametrize("length, source", [(4, 4), (3, 5), (5, 2)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_outputs_and_logits_are_those_of_the_equations(scheme, length, source, max_distance):
    layer, qkv = built(scheme, max_distance), arrays(length, source)
    tables = {weight.name: to_numpy(weight.value).astype("float64") for weight in layer.weights}
    actual = to_numpy(attend(*qkv, score=layer.score, value_term=layer.value_term, return_scores=True))
    for ours, theirs in zip(actual, oracle(scheme, tables, max_distance, *qkv)):
        assert_close(ours, theirs, 1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_are_those_of_the_equations(scheme):
    """Of queries, keys, values and tables, with distances beyond the farthest one."""
    layer, qkv = built(scheme, 2), arrays(4, 5)
    cotangent = np.random.default_rng(5).normal(size=(B, 4, N, H)).astype("float32")
    variables = [keras.Variable(array, name=name) for array, name in zip(qkv, ("query", "key", "value"))]
    variables += layer.weights
    values = {variable.name: to_numpy(variable.value).astype("float64") for variable in variables}

    def function():
        tensors = [ops.convert_to_tensor(variable) for variable in variables[:3]]
        return ops.sum(attend(*tensors, score=layer.score, value_term=layer.value_term) * cotangent)

    # One of the tables is called "values", what attention reads is called "value".
    for variable, gradient in zip(variables, gradients_of(function, variables)[1]):

        def loss(array, name=variable.name):
            changed = {**values, name: array}
            inputs = (changed[name] for name in ("query", "key", "value"))
            return float((oracle(scheme, changed, 2, *inputs)[0] * cotangent).sum())

        assert_close(gradient, finite_differences(loss, values[variable.name]), 1e-5, variable.name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attention_with_a_scheme_keeps_to_the_layer_contract(scheme):
    check_layer(
        lambda dtype=None: MultiHeadAttention(
            N, N * H, positions=scheme(2, H, dtype=dtype, name="positions"), dtype=dtype
        ),
        lambda batch, length: {"query": np.random.default_rng(0).normal(size=(batch, length, N * H)).astype("float32")},
        lambda batch, length: (batch, length, N * H),
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_vector_is_formed_for_every_pair(scheme):
    """Nothing is larger than two sets of logits: neither [B, N, T, S, H] nor [T, S, H]."""
    batch, length, heads, size = 1, 32, 2, 24
    layer = scheme(length - 1, size)
    layer.build(None)
    x = np.ones((batch, length, heads, size), "float32")
    largest = largest_tensor(lambda *qkv: attend(*qkv, score=layer.score, value_term=layer.value_term), x, x, x)
    logits = batch * heads * length * length
    assert logits <= largest <= 2 * logits < length * length * size


def test_counted_positions_count_real_tokens():
    layer, inputs = CountedPositions(5, padding_id=2), np.zeros((2, 6, 3), "float32")
    is_real = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], bool)
    output = to_numpy(layer(inputs, is_real))
    table = to_numpy(layer.embeddings.value)
    assert table.shape == (5 + 2 + 1, 3)
    np.testing.assert_array_equal(output, table[[[3, 4, 2, 5, 2, 2], [2, 3, 4, 5, 6, 7]]])
    np.testing.assert_array_equal(to_numpy(layer(inputs[:, :4])), np.tile(table[3:7], (2, 1, 1)))


def test_counted_positions_keep_to_the_layer_contract():
    check_layer(
        lambda dtype=None: CountedPositions(9, dtype=dtype),
        lambda batch, length: {
            "embeddings": np.ones((batch, length, 4), "float32"),
            "padding_mask": np.arange(length)[None] < np.arange(1, batch + 1)[:, None],
        },
        lambda batch, length: (batch, length, 4),
    )
