"""`MultiScaleAttention` against a dense mask for every head."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_oracle, graph_attention
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import MultiHeadAttention, MultiScaleAttention

SCALES = (1, 0.25, 3, 3, 1 / 3, 50)


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def with_holes(length):
    """Rows without padding, with padding at the end, with holes, and of one token."""
    is_real = np.ones((4, length), bool)
    is_real[1, length - length // 3 :] = False
    is_real[2] = np.random.default_rng(3).random(length) < 0.7
    is_real[3, 1:] = False
    return is_real


def seen(is_real, scales, causal=False):
    """bool[B, N, T, T]: the windows of all heads."""
    rows, length = is_real.shape
    sees = np.zeros((rows, len(scales), length, length), bool)
    for row, real in enumerate(is_real):
        for head, scale in enumerate(scales):
            window = scale if scale >= 1 else max(int(real.sum() * scale + 1e-6), 1)
            for query in range(length):
                for key in range(length):
                    near = abs(query - key) <= window and (key <= query or not causal)
                    sees[row, head, query, key] = near and real[key]
    return sees


@pytest.mark.parametrize("length", [1, 9, 70])
@pytest.mark.parametrize("causal", [False, True])
def test_outputs_and_gradients_are_those_of_dense_masks(length, causal):
    scales = (2, 2, 40) if causal else SCALES
    is_real, x = with_holes(length), vectors(4, length)
    layer = MultiScaleAttention(len(scales), 6, scales, is_causal=causal)
    sees = seen(is_real, scales, causal)

    def call():
        return layer(x, attention_mask=is_real[:, None, None])

    call()
    check_oracle(
        layer, call, lambda weights: graph_attention(weights, x, x, len(scales), sees), keep=sees.any(-1).all(1)
    )


@pytest.mark.parametrize("scales, causal", [(SCALES, False), ((1, 4, 50), True)])
def test_it_keeps_to_the_layer_contract(scales, causal):
    check_layer(
        lambda dtype=None: MultiScaleAttention(len(scales), 6, scales, 0.1, causal, dtype=dtype),
        lambda batch, length: {"query": vectors(batch, length)},
        lambda batch, length: (batch, length, 6),
        lengths=(0, 1, 4, 70),
    )


@pytest.mark.parametrize("causal", [False, True])
def test_with_windows_as_large_as_the_row_it_is_full_attention(causal):
    x, is_real = vectors(4, 23), with_holes(23)
    full = MultiHeadAttention(3, 6, is_causal=causal)
    layer = MultiScaleAttention(3, 6, (23, 22, 99), is_causal=causal)
    full(x)
    layer(x)
    layer.set_weights(full.get_weights())
    mask, keep = is_real[:, None, None], is_real
    assert_close(to_numpy(layer(x, attention_mask=mask))[keep], to_numpy(full(x, attention_mask=mask))[keep], 1e-5)


def test_a_causal_token_hears_of_none_behind_it_and_of_none_beyond_its_window():
    length = 45
    layer = MultiScaleAttention(2, 6, (2, 5), is_causal=True)
    tokens = np.repeat(vectors(1, length), length, axis=0)
    other = tokens.copy()
    other[np.arange(length), np.arange(length)] += 1
    hears = (to_numpy(layer(other)) != to_numpy(layer(tokens))).any(axis=-1)
    behind = np.arange(length) - np.arange(length)[:, None]
    assert hears.tolist() == ((behind >= 0) & (behind <= 5)).tolist()


def test_padding_changes_nothing_wherever_it_is():
    layer, is_real, x = MultiScaleAttention(6, 6, SCALES), with_holes(19), vectors(4, 19)
    plain = to_numpy(layer(x, attention_mask=is_real[:, None, None]))
    longer = np.pad(x, ((0, 0), (0, 60), (0, 0)), constant_values=9)
    longer[:, :19][~is_real] = -7
    padded = to_numpy(layer(longer, attention_mask=np.pad(is_real, ((0, 0), (0, 60)))[:, None, None]))
    keep = seen(is_real, SCALES).any(-1).all(1) & is_real
    assert_close(padded[:, :19][keep], plain[keep], 1e-5)


def test_rows_of_padding_alone_are_finite():
    layer = MultiScaleAttention(6, 6, SCALES)
    assert np.isfinite(to_numpy(layer(vectors(2, 9), attention_mask=np.zeros((2, 1, 1, 9), bool)))).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are known in JAX's graphs")
def test_graphs_of_unknown_length_compute_the_same():
    import tensorflow as tf

    layer = MultiScaleAttention(6, 6, SCALES)
    layer.build((None, None, 6))
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 6))], autograph=False)
    for length in (1, 16, 70):
        assert_close(to_numpy(graph(vectors(2, length))), to_numpy(layer(vectors(2, length))), 1e-5)


@pytest.mark.parametrize(
    "scales, causal, message",
    [
        ((1, 2), False, "2 scales for 3 heads: give one for every head"),
        ((1, 2, 3, 4), False, "4 scales for 3 heads"),
        ((1, 0, 2), False, "scale 0: give a number of tokens from 1, or a fraction"),
        ((1, 1.5, 2), False, "scale 1.5: give a number"),
        ((1, "N/4", 2), False, "scale 'N/4': give a number"),
        ((1, 0.5, 2), True, "scale 0.5: causal attention does not know the length"),
    ],
)
def test_what_it_cannot_do_is_said(scales, causal, message):
    with pytest.raises(UserError, match=message):
        MultiScaleAttention(3, 6, scales, is_causal=causal)
