"""Scores by distance and by key: the loops that `skew` and `unskew` stand for, and that they undo each other."""

import numpy as np
import pytest

from tests.support import to_numpy
from tfmodels.ops import key_distances, skew, toeplitz, unskew

LENGTHS = [(1, 1), (1, 4), (4, 1), (3, 3), (3, 5), (5, 3)]


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("length, keys", LENGTHS)
def test_scores_are_read_at_the_distance_of_their_key(length, keys):
    scores = random(2, 3, length, length + keys - 1)
    skewed, distances = to_numpy(skew(scores, keys)), to_numpy(key_distances(length, keys))
    assert skewed.shape == (2, 3, length, keys)
    for t in range(length):
        for s in range(keys):
            (column,) = np.flatnonzero(distances == t - s)
            np.testing.assert_array_equal(skewed[:, :, t, s], scores[:, :, t, column])


@pytest.mark.parametrize("length, keys", LENGTHS)
def test_weights_lie_at_the_distance_of_their_key_and_zeros_elsewhere(length, keys):
    weights = random(2, 3, length, keys)
    expected = np.zeros((2, 3, length, length + keys - 1), "float32")
    distances = to_numpy(key_distances(length, keys))
    for t in range(length):
        for s in range(keys):
            expected[:, :, t, distances == t - s] = weights[:, :, t, s, None]
    np.testing.assert_array_equal(to_numpy(unskew(weights)), expected)
    np.testing.assert_array_equal(to_numpy(skew(unskew(weights), keys)), weights)


@pytest.mark.parametrize("length, keys", LENGTHS)
def test_values_of_distances_are_alike_for_every_query(length, keys):
    values = random(3, length + keys - 1)
    expected = np.zeros((1, 3, length, keys), "float32")
    distances = to_numpy(key_distances(length, keys))
    for t in range(length):
        for s in range(keys):
            expected[0, :, t, s] = values[:, distances == t - s][:, 0]
    np.testing.assert_array_equal(to_numpy(toeplitz(values, length, keys)), expected)


def test_scores_that_are_left_out_count_as_zeros():
    full = random(1, 2, 4, 7)
    full[..., 4:] = 0  # keys ahead of the query
    np.testing.assert_array_equal(to_numpy(skew(full[..., :4], 4)), to_numpy(skew(full, 4)))
