"""Low-rank and locality constrained attention against dense matrices, and the rank of the part that sees far."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_dense_oracle, holed_rows, with_random_weights
from tests.support.oracles import named_weights, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import LowRankAttention
from tfmodels.models import LowRank


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def matrices(weights, x, is_real, window, head):
    """The low-rank matrix and the band of one row and head, float[T, T], of the row's real tokens."""
    part = slice(3 * head, 3 * head + 3)
    query, key = (x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"] for name in ("query", "key"))
    query, key = query[:, part] / np.sqrt(3), key[:, part]
    to_tokens = softmax(np.where(is_real, weights["readers"][:, head] / np.sqrt(3) @ key.T, -np.inf))  # [r, T]
    far = softmax(query @ weights["topics"][:, head].T) @ to_tokens
    distance = np.abs(np.arange(len(x))[:, None] - np.arange(len(x))[None])
    near = softmax(np.where((distance <= window) & is_real, query @ key.T, -1e30))
    return far, near


def oracle_of(window):
    def oracle(weights, x, is_real):
        value = x @ weights["value/kernel"] + weights["value/bias"]
        joined = np.zeros_like(value)
        for row in range(len(x)):
            for head in range(2):
                if is_real[row].any():
                    far, near = matrices(weights, x[row], is_real[row], window, head)
                    part = slice(3 * head, 3 * head + 3)
                    joined[row, :, part] = (far + near) @ value[row, :, part]
        return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]

    return oracle


@pytest.mark.parametrize(("length", "rank", "window"), [(1, 2, 0), (7, 2, 1), (7, 9, 20), (37, 3, 2)])
def test_outputs_and_gradients_are_those_of_the_matrices(length, rank, window):
    batch = 2 if length > 10 else 3
    layer = LowRankAttention(2, 6, rank, window)
    check_dense_oracle(layer, oracle_of(window), vectors(batch, length), holed_rows(batch, length))


def test_it_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: LowRankAttention(2, 6, 3, 1, dropout=0.1, dtype=dtype),
        lambda batch, length: {
            "query": vectors(batch, length),
            "attention_mask": holed_rows(batch, length)[:, None, None],
        },
        lambda batch, length: (batch, length, 6),
    )


def test_beyond_the_band_the_attention_has_the_rank_that_it_was_given():
    """The layer is linear in what its values are made from, if the weights of the queries and keys are held."""
    length, rank, window = 11, 3, 1
    layer, x = LowRankAttention(1, 6, rank, window), vectors(1, length)
    layer(x)
    with_random_weights(layer)
    weights = named_weights(layer)
    layer.value.set_weights([np.zeros((6, 6)), np.zeros(6)])
    layer.output_projection.set_weights([np.eye(6), np.zeros(6)])
    attention = np.zeros((length, length))
    original = layer.value.call
    for place in range(length):
        one = np.zeros((length, 6), "float32")
        one[place, 0] = 1.0
        layer.value.call = lambda inputs, training=None, one=one: one
        attention[:, place] = to_numpy(layer(x))[0, :, 0]
    layer.value.call = original
    assert_close(attention.sum(axis=1), np.full(length, 2.0), 1e-5)
    query, key = (x[0] @ weights[f"{name}/kernel"] + weights[f"{name}/bias"] for name in ("query", "key"))
    distance = np.abs(np.arange(length)[:, None] - np.arange(length)[None])
    band = softmax(np.where(distance <= window, query @ key.T / np.sqrt(6), -1e30))
    singular = np.linalg.svd(attention - band, compute_uv=False)
    assert singular[rank - 1] > 1e-3 and singular[rank:].max() < 1e-5


@pytest.mark.parametrize("settings", [{"rank": 0}, {"window": -1}])
def test_what_it_cannot_do_is_refused(settings):
    with pytest.raises(UserError, match=r"needs at least rank 1|is no number of tokens"):
        LowRankAttention(2, 6, **{"rank": 1, "window": 1, **settings})
    with pytest.raises(UserError, match=r"needs at least rank 1|is no number of tokens"):
        tiny("bert_tiny", attention=LowRank(**settings))
