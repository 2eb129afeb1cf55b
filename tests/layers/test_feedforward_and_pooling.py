"""The feed-forward network and the poolings against their formulas."""

import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.oracles import feed_forward, gelu, named_weights
from tests.support.tensors import assert_close
from tfmodels.layers import FeedForward, FirstTokenPooling, MeanPooling


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
