"""`MultiHeadAttention` against the paper's equations, and its hooks for positions."""

import numpy as np
import pytest
from keras import ops

from tests.support import check_layer, to_numpy
from tests.support.oracles import multi_head_attention, named_weights
from tests.support.tensors import assert_close
from tfmodels.layers import MultiHeadAttention, PositionScheme


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def random_mask(batch, length, source):
    mask = np.random.default_rng(3).random((batch, 1, length, source)) < 0.6
    mask[..., 0] = True
    return mask


def with_random_weights(layer, seed=9):
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) * 0.5 for weight in layer.weights])
    return layer


@pytest.mark.parametrize("masked", [True, False])
def test_attention_keeps_to_the_layer_contract(masked):
    check_layer(
        lambda dtype=None: MultiHeadAttention(3, 6, dropout=0.1, dtype=dtype),
        lambda batch, length: {"query": vectors(batch, length)}
        | ({"attention_mask": random_mask(batch, length, length)} if masked else {}),
        lambda batch, length: (batch, length, 6),
    )


def test_cross_attention_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: MultiHeadAttention(2, 6, dtype=dtype),
        lambda batch, length: {
            "query": vectors(batch, length, 7),
            "value": vectors(batch, length + 2, 5, seed=1),
            "attention_mask": random_mask(batch, length, length + 2),
        },
        lambda batch, length: (batch, length, 6),
    )


@pytest.mark.parametrize("source", [None, 5])
def test_outputs_and_scores_are_those_of_the_equations(source):
    query = vectors(2, 3)
    value = None if source is None else vectors(2, source, seed=1)
    mask = random_mask(2, 3, source or 3)
    layer = MultiHeadAttention(3, 6)
    layer(query, value)
    with_random_weights(layer)
    output, scores = to_numpy(layer(query, value, attention_mask=mask, return_scores=True))
    expected_output, expected_scores = multi_head_attention(
        named_weights(layer),
        query,
        query if value is None else value,
        3,
        np.broadcast_to(mask, (2, 3, *mask.shape[2:])),
    )
    assert_close(output, expected_output, 1e-6)
    assert_close(scores, expected_scores, 1e-6)


def test_dropout_acts_in_training_only():
    layer, query = MultiHeadAttention(2, 6, dropout=0.5), vectors(2, 5)
    still = to_numpy(layer(query, training=False))
    np.testing.assert_array_equal(to_numpy(layer(query, training=False)), still)
    assert (to_numpy(layer(query, training=True)) != still).any()


@pytest.mark.parametrize("masked", [True, False])
def test_a_causal_layer_adds_the_past_to_its_mask(masked):
    query, past = vectors(2, 5), np.tril(np.ones((1, 1, 5, 5), bool))
    given = random_mask(2, 5, 5) if masked else None
    plain, causal_layer = MultiHeadAttention(2, 6), MultiHeadAttention(2, 6, is_causal=True)
    plain(query)
    causal_layer(query)
    causal_layer.set_weights(plain.get_weights())
    expected = to_numpy(plain(query, attention_mask=past & given if masked else past))
    np.testing.assert_array_equal(to_numpy(causal_layer(query, attention_mask=given)), expected)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads=4 does not divide hidden_dim=6"):
        MultiHeadAttention(4, 6)


class Recency(PositionScheme):
    """A learned slope for every head times the distance, and all logits halved."""

    def build(self, input_shape):
        self.slopes = self.add_weight(name="slopes", shape=(2,), initializer="ones")
        self.built = True

    def bias(self, query_length, key_length):
        distance = ops.arange(query_length)[:, None] - ops.arange(key_length)[None]
        return ops.cast(self.slopes, "float32")[None, :, None, None] * ops.cast(distance, "float32")

    def rescale(self, logits):
        return 0.5 * logits


def test_a_position_scheme_with_weights_plugs_in():
    check_layer(
        lambda dtype=None: MultiHeadAttention(2, 6, positions=Recency(dtype=dtype), dtype=dtype),
        lambda batch, length: {"query": vectors(batch, length)},
        lambda batch, length: (batch, length, 6),
    )
    query = vectors(2, 4)
    plain, positioned = MultiHeadAttention(2, 6), MultiHeadAttention(2, 6, positions=Recency(name="positions"))
    plain(query)
    positioned(query)
    positioned.set_weights([*plain.get_weights(), np.array([2.0, -1.0])])
    _, before = to_numpy(plain(query, return_scores=True))
    _, after = to_numpy(positioned(query, return_scores=True))
    distance = np.arange(4)[:, None] - np.arange(4)[None]
    assert_close(after, 0.5 * (before + np.array([2.0, -1.0])[None, :, None, None] * distance), 1e-6)


def test_the_base_scheme_changes_nothing():
    query = vectors(2, 4)
    plain, positioned = MultiHeadAttention(2, 6), MultiHeadAttention(2, 6, positions=PositionScheme())
    plain(query)
    positioned(query)
    positioned.set_weights(plain.get_weights())
    np.testing.assert_array_equal(to_numpy(positioned(query)), to_numpy(plain(query)))
