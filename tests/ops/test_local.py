"""Local attention against full attention under the mask of a band."""

import numpy as np
import pytest
from keras import ops

from tests.support import to_numpy
from tests.support.gradients import gradients_with_respect_to
from tests.support.oracles import attention
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.ops import attend, local_attend, padding, window


def heads(batch, length, seed):
    return np.random.default_rng(seed).normal(size=(batch, length, 2, 3)).astype("float32")


def holed(batch, length):
    """Real keys with holes; the last row has none at all, and nor has a stretch of the first."""
    is_real = np.random.default_rng(5).random((batch, length)) < 0.7
    is_real[0, length // 3 : 2 * length // 3] = False
    is_real[-1] = False
    return is_real


def band(length, size, is_causal):
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    return (distance <= size) & (distance >= (0 if is_causal else -size))


# Blocks have 32 tokens, or as many as the window: lengths below, between and at multiples of both.
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("length", "size"), [(1, 0), (7, 2), (7, 100), (37, 0), (64, 5), (75, 40), (85, 3)])
def test_local_attention_is_that_of_a_band(length, size, is_causal):
    query, key, value = (heads(3, length, seed) for seed in range(3))
    is_real = holed(3, length)
    mask = band(length, size, is_causal)[None, None] & is_real[:, None, None]
    sees = mask.any(axis=-1)[:, 0]
    actual = to_numpy(local_attend(query, key, value, is_real, size, is_causal))
    assert np.isfinite(actual).all()
    expected, _ = attention(query, key, value, mask=np.broadcast_to(mask, (3, 2, length, length)))
    assert_close(actual[sees], expected[sees], 1e-6)


def test_queries_see_their_own_group_alone():
    length = 43
    query, key, value = (heads(2, length, seed) for seed in range(3))
    groups = np.random.default_rng(4).integers(0, 3, (2, length)).astype("int32")
    mask = band(length, 6, False)[None, None] & (groups[:, None, :, None] == groups[:, None, None])
    expected, _ = attention(query, key, value, mask=np.broadcast_to(mask, (2, 2, length, length)))
    actual = to_numpy(local_attend(query, key, value, np.ones((2, length), bool), 6, groups=groups))
    assert_close(actual, expected, 1e-6)


def test_gradients_are_those_of_a_band():
    length, is_real = 41, np.arange(41)[None] < np.array([[41], [9]])
    factors = heads(2, length, 7) * is_real[:, :, None, None]
    arrays = [heads(2, length, seed) for seed in range(3)]

    def local(*tensors):
        return ops.sum(local_attend(*tensors, is_real, 4) * factors)

    def dense(*tensors):
        return ops.sum(attend(*tensors, mask=padding(is_real) & window(length, 4)) * factors)

    for ours, theirs in zip(gradients_with_respect_to(local, *arrays), gradients_with_respect_to(dense, *arrays)):
        assert_close(ours, theirs, 1e-5)


def test_what_cannot_be_local_is_refused():
    x = heads(1, 5, 0)
    with pytest.raises(UserError, match="window=-1 is no number of tokens"):
        local_attend(x, x, x, np.ones((1, 5), bool), -1)
    with pytest.raises(UserError, match="5 queries needs as many keys, not 4"):
        local_attend(x, x[:, :4], x[:, :4], np.ones((1, 4), bool), 1)
