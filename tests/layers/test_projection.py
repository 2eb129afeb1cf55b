"""`Projection` against the layer that it stands for."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.gradients import gradients_of, random_sum
from tests.support.tensors import assert_close
from tfmodels.layers import Projection


@pytest.mark.parametrize("settings", [{}, {"activation": "gelu"}, {"activation": "tanh", "use_bias": False}])
def test_projection_keeps_to_the_layer_contract(settings):
    check_layer(
        lambda dtype=None: Projection(5, dtype=dtype, **settings),
        lambda batch, length: {"inputs": np.random.default_rng(0).normal(size=(batch, length, 7)).astype("float32")},
        lambda batch, length: (batch, length, 5),
    )


@pytest.mark.parametrize("shape", [(4, 7), (3, 5, 7), (2, 3, 4, 7)])
@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
def test_projection_equals_dense(shape, activation):
    inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
    ours, dense = Projection(5, activation), keras.layers.Dense(5, activation)
    ours.build(shape)
    dense.build(shape)
    kernel, bias = np.random.default_rng(1).normal(size=(7, 5)), np.random.default_rng(2).normal(size=5)
    ours.set_weights([kernel, bias])
    dense.set_weights([kernel, bias])
    assert_close(to_numpy(ours(inputs)), to_numpy(dense(inputs)), 1e-6)
    (_, actual_gradients), (_, expected_gradients) = (
        gradients_of(lambda layer=layer: random_sum(layer(inputs)), layer.trainable_variables)
        for layer in (ours, dense)
    )
    for actual, expected in zip(actual_gradients, expected_gradients):
        assert_close(actual, expected, 1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="gelluh"):
        Projection(5, "gelluh")
