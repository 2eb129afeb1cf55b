"""Reformer's layers: hashing that is drawn anew in training alone, chunks, axial positions, the network in chunks."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.support import check_gradients_reach, check_layer, gradients_of, random_sum, to_numpy
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import (
    AxialPositions,
    ChunkedFeedForward,
    FeedForward,
    LocalSelfAttention,
    LSHSelfAttention,
    ReversibleBlock,
    ReversibleStack,
)

D = 14


def vectors(batch, length, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, D)).astype("float32")


def masked(batch, length):
    """One row with a token less."""
    mask = np.ones((batch, 1, 1, length), bool)
    mask[0, ..., length - 1 :] = length == 1
    return {"query": vectors(batch, length), "attention_mask": mask}


def hashing(dtype=None, **settings):
    return LSHSelfAttention(2, D, **{"num_buckets": (2, 4), "num_hashes": 2, "chunk_length": 3} | settings, dtype=dtype)


def neighbours(dtype=None, **settings):
    return LocalSelfAttention(2, D, chunk_length=3, **settings, dtype=dtype)


def stack(dtype=None, **settings):
    blocks = [
        ReversibleBlock(
            make(head_dim=5, use_bias=False, is_causal=True, name=f"attention_{index}"),
            FeedForward(9, name=f"feed_forward_{index}"),
            dropout=0.2,
            dtype=dtype,
            name=f"block_{index}",
        )
        for index, make in enumerate((hashing, neighbours))
    ]
    return ReversibleStack(blocks, dtype=dtype, name="stack")


@pytest.mark.parametrize("is_causal", (False, True))
@pytest.mark.parametrize("make", (hashing, neighbours))
def test_attention_keeps_to_the_contract(make, is_causal):
    check_layer(
        lambda dtype=None: make(dtype, dropout=0.1, is_causal=is_causal, name="attention"),
        masked,
        lambda batch, length: (batch, length, D),
    )


def test_heads_may_have_any_size_and_no_biases():
    layer = hashing(head_dim=5, use_bias=False)
    assert layer(vectors(2, 7)).shape == (2, 7, D)
    assert [tuple(weight.shape) for weight in layer.weights] == [(D, 10), (D, 10), (10, D)]


def test_the_stack_keeps_to_the_contract():
    check_layer(stack, lambda batch, length: {"inputs": vectors(batch, length)}, lambda b, t: (b, t, 2 * D))


def test_streams_are_changed_in_turn():
    layer, x = stack(), vectors(2, 7)
    layer(x)
    y1 = y2 = x
    for block in layer.blocks:
        y1 = y1 + to_numpy(block.attention(block.attention_norm(y2)))
        y2 = y2 + to_numpy(block.feed_forward(block.feed_forward_norm(y1)))
    assert_close(to_numpy(layer(x)), np.concatenate([y1, y2], axis=-1), 1e-5)
    _, (state,) = layer(x, return_states=True)
    first = layer.blocks[0]
    a = x + to_numpy(first.attention(first.attention_norm(x)))
    assert_close(to_numpy(state), a + to_numpy(first.feed_forward(first.feed_forward_norm(a))) - a + x, 1e-5)


def test_streams_are_float32_whatever_the_layers_compute_in():
    layer = stack("mixed_bfloat16")
    states = layer.run(*[ops.convert_to_tensor(vectors(2, 5))] * 2)
    assert {keras.backend.standardize_dtype(x.dtype) for pair in states for x in pair} == {"float32"}


def test_rotations_are_drawn_anew_in_training_alone():
    # Many buckets and small chunks: other rotations are seen in the outputs.
    layer, x = hashing(num_buckets=8, chunks_before=0, seed=3), vectors(2, 23)
    plain = to_numpy(layer(x))
    np.testing.assert_array_equal(to_numpy(layer(x)), plain)
    first, second = to_numpy(layer(x, training=True)), to_numpy(layer(x, training=True))
    assert np.abs(first - second).max() > 1e-4 and np.abs(first - plain).max() > 1e-4
    np.testing.assert_array_equal(to_numpy(layer(x)), plain)


def test_the_seed_decides_the_rotations():
    x = vectors(2, 23)
    one, same, other = (hashing(num_buckets=8, chunks_before=0, seed=seed) for seed in (3, 3, 4))
    for layer in (one, same, other):
        layer.build(x.shape)
        layer.set_weights([np.random.default_rng(0).normal(size=weight.shape) for weight in layer.weights])
    np.testing.assert_array_equal(one.rotations, same.rotations)
    np.testing.assert_array_equal(to_numpy(one(x)), to_numpy(same(x)))
    np.testing.assert_array_equal(to_numpy(one(x, training=True)), to_numpy(same(x, training=True)))
    assert np.abs(to_numpy(other(x)) - to_numpy(one(x))).max() > 1e-4
    other.rotations = one.rotations
    np.testing.assert_array_equal(to_numpy(other(x)), to_numpy(one(x)))


@pytest.mark.parametrize("dims", ((5, 9), None))
def test_axial_positions_are_two_tables_side_by_side_or_added(dims):
    layer = AxialPositions((4, 6), dims)
    outputs = to_numpy(layer(vectors(2, 23)))
    rows, columns = (to_numpy(table) for table in layer.tables)
    for position in range(23):
        parts = rows[position // 6], columns[position % 6]
        np.testing.assert_array_equal(outputs[0, position], sum(parts) if dims is None else np.concatenate(parts))
    for length in (1, 6, 7, 24):
        assert layer(vectors(1, length)).shape == (1, length, D)
        np.testing.assert_array_equal(to_numpy(layer(vectors(1, length)))[0, :1], outputs[0, :1])
    assert layer.max_length == 24 and layer.count_params() == (10 * D if dims is None else 4 * 5 + 6 * 9)
    check_gradients_reach(lambda: random_sum(layer(vectors(2, 20))), layer.trainable_variables)


@pytest.mark.parametrize("length", (1, 4, 9))
def test_a_network_in_chunks_is_the_same_network(length):
    network = FeedForward(9, "relu")
    chunked, x = ChunkedFeedForward(network, 4), vectors(3, length)
    assert_close(to_numpy(chunked(x)), to_numpy(network(x)), 1e-6)
    plain, parts = (
        gradients_of(lambda f=f: random_sum(f(x)), network.trainable_variables)[1] for f in (network, chunked)
    )
    for ours, theirs in zip(parts, plain, strict=True):
        assert_close(ours, theirs, 1e-6)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: hashing(num_hashes=0), "at least one round"),
        (lambda: hashing(num_buckets=5), "even and at least 2"),
        (lambda: hashing(chunk_length=0), "at least one token"),
        (lambda: hashing(chunks_before=-1), "numbers of chunks"),
        (lambda: hashing(chunks_after=1, is_causal=True), "sees nothing of the chunks after"),
        (lambda: neighbours(chunks_after=2, is_causal=True), "sees nothing of the chunks after"),
        (lambda: AxialPositions((4, 0)), "two numbers above 0"),
        (lambda: AxialPositions((4, 6), (5, 8))(vectors(1, 3)), "13 together, but the embeddings have 14"),
        (lambda: ChunkedFeedForward(FeedForward(9), 0), "at least one token"),
        (lambda: ChunkedFeedForward(FeedForward(9, dropout=0.1), 4), "no dropout inside"),
        (lambda: hashing()(vectors(1, 3), attention_mask=np.ones((1, 1, 3, 3), bool)), "mask of padding alone"),
    ],
)
def test_bad_settings_are_told_in_a_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()
