"""Star-Transformer's ring and relay against algorithm 1, one node at a time."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_oracle
from tests.support.oracles import layer_norm, part, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import StarAttention, StarBlock


def vectors(batch, length, size=4, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def with_holes(length):
    """Rows without padding, with padding at the end, with holes, of two tokens, of one, and of none."""
    is_real = np.ones((6, length), bool)
    is_real[1, length - length // 3 :] = False
    is_real[2] = np.random.default_rng(3).random(length) < 0.7
    for row, number in ((3, 2), (4, 1), (5, 0)):
        is_real[row, number:] = False
    return is_real


def one_attention(weights, query, keys, num_heads):
    """MultiAtt of one query, float[D], with a list of float[D] (equation 3)."""

    def heads(x, name):
        return (x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]).reshape(-1, num_heads, len(query) // num_heads)

    q, k, v = heads(query, "query")[0], heads(np.array(keys), "key"), heads(np.array(keys), "value")
    attention = softmax(np.einsum("nh,snh->ns", q, k) / np.sqrt(q.shape[-1]))
    joined = np.einsum("ns,snh->nh", attention, v).reshape(-1)
    return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]


def satellites_of(weights, relay, states, embeddings, is_real, num_heads):
    """Equations 4 and 5 on one row: float[T, D], zeros at padding."""
    places, result = np.flatnonzero(is_real), np.zeros(states.shape)
    for place in places:
        # The neighbours on the ring; a hole in the middle of a row is nobody.
        before = places[-1] if place == places[0] else place - 1
        behind = places[0] if place == places[-1] else place + 1
        keys = [states[at] for at in (before, place, behind) if is_real[at]]
        result[place] = one_attention(weights, states[place], [*keys, embeddings[place], relay], num_heads)
    return result


def attention(weights, nodes, embeddings, is_real, num_heads=2):
    """The kind: relay and satellites attend to the nodes as they come in."""
    rows = []
    for (relay, *states), own, real in zip(nodes.astype("float64"), embeddings, is_real):
        states = np.array(states)
        satellites = satellites_of(part(weights, "ring"), relay, states, own, real, num_heads)
        hub = one_attention(part(weights, "relay"), relay, [relay, *states[real]], num_heads)
        rows.append([hub, *satellites])
    return np.array(rows)


def block(weights, nodes, embeddings, is_real, num_heads=2, epsilon=1e-6):
    """One round of algorithm 1: the relay reads the new satellites."""
    ours, rows = part(weights, "attention"), []

    def normed(x, name):
        return layer_norm(np.maximum(x, 0), weights[f"{name}/gamma"], weights[f"{name}/beta"], epsilon)

    for (relay, *states), own, real in zip(nodes.astype("float64"), embeddings, is_real):
        satellites = satellites_of(part(ours, "ring"), relay, np.array(states), own, real, num_heads)
        satellites = normed(satellites, "norm")
        hub = one_attention(part(ours, "relay"), relay, [relay, *satellites[real]], num_heads)
        rows.append([normed(hub, "relay_norm"), *satellites])
    return np.array(rows)


@pytest.mark.parametrize("length, whole", [(1, False), (18, False), (1, True), (7, True)])
def test_outputs_and_gradients_are_those_of_algorithm_1(length, whole):
    is_real = with_holes(length)
    reals = np.pad(is_real, ((0, 0), (1, 0)), constant_values=True)
    nodes, embeddings = vectors(6, 1 + length), vectors(6, length, seed=1)
    mask = reals[:, None, None]
    if whole:
        layer, oracle = StarBlock(StarAttention(2, 4, name="attention"), layer_norm_epsilon=1e-6), block

        def call():
            return layer(nodes, attention_mask=mask, attention_inputs={"embeddings": embeddings})
    else:
        layer, oracle = StarAttention(2, 4), attention

        def call():
            return layer(nodes, attention_mask=mask, embeddings=embeddings)

    call()
    check_oracle(layer, call, lambda weights: oracle(weights, nodes, embeddings, is_real), keep=reals)


def test_it_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: StarAttention(2, 6, dropout=0.1, dtype=dtype),
        lambda batch, length: {
            "query": vectors(batch, 1 + length, 6),
            "embeddings": vectors(batch, length, 6, seed=1),
        },
        lambda batch, length: (batch, 1 + length, 6),
        lengths=(0, 1, 4, 35),
    )


def test_without_embeddings_it_is_the_first_layer_of_the_tokens():
    layer, tokens, is_real = StarAttention(2, 6), vectors(6, 19, 6), with_holes(19)
    counts = np.maximum(is_real.sum(axis=1), 1)[:, None, None]
    relay = (tokens * is_real[..., None]).sum(axis=1, keepdims=True) / counts
    reals = np.pad(is_real, ((0, 0), (1, 0)), constant_values=True)[:, None, None]
    nodes = np.concatenate([relay, tokens], axis=1).astype("float32")
    whole = to_numpy(layer(nodes, attention_mask=reals, embeddings=tokens))
    assert_close(to_numpy(layer(tokens, attention_mask=is_real[:, None, None])), whole[:, 1:], 1e-6)


def changed(apply, length):
    """bool[T, T]: whether a change of the embedding of the row changes the output of the column."""
    tokens = np.repeat(vectors(1, length, 6), length, axis=0)
    other = tokens.copy()
    other[np.arange(length), np.arange(length)] += 3 * vectors(1, length, 6, seed=1)[0]
    return (apply(other) != apply(tokens)).any(axis=-1)


@pytest.mark.parametrize("make", [lambda: StarBlock(StarAttention(2, 6)), lambda: StarAttention(2, 6)])
def test_every_token_hears_of_every_other_one_in_two_layers_and_not_in_one(make):
    layer = make()

    def apply(number, tokens):
        x = np.concatenate([np.ones((len(tokens), 1, 6), "float32"), tokens], axis=1)  # a relay that knows nothing yet
        for _ in range(number):
            if isinstance(layer, StarBlock):
                x = layer(x, attention_inputs={"embeddings": tokens})
            else:
                x = x + layer(x, embeddings=tokens)
        return to_numpy(x)[:, 1:]

    apply(1, vectors(1, 37, 6))
    layer.set_weights([0.2 * np.random.default_rng(2).normal(size=weight.shape) for weight in layer.weights])
    near = changed(lambda tokens: apply(1, tokens), 37)
    distance = np.abs(np.arange(37)[:, None] - np.arange(37))
    assert near.tolist() == (np.minimum(distance, 37 - distance) <= 1).tolist()  # a ring: 0 and 36 are neighbours
    assert changed(lambda tokens: apply(2, tokens), 37).all()


def test_padding_changes_nothing_wherever_it_is():
    layer, is_real = StarBlock(StarAttention(2, 6)), with_holes(19)[:5]
    tokens = vectors(5, 19, 6)

    def apply(tokens, is_real):
        nodes = np.concatenate([np.ones((len(tokens), 1, 6), "float32"), tokens], axis=1)
        reals = np.pad(is_real, ((0, 0), (1, 0)), constant_values=True)[:, None, None]
        for _ in range(2):
            nodes = layer(nodes, attention_mask=reals, attention_inputs={"embeddings": tokens})
        return to_numpy(nodes)

    plain = apply(tokens, is_real)
    longer = np.pad(tokens, ((0, 0), (0, 30), (0, 0)), constant_values=9)
    longer[:, :19][~is_real] = -7
    padded = apply(longer, np.pad(is_real, ((0, 0), (0, 30))))
    assert_close(padded[:, 1:20][is_real], plain[:, 1:][is_real], 1e-5)
    assert_close(padded[:, 0], plain[:, 0], 1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lengths are known in JAX's graphs")
def test_graphs_of_unknown_length_compute_the_same():
    import tensorflow as tf

    layer = StarAttention(2, 6)
    layer.build((None, None, 6))
    signature = [tf.TensorSpec((None, None, 6)), tf.TensorSpec((None, None, 6))]
    graph = tf.function(
        lambda nodes, tokens: layer(nodes, embeddings=tokens), input_signature=signature, autograph=False
    )
    for length in (1, 16, 35):
        nodes, tokens = vectors(2, 1 + length, 6), vectors(2, length, 6, seed=1)
        assert_close(to_numpy(graph(nodes, tokens)), to_numpy(layer(nodes, embeddings=tokens)), 1e-5)
    assert graph(vectors(2, 1, 6), vectors(2, 0, 6)).shape == (2, 1, 6)


def test_what_it_cannot_do_is_said():
    with pytest.raises(UserError, match="a mask of padding alone"):
        StarAttention(2, 6)(vectors(1, 3, 6), attention_mask=np.ones((1, 1, 3, 3), bool))
