"""Sequences in blocks: nothing is lost, nothing is invented."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.support import to_numpy
from tfmodels.ops import beside, from_blocks, to_blocks


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_blocks_are_the_sequence_filled_up_with_zeros(length, dtype):
    x = np.random.default_rng(0).integers(0, 2, (2, length, 3)).astype(dtype)
    blocks = to_numpy(to_blocks(x, 4))
    count = -(-length // 4)
    assert blocks.shape == (2, count, 4, 3) and blocks.dtype == x.dtype
    flat = blocks.reshape(2, count * 4, 3)
    np.testing.assert_array_equal(flat[:, :length], x)
    assert not flat[:, length:].any()
    np.testing.assert_array_equal(to_numpy(from_blocks(blocks, length)), x)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 2), (2, 1), (5, 0)])
def test_a_block_stands_beside_its_neighbours_in_their_order(before, after):
    blocks = np.arange(1, 2 * 3 * 4 + 1).reshape(2, 3, 4)
    wide = to_numpy(beside(blocks, before, after))
    assert wide.shape == (2, 3, (before + 1 + after) * 4)
    for block in range(3):
        for shift in range(-before, after + 1):
            there = 0 <= block + shift < 3
            expected = blocks[:, block + shift] if there else np.zeros((2, 4))
            place = (before + shift) * 4
            np.testing.assert_array_equal(wide[:, block, place : place + 4], expected)


def test_blocks_are_formed_of_lengths_that_a_graph_does_not_know():
    x = keras.Input((None, 3))
    model = keras.Model(x, _Halves()(x))
    values = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_array_equal(to_numpy(model(values)), values)


class _Halves(keras.layers.Layer):
    def call(self, x):
        return from_blocks(beside(to_blocks(x, 2), 0, 0), ops.shape(x)[1])

    def compute_output_shape(self, shape):
        return shape
