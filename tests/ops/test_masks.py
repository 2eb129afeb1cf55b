"""Masks against an enumeration of every pair of positions."""

import itertools

import numpy as np
import pytest

from tests.support import to_numpy
from tfmodels.errors import UserError
from tfmodels.ops import causal, padding, prefix, real_keys, segment, window

LENGTHS = (1, 2, 5, 7)


def enumerate_pairs(length, rule, batch=1):
    """bool[batch, 1, length, length] from `rule(row, query_position, key_position)`."""
    mask = np.zeros((batch, 1, length, length), bool)
    for row, t, s in itertools.product(range(batch), range(length), range(length)):
        mask[row, 0, t, s] = rule(row, t, s)
    return mask


def assert_same(mask, expected):
    mask = to_numpy(mask)
    assert mask.dtype == bool
    np.testing.assert_array_equal(np.broadcast_to(mask, expected.shape), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_causal_allows_itself_and_the_past(length):
    assert causal(length).shape == (1, 1, length, length)
    assert_same(causal(length), enumerate_pairs(length, lambda _, t, s: s <= t))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_window_allows_so_many_on_either_side(length, size):
    assert_same(window(length, size), enumerate_pairs(length, lambda _, t, s: abs(t - s) <= size))


def test_padding_allows_the_real_keys():
    is_real = np.array([[True, False, True, True], [False] * 4])
    assert padding(is_real).shape == (2, 1, 1, 4)
    assert_same(padding(is_real), enumerate_pairs(4, lambda row, t, s: is_real[row, s], batch=2))
    assert_same(padding(is_real.astype("int32")), enumerate_pairs(4, lambda row, t, s: is_real[row, s], batch=2))


@pytest.mark.parametrize("length", LENGTHS)
def test_prefix_allows_the_prefix_and_the_past(length):
    prefixes = np.array([0, 1, length // 2, length], "int32")
    expected = enumerate_pairs(length, lambda row, t, s: s <= t or s < prefixes[row], batch=4)
    assert_same(prefix(length, prefixes), expected)


def test_segment_allows_the_own_segment_wherever_it_stands():
    ids = np.array([[0, 0, 1, 1, 2], [3, 0, 3, 0, 3]], "int32")
    assert_same(segment(ids), enumerate_pairs(5, lambda row, t, s: ids[row, t] == ids[row, s], batch=2))


def test_masks_compose():
    is_real, ids = np.array([[True, True, True, True, False]]), np.array([[0, 0, 1, 1, 1]])
    mask = padding(is_real) & causal(5) & segment(ids) | ~window(5, 3)

    def rule(row, t, s):
        return (is_real[row, s] and s <= t and ids[row, t] == ids[row, s]) or abs(t - s) > 3

    assert_same(mask, enumerate_pairs(5, rule))


def test_the_real_keys_are_those_that_padding_was_made_of():
    is_real, keys = np.array([[True, False, True], [False] * 3]), np.zeros((2, 3, 4, 5), "float32")
    assert_same(real_keys(padding(is_real), keys), is_real)
    assert_same(real_keys(None, keys), np.ones((2, 3), bool))
    assert_same(real_keys(padding(is_real[:1]), keys), is_real[[0, 0]])


@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (2, 4, 1, 3)])
def test_a_mask_that_tells_queries_or_heads_apart_is_no_mask_of_padding(shape):
    with pytest.raises(UserError, match="a mask of padding alone"):
        real_keys(np.ones(shape, bool), np.zeros((2, 3, 4, 5), "float32"))
