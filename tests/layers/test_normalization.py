"""`LayerNorm` against its equation and against Keras's layer."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.gradients import gradients_of, random_sum
from tests.support.oracles import layer_norm
from tests.support.tensors import assert_close
from tfmodels.layers import LayerNorm


def vectors(*shape):
    return (3 + 5 * np.random.default_rng(0).normal(size=shape)).astype("float32")


def with_random_weights(layer, size):
    layer.build((None, None, size))
    layer.set_weights(list(np.random.default_rng(1).normal(size=(2, size))))
    return layer


def test_the_normalisation_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: LayerNorm(1e-5, dtype=dtype),
        lambda batch, length: {"inputs": vectors(batch, length, 7)},
        lambda batch, length: (batch, length, 7),
    )


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3, 1.0])
def test_outputs_are_those_of_the_equation(epsilon):
    layer, inputs = with_random_weights(LayerNorm(epsilon), 7), vectors(2, 5, 7)
    gamma, beta = (weight.astype("float64") for weight in layer.get_weights())
    assert_close(to_numpy(layer(inputs)), layer_norm(inputs.astype("float64"), gamma, beta, epsilon), 1e-6)


@pytest.mark.parametrize("shape", [(4, 7), (2, 5, 7)])
def test_outputs_and_gradients_are_those_of_keras(shape):
    ours, theirs = (
        with_random_weights(layer, 7) for layer in (LayerNorm(1e-3), keras.layers.LayerNormalization(epsilon=1e-3))
    )
    inputs = keras.Variable(vectors(*shape))
    assert_close(to_numpy(ours(inputs)), to_numpy(theirs(inputs)), 1e-6)
    (_, actual), (_, expected) = (
        gradients_of(lambda layer=layer: random_sum(layer(inputs)), [inputs, *layer.trainable_variables])
        for layer in (ours, theirs)
    )
    for gradient, other in zip(actual, expected, strict=True):
        assert_close(gradient, other, 1e-5)


def test_equal_components_give_beta():
    layer = with_random_weights(LayerNorm(), 7)
    assert_close(to_numpy(layer(np.full((1, 2, 7), 1e4, "float32"))), np.tile(layer.get_weights()[1], (1, 2, 1)), 1e-6)


def test_bfloat16_is_normalised_in_float32():
    # A mean of 1000 in bfloat16 would be rounded to a multiple of 4 and drown deviations of 1.
    layer = LayerNorm(dtype="mixed_bfloat16")
    inputs = keras.ops.cast(np.array([[[1000.0, 1008.0, 1016.0, 1024.0]]]), "bfloat16")
    expected = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25)
    np.testing.assert_allclose(to_numpy(layer(inputs))[0, 0], expected, rtol=2**-8)
