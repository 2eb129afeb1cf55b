"""Activations that are computed again: the same loss, gradients and random numbers, in less memory."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.recomputation import step_memory
from tests.models.tiny import tiny
from tests.support import token_batch
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.layers import StarBlock, TransformerBlock
from tfmodels.models import TextClassifier
from tfmodels.training import FitConfig, fit
from tfmodels.training.recomputation import recomputation

INPUTS = token_batch((12, 5, 9), vocabulary_size=51)
# Blocks of their own, one at all places, relative positions, memory, two kinds of attention inputs, and rounds.
FAMILIES = ("bert_tiny", "albert_base", "nezha_base", "xlnet_base", "transformer_xl_standard", "star_transformer")


def weighted_sum(outputs):
    """float32[]: of all outputs, each number with a weight of its own."""
    total = 0.0
    for output in tf.nest.flatten(outputs):
        numbers = tf.reshape(tf.cast(output, tf.float32), [-1])
        total += tf.reduce_sum(numbers * tf.sin(tf.range(tf.size(numbers), dtype=tf.float32)))
    return total


def gradients_of(model, inputs, active, training=True, graph=True):
    """The sum, its gradients by the weights, the state afterwards and how often blocks were called."""
    calls = []

    def step():
        with tf.GradientTape() as tape:
            loss = weighted_sum(model(inputs, training=training))
        found = tape.gradient(loss, model.trainable_variables)
        return loss, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in found]

    block = next(layer for layer in model._flatten_layers() if isinstance(layer, TransformerBlock | StarBlock))
    attention = block.attention if isinstance(block, TransformerBlock) else block.attention.ring
    own = attention.call
    attention.call = lambda *arguments, **settings: calls.append(1) or own(*arguments, **settings)
    try:
        with recomputation(model, active):
            loss, gradients = (tf.function(step) if graph else step)()
    finally:
        del attention.call
    return float(loss), gradients, [np.array(variable) for variable in model.non_trainable_variables], len(calls)


def assert_the_same(model, inputs=INPUTS, **settings):
    start = [np.array(variable) for variable in model.non_trainable_variables]
    found = []
    for active in (False, True):
        for variable, value in zip(model.non_trainable_variables, start):
            variable.assign(value)
        found.append(gradients_of(model, inputs, active, **settings))
    (loss, gradients, state, calls), (again_loss, again, again_state, again_calls) = found
    assert again_calls == 2 * calls > 0
    assert again_loss == pytest.approx(loss, rel=1e-6)
    for variable, gradient, other in zip(model.trainable_variables, gradients, again, strict=True):
        assert (gradient is None) == (other is None), variable.path
        if gradient is not None:
            scale = max(1.0, np.abs(gradient).max())
            np.testing.assert_allclose(other / scale, gradient / scale, atol=1e-6, rtol=0, err_msg=variable.path)
    for value, other in zip(state, again_state, strict=True):
        np.testing.assert_array_equal(other, value)
    return state, start


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_kept_activations(name):
    model = tiny(name, dropout=0.3)
    state, start = assert_the_same(model)
    assert any((a != b).any() for a, b in zip(state, start))  # Dropout drew from its seeds, and only once.


def test_also_without_dropout_and_without_a_graph():
    assert_the_same(tiny(dropout=0.0, attention_dropout=0.0))
    assert_the_same(tiny(dropout=0.3), training=False)
    assert_the_same(tiny(dropout=0.3), graph=False)


def test_also_with_scores_masks_and_two_streams():
    assert_the_same(tiny(dropout=0.3).with_intermediates())
    mask = np.tril(np.ones((3, 1, 12, 12), bool))
    assert_the_same(tiny(dropout=0.3).with_attention_mask(), {**INPUTS, "attention_mask": mask})


def test_new_masks_in_the_second_time_would_be_another_gradient(monkeypatch):
    """So that the comparison above can fail: the blocks' second times have other seeds."""
    model, scope, calls = tiny(dropout=0.3), keras.StatelessScope, []
    blocks = model.config.num_layers

    def with_other_seeds(pairs):
        calls.append(1)
        shift = 1000 if len(calls) > blocks else 0
        return scope([(variable, value if variable.trainable else value + shift) for variable, value in pairs])

    monkeypatch.setattr(keras, "StatelessScope", with_other_seeds)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_the_same(model)
    assert len(calls) == 2 * blocks


def test_the_model_is_as_it_was_afterwards():
    model = tiny_classifier()
    paths = [variable.path for variable in model.variables]
    blocks = [layer for layer in model._flatten_layers() if isinstance(layer, TransformerBlock)]
    with pytest.raises(KeyError), recomputation(model):
        assert all("call" in vars(block) for block in blocks)
        assert [variable.path for variable in model.variables] == paths
        raise KeyError
    assert blocks and not any("call" in vars(block) for block in blocks)


def test_fit_trains_the_same_model(tmp_path):
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        model = TextClassifier(tiny("albert_base", dropout=0.1), 2)
        config = FitConfig(epochs=2, learning_rate=1e-3, optimizer="lamb", micro_batches=2, recompute=recompute)
        history = fit(model, keyword_batches(40), keyword_batches(16), config, tmp_path / str(recompute), **classify())
        found.append((model, history))
    (model, history), (other, again) = found
    for figure, values in history.items():
        np.testing.assert_allclose(again[figure], values, rtol=1e-5, err_msg=figure)
    for variable, value in zip(other.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), atol=1e-4, err_msg=variable.path)


def test_a_step_needs_less_memory():
    kept, again = (step_memory(active, "bert_tiny", 12, rows=16, length=128) for active in (False, True))
    assert kept > 2.5 * again
