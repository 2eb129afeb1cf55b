"""Reversible layers whose inputs are computed back: the loss, gradients and random numbers of kept activations."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.support import token_batch
from tests.training.test_recomputation import weighted_sum
from tfmodels.models import LocalAttention, LSHAttention, ReformerLM, Routing
from tfmodels.training.recomputation import recomputation

INPUTS = token_batch((13, 6, 9), vocabulary_size=51)
# Several blocks: neither part may draw what another has drawn.
SIZES = {"num_layers": 3, "dropout": 0.3, "attention_dropout": 0.2}
KINDS = {
    "both kinds, the network in chunks": {},
    "hashing alone, the network whole": {
        "attention": [LSHAttention(chunk_length=3, num_buckets=4, num_hashes=3, causal=True)],
        "feed_forward_chunk": None,
    },
    "neighbours alone, not causal": {"attention": [LocalAttention(chunk_length=4)]},
}


def step_of(model, inputs=INPUTS, graph=False, training=True):
    """The loss, its gradients by the weights, and the state afterwards."""

    def step():
        with tf.GradientTape() as tape:
            loss = weighted_sum(model(inputs, training=training))
        gradients = tape.gradient(loss, model.trainable_variables)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    loss, gradients = (tf.function(step) if graph else step)()
    return float(loss), gradients, [np.array(variable) for variable in model.non_trainable_variables]


def kept_and_computed_back(model, **settings):
    """What a step makes with activations kept, and what it makes without, from one state."""
    start, found = [np.array(variable) for variable in model.non_trainable_variables], []
    for active in (False, True):
        for variable, value in zip(model.non_trainable_variables, start):
            variable.assign(value)
        with recomputation(model, active):
            found.append(step_of(model, **settings))
    return found, start


def assert_the_same(model, **settings):
    ((loss, gradients, state), (other_loss, others, other_state)), start = kept_and_computed_back(model, **settings)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for variable, gradient, other in zip(model.trainable_variables, gradients, others, strict=True):
        scale = max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(other / scale, gradient / scale, atol=2e-6, rtol=0, err_msg=variable.path)
    for value, other in zip(state, other_state, strict=True):
        np.testing.assert_array_equal(other, value)
    return state, start


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_gradients_are_those_of_kept_activations(changes):
    state, start = assert_the_same(tiny("reformer_enwik8", **SIZES | changes))
    assert all((a != b).any() for a, b in zip(state, start))  # All seeds were drawn from, and only once.


@pytest.mark.parametrize("changes", [{}, {"cluster_size": 3, "causal": True}])
def test_tokens_meet_whom_they_met_where_the_last_bit_decides(changes):
    model = tiny(
        "reformer_enwik8", **SIZES, head_dim=None, attention=[Routing(num_clusters=5, num_local_heads=0, **changes)]
    )
    for block in model.parts["stack"].blocks:
        # What is standardised has a sum of zero: all that is left of the products is how they were rounded.
        means = block.attention.centroids.means
        means.assign(np.broadcast_to([[3], [5], [7], [11], [13]], means.shape))
    assert_the_same(model)


def test_also_in_a_graph_and_under_a_head():
    assert_the_same(ReformerLM(tiny("reformer_enwik8", **SIZES | {"num_layers": 2})), graph=True)


def test_also_at_inference():
    assert_the_same(tiny("reformer_enwik8", **SIZES), training=False)


def test_also_where_a_block_stands_at_several_places():
    model = tiny("reformer_enwik8", **SIZES | {"num_layers": 2})
    stack = model.parts["stack"]
    stack.blocks = [*stack.blocks, *stack.blocks]
    assert_the_same(model)


def test_gradients_in_bfloat16_are_near_those_of_kept_activations():
    model = tiny("reformer_enwik8", dtype="mixed_bfloat16", **SIZES)
    ((_, gradients, _), (_, others, _)), _ = kept_and_computed_back(model)
    # The streams are float32: what comes back is what went in, and hashes alike.
    for gradient, other in zip(gradients, others, strict=True):
        scale = np.abs(gradient).max()
        assert np.abs(np.asarray(other) - np.asarray(gradient)).max() <= 0.02 * scale


def test_the_model_is_what_it_was_afterwards():
    model = tiny("reformer_enwik8", **SIZES)
    with recomputation(model):
        model(INPUTS)
    stack = model.parts["stack"]
    assert "run" not in vars(stack)
    assert not any("buckets" in vars(block.attention) for block in stack.blocks)


def test_states_between_blocks_are_there_all_the_same():
    full = tiny("reformer_enwik8", **SIZES).with_intermediates()
    plain = full(INPUTS)["hidden_states"]
    with recomputation(full):
        again = full(INPUTS)["hidden_states"]
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_array_equal(one, other)
