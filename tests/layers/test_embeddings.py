"""Token, segment and position vectors, and the two kinds of absolute positions."""

import math

import keras
import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.oracles import layer_norm, named_weights
from tests.support.tensors import assert_close
from tfmodels.layers import LearnedPositions, Projection, SinusoidPositions, TextEmbedding

V, D, E, MAX = 11, 6, 4, 9


def ids(batch, length):
    random = np.random.default_rng(0)
    return {
        "token_ids": random.integers(0, V, (batch, length)).astype("int32"),
        "segment_ids": random.integers(0, 2, (batch, length)).astype("int32"),
    }


@pytest.mark.parametrize("positions", [LearnedPositions, SinusoidPositions, None])
@pytest.mark.parametrize("embedding_dim", [None, E])
def test_text_embedding_keeps_to_the_layer_contract(positions, embedding_dim):
    check_layer(
        lambda dtype=None: TextEmbedding(
            V,
            D,
            positions and positions(MAX, dtype=dtype, name="positions"),
            embedding_dim=embedding_dim,
            dropout=0.1,
            dtype=dtype,
        ),
        ids,
        lambda batch, length: (batch, length, D),
    )


def test_without_segments_only_tokens_are_looked_up():
    check_layer(
        lambda dtype=None: TextEmbedding(V, D, num_segments=0, dtype=dtype),
        lambda batch, length: {"token_ids": ids(batch, length)["token_ids"]},
        lambda batch, length: (batch, length, D),
    )


@pytest.mark.parametrize("embedding_dim", [None, E])
def test_vectors_are_the_normalised_sum(embedding_dim):
    layer = TextEmbedding(V, D, LearnedPositions(MAX, name="positions"), embedding_dim, layer_norm_epsilon=1e-3)
    batch = ids(2, 5)
    layer(**batch)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    weights = named_weights(layer)
    expected = np.zeros((2, 5, embedding_dim or D))
    for row in range(2):
        for position in range(5):
            expected[row, position] = (
                weights["tokens"][batch["token_ids"][row, position]]
                + weights["segments"][batch["segment_ids"][row, position]]
                + weights["positions/embeddings"][position]
            )
    expected = layer_norm(expected, weights["norm/gamma"], weights["norm/beta"], 1e-3)
    if embedding_dim:
        expected = expected @ weights["widen/kernel"] + weights["widen/bias"]
    assert_close(to_numpy(layer(**batch)), expected, 1e-6)


def test_a_map_may_be_handed_in_where_none_is_needed():
    check_layer(
        lambda dtype=None: TextEmbedding(V, D, widen=Projection(D, dtype=dtype, name="widen"), dtype=dtype),
        ids,
        lambda batch, length: (batch, length, D),
    )
    layer, plain = TextEmbedding(V, D, widen=Projection(D)), TextEmbedding(V, D)
    for each in (layer, plain):
        each(**ids(2, 5))
    assert layer.count_params() == plain.count_params() + D * D + D
    assert plain.widen is None


@pytest.mark.parametrize("num_segments", [1, 3])
def test_without_segment_ids_or_with_one_segment_everything_lies_in_segment_0(num_segments):
    layer, batch = TextEmbedding(V, D, num_segments=num_segments), ids(2, 5)
    zeros = to_numpy(layer(batch["token_ids"], np.zeros_like(batch["segment_ids"])))
    layer.segments.assign(np.random.default_rng(0).normal(size=(num_segments, D)))
    assert (to_numpy(layer(batch["token_ids"])) != zeros).any()
    zeros = to_numpy(layer(batch["token_ids"], np.zeros_like(batch["segment_ids"])))
    np.testing.assert_array_equal(to_numpy(layer(batch["token_ids"])), zeros)
    is_equal = (to_numpy(layer(**batch)) == zeros).all()
    assert is_equal == (num_segments == 1)


@pytest.mark.parametrize("positions", [LearnedPositions, SinusoidPositions])
def test_positions_keep_to_the_layer_contract(positions):
    check_layer(
        lambda dtype=None: positions(MAX, dtype=dtype),
        lambda batch, length: {"embeddings": np.ones((batch, length, D), "float32")},
        lambda batch, length: (1, length, D),
    )


@pytest.mark.parametrize("size", [6, 7])
def test_sinusoids_follow_the_formula(size):
    table = to_numpy(SinusoidPositions(40)(np.zeros((1, 40, size), "float32")))[0]
    for position in (0, 1, 17, 39):
        for component in range(size):
            # arXiv:1706.03762, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(the same).
            angle = position / 10_000 ** (2 * (component // 2) / size)
            expected = math.sin(angle) if component % 2 == 0 else math.cos(angle)
            assert table[position, component] == pytest.approx(expected, abs=1e-6)


def test_sinusoids_have_no_weights():
    layer = SinusoidPositions(MAX)
    layer(np.zeros((1, 3, D), "float32"))
    assert layer.weights == []


def test_positions_that_were_built_before_keep_their_weights():
    positions = LearnedPositions(MAX)
    positions(np.zeros((1, 3, D), "float32"))
    table = keras.ops.convert_to_numpy(positions.embeddings)
    layer = TextEmbedding(V, D, positions)
    layer(**ids(2, 5))
    np.testing.assert_array_equal(to_numpy(positions.embeddings), table)
    assert len(positions.weights) == 1
