"""LSTMs and their dropouts against NumPy and Keras, and the poolings of vectors that need more than a mean."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, gradients_of, to_numpy
from tests.support.gradients import finite_differences
from tests.support.oracles import named_weights, softmax
from tests.support.tensors import assert_close
from tfmodels.layers import AttentionPooling, ConcatPooling, RecurrentPooling, WeightDropLSTM, WordDropout
from tfmodels.layers.base import Layer

D, F = 6, 5


def vectors(batch, length, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, D)).astype("float32")


def is_real(batch, length):
    """Rows of falling lengths, and a hole in the first one."""
    mask = np.arange(length)[None] < np.maximum(length - np.arange(batch), 1)[:, None]
    mask[0, length // 2] = length < 3
    return mask


def spread_out(layer, seed=1):
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, mask, kernel, recurrent, bias, state=None):
    """H and c after every token, one row and one step at a time; padding is no step."""
    units = recurrent.shape[0]
    found = np.zeros((*x.shape[:2], 2 * units))
    for row in range(len(x)):
        h, c = np.zeros((2, units)) if state is None else np.split(state[row], 2)
        for t in range(x.shape[1]):
            if mask[row, t]:
                i, f, g, o = np.split(x[row, t] @ kernel + h @ recurrent + bias, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            found[row, t] = np.concatenate([h, c])
    return found


def with_mask(layer, mask):
    """The layer with a given mask of its recurrent weights in place of drawn ones."""
    layer.drop = lambda weights, training: weights * mask
    return layer


@pytest.mark.parametrize("state", [False, True])
def test_the_lstm_keeps_to_the_layer_contract(state):
    def inputs(batch, length):
        arguments = {"inputs": vectors(batch, length), "padding_mask": is_real(batch, length)}
        return {**arguments, "state": vectors(batch, 1)[:, 0].repeat(2, 1)[:, : 2 * F]} if state else arguments

    check_layer(
        lambda dtype=None: WeightDropLSTM(F, 0.5, dtype=dtype), inputs, lambda batch, length: (batch, length, 2 * F)
    )


def test_a_given_mask_gives_the_equations_and_their_gradients():
    random = np.random.default_rng(3)
    x, mask, state = vectors(3, 5), is_real(3, 5), random.normal(size=(3, 2 * F))
    drop = random.integers(0, 2, (F, 4 * F)) * 2.0
    layer = WeightDropLSTM(F, 0.5)
    layer.build(x.shape)
    spread_out(layer)
    with_mask(layer, drop.astype("float32"))
    weights = {name.split("/")[-1]: value for name, value in zip(("kernel", "recurrent", "bias"), layer.get_weights())}
    weights = {name: value.astype("float64") for name, value in weights.items()}
    factors = random.normal(size=(3, 5, 2 * F))

    def total(**changed):
        at = {**weights, **changed}
        states = numpy_lstm(x.astype("float64"), mask, at["kernel"], at["recurrent"] * drop, at["bias"], state)
        return (states * factors).sum()

    arguments = (x, mask, state.astype("float32"))
    expected = numpy_lstm(
        x.astype("float64"), mask, weights["kernel"], weights["recurrent"] * drop, weights["bias"], state
    )
    assert_close(to_numpy(layer(*arguments, training=True)), expected, 1e-5)
    _, gradients = gradients_of(
        lambda: keras.ops.sum(layer(*arguments, training=True) * factors.astype("float32")), layer.trainable_variables
    )
    for (name, value), gradient in zip(weights.items(), gradients, strict=True):
        numeric = finite_differences(lambda array, name=name: total(**{name: array}), value)
        assert_close(gradient, numeric, 1e-4, name)
    assert not gradients[1][drop == 0].any()


def test_without_dropout_it_is_kerass_lstm():
    x, mask = vectors(4, 7), is_real(4, 7)
    ours, theirs = WeightDropLSTM(F), keras.layers.LSTM(F, return_sequences=True, return_state=True)
    ours.build(x.shape)
    theirs.build(x.shape)
    assert [(v.name, v.shape) for v in ours.weights] == [(v.name, v.shape) for v in theirs.weights]
    np.testing.assert_array_equal(ours.bias, theirs.get_weights()[2])  # the forget gate begins open
    spread_out(ours)
    theirs.set_weights(ours.get_weights())
    states = to_numpy(ours(x, mask))
    outputs, *last = to_numpy(theirs(x, mask=keras.ops.convert_to_tensor(mask)))
    assert_close(states[..., :F], outputs, 1e-6)
    assert_close(states[:, -1], np.concatenate(last, axis=-1), 1e-6)


def test_one_mask_serves_all_rows_and_steps_and_the_next_batch_has_another():
    layer = WeightDropLSTM(40, 0.5)
    x = np.repeat(vectors(1, 4), 3, axis=0)
    layer(x)
    first, second = (to_numpy(layer(x, training=True)) for _ in range(2))
    for row in (1, 2):
        assert_close(first[row], first[0], 1e-6)
    plain = to_numpy(layer(x))
    # The first step has no h that could be dropped.
    assert_close(first[:, 0], plain[:, 0], 1e-6)
    assert np.abs(first[:, 1:] - second[:, 1:]).max() > 1e-3 < np.abs(first[:, 1:] - plain[:, 1:]).max()
    # Under one map and one input a state comes to rest; a mask drawn in every step would keep it moving.
    still = to_numpy(layer(np.repeat(x[:, :1], 60, axis=1), training=True))
    assert_close(still[:, -1], still[:, -2], 1e-4)
    assert np.abs(still[:, 1] - still[:, 0]).max() > 1e-2
    masked = to_numpy(layer.drop(keras.ops.ones((40, 160)), training=True))
    assert set(np.unique(masked)) == {0.0, 2.0} and abs(masked.mean() - 1) < 0.1
    with_mask(layer, masked)
    whole = to_numpy(layer(x, training=True))
    half = to_numpy(layer(x[:, :2], training=True))
    again = to_numpy(layer(x[:, 2:], state=half[:, -1], training=True))
    assert_close(np.concatenate([half, again], axis=1), whole, 1e-5)


def test_word_dropout_leaves_a_word_out_wherever_it_occurs():
    ids = np.random.default_rng(0).integers(0, 50, (20, 30))
    layer, x = WordDropout(50, 0.4), np.ones((20, 30, 3), "float32")
    kept = to_numpy(layer(x, ids, training=True))
    assert (kept == kept[..., :1]).all() and set(np.unique(np.round(kept, 4))) == {0.0, np.float32(1.6667)}
    by_word = [{float(value) for value in kept[ids == word][:, 0]} for word in range(50)]
    assert all(len(values) == 1 for values in by_word)
    assert 10 <= sum(values == {0.0} for values in by_word) <= 30
    assert (to_numpy(layer(x, ids)) == 1).all()
    assert np.abs(to_numpy(layer(x, ids, training=True)) - kept).max() > 0


def features(batch, length):
    return {"sequence_output": vectors(batch, length), "padding_mask": is_real(batch, length)}


POOLINGS = {
    "concatenated": (lambda dtype=None: ConcatPooling(dtype=dtype), 3 * D),
    "attention": (lambda dtype=None: AttentionPooling(dtype=dtype), D),
    "recurrent": (
        lambda dtype=None: RecurrentPooling(WeightDropLSTM(F, dtype=dtype), AttentionPooling(dtype=dtype), dtype=dtype),
        F,
    ),
}


class Pooled(Layer):
    """A pooling with arguments of its own in place of a dict, as `check_layer` gives them."""

    def __init__(self, pooling, **kwargs):
        super().__init__(**kwargs)
        self.pooling = pooling

    def build(self, sequence_output_shape, padding_mask_shape=None):
        if not self.pooling.built:
            self.pooling.build({"sequence_output": sequence_output_shape})
        self.built = True

    def call(self, sequence_output, padding_mask):
        return self.pooling({"sequence_output": sequence_output, "padding_mask": padding_mask})


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_keep_to_the_layer_contract(name):
    make, size = POOLINGS[name]
    check_layer(lambda dtype=None: Pooled(make(dtype), dtype=dtype), features, lambda batch, length: (batch, size))


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_see_real_tokens_alone_and_give_numbers_where_there_are_none(name):
    layer, given = POOLINGS[name][0](), features(3, 6)
    given["padding_mask"][2] = False
    layer(given)
    spread_out(layer)
    plain = to_numpy(layer(given))
    noisy = np.where(given["padding_mask"][..., None], given["sequence_output"], 9.0).astype("float32")
    other = to_numpy(layer({**given, "sequence_output": noisy}))
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(plain[:2], other[:2])


def test_concatenated_pooling_is_last_largest_and_mean():
    given = features(3, 6)
    expected = []
    for row, mask in zip(given["sequence_output"], given["padding_mask"]):
        seen = row[mask]
        expected.append(np.concatenate([seen[-1], seen.max(0), seen.mean(0)]))
    assert_close(to_numpy(ConcatPooling()(given)), expected, 1e-6)


def test_attention_pooling_weighs_by_what_the_vectors_say():
    layer, given = AttentionPooling(), features(3, 6)
    layer(given)
    spread_out(layer)
    weights = named_weights(layer)
    kernel, bias, score = (weights[name] for name in ("hidden/kernel", "hidden/bias", "score/kernel"))
    expected = []
    for row, mask in zip(given["sequence_output"].astype("float64"), given["padding_mask"]):
        seen = row[mask]
        expected.append(softmax((np.tanh(seen @ kernel + bias) @ score)[:, 0]) @ seen)
    assert_close(to_numpy(layer(given)), expected, 1e-5)
