"""Attention on sets against the paper's equations, and what it owes to sets: order, unequal sizes, nothing."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.support import check_layer, to_numpy
from tests.support.gradients import finite_differences, gradients_of
from tests.support.oracles import layer_norm, multi_head_attention, named_weights, part
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import InducedAttention, MultiHeadAttention, PoolingByMultiHeadAttention, Projection
from tfmodels.layers import TransformerBlock as Block
from tfmodels.ops import padding

D, N = 4, 2
EPSILON = 1e-5


def attention(dtype=None):
    return MultiHeadAttention(N, D, dtype=dtype, name="attention")


def feed_forward(dtype=None):
    return Projection(D, "relu", dtype=dtype, name="feed_forward")


def block(dtype=None):
    return Block(attention(dtype), feed_forward(dtype), layer_norm_epsilon=EPSILON, dtype=dtype, name="block")


def induced(count=3, dtype=None):
    return InducedAttention(count, block(dtype), attention(dtype), dtype=dtype)


def pooling(count=2, dtype=None):
    return PoolingByMultiHeadAttention(count, block(dtype), feed_forward(dtype), dtype=dtype)


def vectors(batch, length, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, D)).astype("float32")


def with_random_weights(layer, seed=9):
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) * 0.5 for weight in layer.weights])
    return layer


def relu_layer(weights, x):
    return np.maximum(x @ weights["kernel"] + weights["bias"], 0)


def mab(weights, x, y, real):
    """Equations 6 and 7, with rFF of one layer."""
    mask = np.broadcast_to(real[:, None, None], (len(x), N, x.shape[1], y.shape[1]))
    attended, _ = multi_head_attention(part(weights, "attention"), x, y, N, mask)
    hidden = layer_norm(x + attended, weights["attention_norm/gamma"], weights["attention_norm/beta"], EPSILON)
    fed = hidden + relu_layer(part(weights, "feed_forward"), hidden)
    return layer_norm(fed, weights["feed_forward_norm/gamma"], weights["feed_forward_norm/beta"], EPSILON)


def induced_oracle(weights, x, real):
    """What ISAB adds to X before its norm, equations 9 and 10: Multihead(X, H, H), H = MAB(I, X)."""
    points = np.repeat(weights["points"][None], len(x), axis=0)
    asked = mab(part(weights, "block"), points, x, real)
    return multi_head_attention(part(weights, "attention"), x, asked, N)[0]


def pooling_oracle(weights, x, real):
    """PMA, equation 11."""
    seeds = np.repeat(weights["seeds"][None], len(x), axis=0)
    return mab(part(weights, "block"), seeds, relu_layer(part(weights, "feed_forward"), x), real)


LAYERS = {"induced attention": (induced, induced_oracle), "pooling": (pooling, pooling_oracle)}
REAL = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1], [0, 0, 0, 0, 1]], bool)


@pytest.mark.parametrize("count", [1, 3, 11])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_those_of_the_equations(name, count):
    """Fewer vectors that ask than elements, and more."""
    make, oracle = LAYERS[name]
    layer, x = make(count), vectors(3, 5)
    layer(x)
    weights = named_weights(with_random_weights(layer))
    assert_close(to_numpy(layer(x, attention_mask=padding(REAL))), oracle(weights, x.astype("float64"), REAL), 1e-5)
    assert_close(to_numpy(layer(x)), oracle(weights, x.astype("float64"), np.ones((3, 5), bool)), 1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_equations(name):
    """Of the set and of every weight."""
    make, oracle = LAYERS[name]
    layer, x, real = make(2), keras.Variable(vectors(2, 3), name="set"), REAL[:2, 2:]
    layer(x.value)
    with_random_weights(layer)
    weights, x64 = named_weights(layer), to_numpy(x.value).astype("float64")
    cotangent = np.random.default_rng(5).normal(size=oracle(weights, x64, real).shape).astype("float32")
    variables = [x, *layer.weights]

    def function():
        return ops.sum(layer(ops.convert_to_tensor(x), attention_mask=padding(real)) * cotangent)

    paths = ["set", *(weight.path.split("/", 1)[1] for weight in layer.weights)]
    for path, gradient in zip(paths, gradients_of(function, variables)[1]):

        def loss(array, path=path):
            if path == "set":
                return float((oracle(weights, array, real) * cotangent).sum())
            return float((oracle({**weights, path: array}, x64, real) * cotangent).sum())

        assert_close(gradient, finite_differences(loss, x64 if path == "set" else weights[path]), 2e-5, path)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_to_the_contract(name):
    make = LAYERS[name][0]
    first = "query" if make is induced else "inputs"
    check_layer(
        lambda dtype=None: make(2, dtype),
        lambda batch, length: {
            first: vectors(batch, length),
            "attention_mask": (np.arange(length)[None] < np.arange(1, batch + 1)[:, None])[:, None, None],
        },
        lambda batch, length: (batch, length if make is induced else 2, D),
    )


def test_a_set_may_come_in_any_order():
    """What is said of an element goes with it; what is said of the set stays."""
    order = np.array([3, 0, 4, 1, 2])
    x = vectors(3, 5)
    for make in (lambda: induced(), lambda: Block(induced(), feed_forward()), lambda: block(), lambda: pooling()):
        layer = make()
        layer(x)
        with_random_weights(layer)
        plain = to_numpy(layer(x, attention_mask=padding(REAL)))
        turned = to_numpy(layer(x[:, order], attention_mask=padding(REAL[:, order])))
        assert_close(turned, plain if isinstance(layer, PoolingByMultiHeadAttention) else plain[:, order], 1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_sets_of_unequal_size_do_not_know_their_padding(name):
    layer, x, noise = LAYERS[name][0](), vectors(3, 5), vectors(3, 5, seed=1)
    layer(x)
    with_random_weights(layer)
    plain, noisy = (
        to_numpy(layer(np.where(REAL[..., None], x, filled), attention_mask=padding(REAL))) for filled in (x, noise)
    )
    whole = name == "pooling"
    assert_close(noisy if whole else noisy[REAL], plain if whole else plain[REAL], 1e-6)
    for row, real in enumerate(REAL):
        alone = to_numpy(layer(x[row : row + 1, real]))[0]
        assert_close(alone, plain[row] if whole else plain[row, real], 1e-5)


def test_a_set_of_nothing_has_one_answer():
    layer = pooling()
    layer(vectors(1, 2))
    with_random_weights(layer)
    answers = [to_numpy(layer(vectors(2, 0)))]
    answers += [
        to_numpy(layer(vectors(2, length, seed=length), attention_mask=padding(np.zeros((2, length), bool))))
        for length in (1, 6)
    ]
    assert np.isfinite(answers[0]).all()
    for answer in answers[1:]:
        assert_close(answer, answers[0], 1e-6)
    assert to_numpy(induced()(vectors(2, 0))).shape == (2, 0, D)
    assert np.isfinite(to_numpy(induced()(vectors(2, 3), attention_mask=padding(np.zeros((2, 3), bool))))).all()


@pytest.mark.parametrize("make, what", [(induced, "induced points"), (pooling, "seeds")])
def test_nobody_asks_a_set_in_vain(make, what):
    with pytest.raises(UserError, match=f"a set cannot be asked by 0 {what}: take at least one"):
        make(0)


def test_points_see_padding_alone():
    layer = induced()
    with pytest.raises(UserError, match="takes a mask of padding alone"):
        layer(vectors(2, 3), attention_mask=np.ones((2, 1, 3, 3), bool))
