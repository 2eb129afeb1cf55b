"""`BinaryPartitionAttention` against dense masks, and what a token hears of in how many layers."""

import keras
import numpy as np
import pytest

from tests.ops.test_partition import walked
from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_oracle, graph_attention
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import BinaryPartitionAttention, MultiHeadAttention, binary_partition
from tfmodels.ops import Partition


def vectors(batch, length, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def with_holes(length, seed=4):
    """Two rows: padding at the end of the first, here and there in the second."""
    is_real = np.ones((2, length), bool)
    is_real[0, length - length // 3 :] = False
    is_real[1] = np.random.default_rng(seed).random(length) < 0.7
    is_real[1, 0] = True
    return is_real


def nodes_of(is_real):
    """Which nodes are real: bool[B, L]."""
    levels, level = [is_real], is_real
    while level.shape[1] > 1:
        level = np.pad(level, ((0, 0), (0, level.shape[1] % 2)))
        level = level[:, ::2] | level[:, 1::2]
        levels.append(level)
    return np.concatenate(levels, axis=1)


def graph(length, density, num_levels, causal):
    """The paper's graph over all pairs of nodes: bool[L, L], who sees whom, and int[L, L], the row of their vector."""
    partition = Partition(length)
    sees, rows = np.zeros((2, partition.size, partition.size), int)
    for token, seen in enumerate(walked(length, density, causal)):
        for (level, node), relation in seen.items():
            place = token, int(partition.starts[level]) + node
            sees[place] = 1
            if relation:
                side, at, number = relation
                rows[place] = 1 + (side * num_levels + min(at, num_levels - 1)) * density + number
    for level in range(1, partition.height + 1):
        for node in range(int(partition.counts[level])):
            sees[partition.starts[level] + node, node << level : min((node + 1) << level, length)] = 1
    return sees.astype(bool), rows


@pytest.mark.parametrize(
    "length, density, num_levels, causal, block",
    [(13, 3, 2, False, 4), (37, 1, 9, False, 4), (37, 4, 3, True, 4), (140, 1, 1, False, None)],
)
def test_outputs_and_gradients_are_those_of_a_dense_mask(monkeypatch, length, density, num_levels, causal, block):
    if block:
        monkeypatch.setattr(binary_partition, "_SMALLEST_BLOCK", block)
        monkeypatch.setattr(binary_partition, "_LEVELS_AT_ONCE", 2)
    is_real = with_holes(length)
    reals = nodes_of(is_real)
    nodes = vectors(2, reals.shape[1])
    layer = BinaryPartitionAttention(2, 4, density=density, num_levels=num_levels, is_causal=causal)

    def call():
        return layer(nodes, attention_mask=reals[:, None, None], token_mask=is_real)

    sees, rows = graph(length, density, num_levels, causal)
    sees = (sees & reals[:, None])[:, None]
    call()
    check_oracle(
        layer,
        call,
        lambda weights: graph_attention(weights, nodes, nodes, 2, sees, weights["relations"][rows]),
        keep=reals,
    )


@pytest.mark.parametrize("causal", [False, True])
def test_it_keeps_to_the_layer_contract(causal):
    check_layer(
        lambda dtype=None: BinaryPartitionAttention(
            2, 6, dropout=0.1, density=2, num_levels=2, is_causal=causal, dtype=dtype
        ),
        lambda batch, length: {"query": vectors(batch, length, 6)},
        lambda batch, length: (batch, length, 6),
        lengths=(0, 1, 4, 70),
    )


def test_with_all_tokens_beside_each_other_it_is_full_attention():
    x, is_real = vectors(2, 23, 6), with_holes(23)
    full, layer = MultiHeadAttention(2, 6), BinaryPartitionAttention(2, 6, density=23)
    full(x)
    layer(x)
    layer.set_weights([np.zeros(layer.relations.shape), *full.get_weights()])
    mask = is_real[:, None, None]
    assert_close(
        to_numpy(layer(x, attention_mask=mask))[is_real], to_numpy(full(x, attention_mask=mask))[is_real], 1e-5
    )


def layers_of(number, length, **settings):
    """A function of float[B, T, D]: so many layers with residual connections, on spans that begin as zeros."""
    layers = [BinaryPartitionAttention(2, 6, **settings) for _ in range(number)]

    def apply(tokens, is_real=None):
        is_real = np.ones(tokens.shape[:2], bool) if is_real is None else is_real
        reals = nodes_of(is_real)
        x = np.concatenate([tokens, np.zeros((len(tokens), reals.shape[1] - tokens.shape[1], 6))], axis=1)
        x = x.astype("float32")
        for index, layer in enumerate(layers):
            if not layer.built:
                layer.build(x.shape)
                random = np.random.default_rng(index)
                layer.set_weights([random.normal(size=weight.shape) * 0.5 for weight in layer.weights])
            x = x + to_numpy(layer(x, attention_mask=reals[:, None, None], token_mask=is_real))
        return x[:, : tokens.shape[1]]

    return apply


def changed(apply, length):
    """bool[T, T]: whether a change of the token of the row changes the output of the column."""
    tokens = np.repeat(vectors(1, length, 6), length, axis=0)
    other = tokens.copy()
    other[np.arange(length), np.arange(length)] += 3 * vectors(1, length, 6, seed=1)[0]
    return (apply(other) != apply(tokens)).any(axis=-1)


def test_every_token_hears_of_every_other_one_in_two_layers_and_not_in_one():
    assert not changed(layers_of(1, 43, density=2), 43).all()
    assert changed(layers_of(2, 43, density=2), 43).all()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_causal_token_hears_of_none_behind_it(number):
    hears = changed(layers_of(number, 75, density=2, is_causal=True), 75)
    assert not np.tril(hears, -1).any()
    assert np.diag(hears).all()
    if number > 1:
        assert np.triu(np.ones((75, 75), bool)).tolist() == hears.tolist()


def test_padding_changes_nothing_wherever_it_is():
    apply, is_real = layers_of(3, 150, density=2), with_holes(70)
    tokens = vectors(2, 70, 6)
    plain = apply(tokens, is_real)
    longer = np.pad(tokens, ((0, 0), (0, 80), (0, 0)), constant_values=9)
    longer[:, :70][~is_real] = -7
    padded = apply(longer, np.pad(is_real, ((0, 0), (0, 80))))
    assert_close(padded[:, :70][is_real], plain[is_real], 1e-5)


def test_rows_of_padding_alone_are_finite():
    layer = BinaryPartitionAttention(2, 6)
    assert np.isfinite(to_numpy(layer(vectors(2, 9, 6), attention_mask=np.zeros((2, 1, 1, 9), bool)))).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are known in JAX's graphs")
@pytest.mark.parametrize("causal", [False, True])
def test_graphs_of_unknown_length_compute_the_same(causal):
    import tensorflow as tf

    layer = BinaryPartitionAttention(2, 6, density=2, is_causal=causal)
    layer.build((None, None, 6))
    graph = tf.function(
        lambda x, is_real: layer(x, token_mask=is_real),
        input_signature=[tf.TensorSpec((None, None, 6)), tf.TensorSpec((None, None), tf.bool)],
        autograph=False,
    )
    for length in (1, 70, 140):
        is_real = np.ones((2, length), bool)
        nodes = vectors(2, nodes_of(is_real).shape[1], 6)
        assert_close(to_numpy(graph(nodes, is_real)), to_numpy(layer(nodes, token_mask=is_real)), 1e-5)
    assert graph(vectors(2, 0, 6), np.ones((2, 0), bool)).shape == (2, 0, 6)


def test_what_it_cannot_do_is_said():
    with pytest.raises(UserError, match="density=0 is no whole number from 1"):
        BinaryPartitionAttention(2, 6, density=0)
    with pytest.raises(UserError, match="num_levels=None is no whole number from 1"):
        BinaryPartitionAttention(2, 6, num_levels=None)
    with pytest.raises(UserError, match="a mask of padding alone"):
        BinaryPartitionAttention(2, 6)(vectors(1, 3, 6), attention_mask=np.ones((1, 1, 3, 3), bool))
