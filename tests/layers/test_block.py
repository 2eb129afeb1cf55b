"""`TransformerBlock`, both orders, against the equations: outputs and gradients."""

import numpy as np
import pytest
from keras import ops

from tests.support import check_layer, to_numpy
from tests.support.gradients import finite_differences, gradients_of
from tests.support.oracles import feed_forward, layer_norm, multi_head_attention, named_weights, part
from tests.support.tensors import assert_close
from tfmodels.layers import FeedForward, MultiHeadAttention, TransformerBlock

N, D, F, EPSILON = 3, 6, 7, 1e-3


def make(dtype=None, norm_first=False, dropout=0.0):
    return TransformerBlock(
        MultiHeadAttention(N, D, dropout, dtype=dtype, name="attention"),
        FeedForward(F, dtype=dtype, name="feed_forward"),
        dropout=dropout,
        norm_first=norm_first,
        layer_norm_epsilon=EPSILON,
        dtype=dtype,
    )


def vectors(batch, length):
    return np.random.default_rng(0).normal(size=(batch, length, D)).astype("float32")


def mask(batch, length):
    real = np.random.default_rng(1).random((batch, 1, 1, length)) < 0.6
    real[..., 0] = True
    return real


def oracle(weights, x, is_allowed, norm_first):
    """norm(x + part(x)) twice, or x + part(norm(x)) twice."""

    def norm(x, name):
        return layer_norm(x, weights[f"{name}/gamma"], weights[f"{name}/beta"], EPSILON)

    def attend(x):
        allowed = np.broadcast_to(is_allowed, (len(x), N, x.shape[1], x.shape[1]))
        return multi_head_attention(part(weights, "attention"), x, x, N, allowed)[0]

    def feed(x):
        return feed_forward(part(weights, "feed_forward"), x)

    if norm_first:
        x = x + attend(norm(x, "attention_norm"))
        return x + feed(norm(x, "feed_forward_norm"))
    x = norm(x + attend(x), "attention_norm")
    return norm(x + feed(x), "feed_forward_norm")


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_block_keeps_to_the_layer_contract(norm_first):
    check_layer(
        lambda dtype=None: make(dtype, norm_first, dropout=0.1),
        lambda batch, length: {"inputs": vectors(batch, length), "attention_mask": mask(batch, length)},
        lambda batch, length: (batch, length, D),
    )


@pytest.mark.parametrize("norm_first", [False, True])
def test_outputs_and_gradients_are_those_of_the_equations(norm_first):
    block, inputs, is_allowed = make(norm_first=norm_first), vectors(2, 3), mask(2, 3)
    block(inputs)
    random = np.random.default_rng(2)
    block.set_weights([random.normal(size=weight.shape) for weight in block.weights])
    weights = named_weights(block)
    inputs64 = inputs.astype("float64")
    assert_close(
        to_numpy(block(inputs, attention_mask=is_allowed)), oracle(weights, inputs64, is_allowed, norm_first), 1e-5
    )

    # One number stands for all outputs, and one direction for all numbers of a weight.
    cotangent = random.normal(size=(2, 3, D)).astype("float32")
    _, gradients = gradients_of(lambda: ops.sum(block(inputs, attention_mask=is_allowed) * cotangent), block.weights)
    for name, gradient in zip(weights, gradients):
        direction = random.normal(size=gradient.shape)

        def along(step, name=name, direction=direction):
            changed = {**weights, name: weights[name] + step * direction}
            return float((oracle(changed, inputs64, is_allowed, norm_first) * cotangent).sum())

        assert_close((gradient * direction).sum(), finite_differences(along, 0.0), 1e-4, name)


@pytest.mark.parametrize("norm_first", [False, True])
def test_scores_are_those_of_its_attention(norm_first):
    block, inputs = make(norm_first=norm_first), vectors(2, 3)
    output, scores = to_numpy(block(inputs, return_scores=True))
    np.testing.assert_array_equal(output, to_numpy(block(inputs)))
    seen = block.attention_norm(inputs) if norm_first else inputs
    np.testing.assert_array_equal(scores, to_numpy(block.attention(seen, return_scores=True)[1]))


def test_dropout_acts_on_both_residual_branches_in_training_only():
    inputs = vectors(2, 5)
    block = make(dropout=0.5)
    still = to_numpy(block(inputs, training=False))
    np.testing.assert_array_equal(to_numpy(block(inputs)), still)
    block.attention.drop.rate = 0.0
    for branch in (block.attention_drop, block.feed_forward_drop):
        other = block.feed_forward_drop if branch is block.attention_drop else block.attention_drop
        branch.rate, other.rate = 0.5, 0.0
        assert (to_numpy(block(inputs, training=True)) != still).any()
