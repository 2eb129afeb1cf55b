"""The masked mean against a loop over rows."""

import keras
import numpy as np
from keras import ops

from tests.support import to_numpy
from tests.support.gradients import gradients_with_respect_to
from tests.support.tensors import assert_close
from tfmodels.ops import masked_mean

VALUES = np.random.default_rng(0).normal(size=(3, 5, 7)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def test_it_is_the_mean_of_the_real_tokens_and_zero_without_any():
    mean = to_numpy(masked_mean(VALUES, MASK))
    for row in range(2):
        assert_close(mean[row], VALUES[row][MASK[row]].mean(axis=0), 1e-6)
    np.testing.assert_array_equal(mean[2], np.zeros(7))


def test_its_gradient_is_one_share_for_every_real_token():
    (gradient,) = gradients_with_respect_to(lambda values: ops.sum(masked_mean(values, MASK)), VALUES)
    shares = MASK / np.maximum(MASK.sum(axis=1, keepdims=True), 1)
    assert_close(gradient, np.broadcast_to(shares[:, :, None], VALUES.shape), 1e-6)


def test_it_sums_bfloat16_in_float32():
    # In bfloat16 a sum of ones stops at 256.
    mean = masked_mean(ops.ones((1, 1000, 1), "bfloat16"), np.ones((1, 1000), bool))
    assert keras.backend.standardize_dtype(mean.dtype) == "bfloat16"
    assert to_numpy(mean).item() == 1.0
