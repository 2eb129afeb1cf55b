"""The feed-forward network and the poolings against their formulas."""

import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.oracles import feed_forward, gelu, named_weights
from tests.support.tensors import assert_close
from tfmodels.layers import (
    DenseFirstToken,
    DenseLastToken,
    FeedForward,
    FirstTokenPooling,
    LastTokenPooling,
    MeanPooling,
)


def vectors(batch, length):
    return np.random.default_rng(0).normal(size=(batch, length, 6)).astype("float32")


def test_feed_forward_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: FeedForward(7, dtype=dtype),
        lambda batch, length: {"inputs": vectors(batch, length)},
        lambda batch, length: (batch, length, 6),
    )


@pytest.mark.parametrize("name, activation", [("gelu", gelu), ("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
def test_feed_forward_follows_the_formula(name, activation):
    layer, inputs = FeedForward(7, name), 3 * vectors(2, 5)
    layer(inputs)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    expected = feed_forward(named_weights(layer), inputs.astype("float64"), activation)
    assert_close(to_numpy(layer(inputs)), expected, 1e-6)


def test_poolings_take_the_first_vector_and_the_mean_of_the_real_ones():
    values, mask = vectors(2, 4), np.array([[1, 1, 0, 0], [0, 1, 1, 1]], bool)
    features = {"sequence_output": values, "padding_mask": mask}
    np.testing.assert_array_equal(to_numpy(FirstTokenPooling()(features)), values[:, 0])
    expected = np.stack([values[0, :2].mean(axis=0), values[1, 1:].mean(axis=0)])
    assert_close(to_numpy(MeanPooling()(features)), expected, 1e-6)


def test_a_dense_layer_on_the_first_token_follows_the_formula_and_drops_out_in_training_only():
    features = {"sequence_output": vectors(2, 4)}
    layer = DenseFirstToken(5, "tanh", dropout=0.5)
    layer(features)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=variable.shape) for variable in layer.weights])
    kernel, bias = to_numpy(layer.dense.kernel.value), to_numpy(layer.dense.bias.value)
    expected = np.tanh(features["sequence_output"][:, 0].astype("float64") @ kernel + bias)
    assert_close(to_numpy(layer(features)), expected, 1e-6)
    assert (to_numpy(layer(features, training=True)) != to_numpy(layer(features))).any()
    twin = DenseFirstToken.from_config(layer.get_config())
    assert (twin.units, twin.activation, twin.dropout) == (5, "tanh", 0.5)


def test_the_last_token_is_the_last_real_one():
    values, mask = vectors(4, 4), np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    features = {"sequence_output": values, "padding_mask": mask}
    expected = values[np.arange(4), [1, 3, 2, 0]]
    np.testing.assert_array_equal(to_numpy(LastTokenPooling()(features)), expected)
    layer = DenseLastToken(5)
    layer(features)
    kernel, bias = to_numpy(layer.dense.kernel.value), to_numpy(layer.dense.bias.value)
    assert_close(to_numpy(layer(features)), np.tanh(expected.astype("float64") @ kernel + bias), 1e-6)


def test_feed_forward_drops_out_within_and_in_training_only():
    layer, inputs = FeedForward(7, dropout=0.5), vectors(2, 5)
    still = to_numpy(layer(inputs))
    np.testing.assert_array_equal(to_numpy(layer(inputs, training=False)), still)
    assert (to_numpy(layer(inputs, training=True)) != still).any()
