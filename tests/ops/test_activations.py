"""Activations by name."""

import math

import keras
import numpy as np
import pytest

from tests.support import to_numpy
from tests.support.tensors import assert_close
from tfmodels.ops import activation


def test_gelu_new_is_the_formula():
    x = np.linspace(-6, 6, 101).astype("float32")
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.tolist()]
    assert_close(to_numpy(activation("gelu_new")(x)), expected, 1e-6)
    assert np.abs(to_numpy(activation("gelu")(x)) - expected).max() > 1e-4


def test_other_names_are_those_of_keras():
    assert activation("relu") is keras.activations.relu
    assert activation(None) is keras.activations.linear
    with pytest.raises(ValueError, match="no such"):
        activation("no such")
