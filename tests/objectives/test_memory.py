"""Training with memory that is carried from batch to batch: the losses of one long text, and what needs a past."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.models.tiny import tiny
from tests.objectives.test_pretrainer import spread_out, tensors
from tests.support import gradients_of, to_numpy
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import AdaptiveLM, PermutationLM
from tfmodels.objectives import (
    CausalPretrainer,
    CorruptedBatches,
    PartialPrediction,
    PermutationPretrainer,
    PermutedText,
    TextStreams,
)
from tfmodels.training import FitConfig, fit

V, T, B = 20, 4, 3


def transformer_xl(dtype=None, **overrides):
    sizes = {"vocabulary_size": V, "cutoffs": (), "shrinkage": 1, "dropout": 0.0, "attention_dropout": 0.0}
    return tiny("transformer_xl_large", dtype, **{**sizes, "memory_length": 16, **overrides})


def xlnet(dtype=None, **overrides):
    return tiny("xlnet_base", dtype, **{"vocabulary_size": V, "dropout": 0.0, "memory_length": 16, **overrides})


def random_documents(count, length, seed=0):
    ids = np.random.default_rng(seed).integers(4, V, (count, length))
    return tf.RaggedTensor.from_tensor(ids.astype("int32"))


def steps(pretrainer, dataset, training=True):
    """The loss of every batch and how many predictions it has, memory carried on."""
    found = []
    for inputs, targets in dataset:
        outputs = pretrainer(inputs, training=training)
        loss = pretrainer.compute_loss(inputs, targets, outputs, training=training)
        found.append((float(loss), float(ops.sum(targets["weights"]))))
    return found


def mean(pairs):
    return sum(loss * count for loss, count in pairs) / sum(count for _, count in pairs)


def causal(**overrides):
    pretrainer = CausalPretrainer(AdaptiveLM(transformer_xl(**overrides)), batch_size=B)
    spread_out(pretrainer.task, 0.6)
    return pretrainer


@pytest.mark.parametrize(
    "overrides",
    [{}, {"norm_first": True, "max_distance": 3}, {"memory_length": 4, "attention_span": 5}, {"cutoffs": (9, 14)}],
    ids=["all memory", "normalised first", "a span", "clusters"],
)
def test_the_losses_of_stretches_are_that_of_the_whole_text(overrides):
    pretrainer, texts = causal(**overrides), random_documents(B, 14)
    stretches = steps(pretrainer, TextStreams(texts, B, T).in_order())
    assert len(stretches) == 4
    ((whole, count),) = steps(pretrainer, TextStreams(texts, B, 14).in_order(), training=False)
    assert mean(stretches) == pytest.approx(whole, rel=1e-5) and count == B * 13
    # By the definition, from the task alone.
    ids = texts.to_tensor().numpy()
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids > 0}
    nats = -to_numpy(pretrainer.task(inputs))["log_probabilities"]
    expected = np.mean([nats[row, place, ids[row, place + 1]] for row in range(B) for place in range(13)])
    assert whole == pytest.approx(expected, rel=1e-5)
    without = steps(CausalPretrainer(pretrainer.task), TextStreams(texts, B, T).in_order())
    differences = [abs(loss - other) for (loss, _), (other, _) in zip(stretches, without)]
    assert differences[0] < 1e-5 and min(differences[1:]) > 1e-4, "the past matters"


def test_a_row_that_starts_afresh_has_no_past():
    pretrainer, alone = causal(), causal()
    alone.set_weights(pretrainer.get_weights())
    batches = list(TextStreams(random_documents(B, 12), B, T).in_order())
    (first, targets), (second, later), (third, last) = batches
    restarted = {**second, "is_start": tf.constant([False, True, False])}
    with_past = to_numpy(outputs_of(pretrainer, [(first, targets), (restarted, later)]))
    without = to_numpy(alone(second))
    kept = to_numpy(outputs_of(alone, [(first, targets), (second, later)]))
    assert_close(with_past["log_probabilities"][1], without["log_probabilities"][1], 1e-5)
    for row in (0, 2):
        assert_close(with_past["log_probabilities"][row], kept["log_probabilities"][row], 1e-6)
        assert np.abs(with_past["log_probabilities"][row] - without["log_probabilities"][row]).max() > 1e-3
    # And it remembers from there on.
    pretrainer.compute_loss(restarted, later, pretrainer(restarted, training=True))
    real = to_numpy(pretrainer.memory.read(third)["memory_mask"]).sum(axis=1)
    assert real.tolist() == [8, 4, 8], last["labels"].shape


def outputs_of(pretrainer, batches):
    """What the last batch gives after the others; it is not kept."""
    *past, (inputs, _) = batches
    for x, y in past:
        pretrainer.compute_loss(x, y, pretrainer(x, training=True), training=True)
    return pretrainer(inputs, training=True)


def test_padding_is_not_remembered():
    pretrainer, batches = causal(), list(TextStreams(random_documents(B, 12), B, T).in_order())
    (first, targets), (second, _), _ = batches
    # The second row's first stretch ends early: its third and fourth token are padding, whatever stands there.
    rows = []
    for filling in (0, 7):
        mask, ids = first["padding_mask"].numpy(), first["token_ids"].numpy()
        mask[1, 2:], ids[1, 2:] = False, filling
        padded = {**first, "padding_mask": tf.constant(mask), "token_ids": tf.constant(ids)}
        rows.append(to_numpy(outputs_of(pretrainer, [(padded, targets), (second, None)]))["log_probabilities"])
    assert_close(rows[0], rows[1], 1e-6)


def test_memory_passes_no_gradient_and_evaluation_leaves_it_alone():
    pretrainer = causal()
    batches = list(TextStreams(random_documents(B, 8), B, T).in_order())
    (first, targets), (second, later) = batches
    variables = pretrainer.trainable_variables
    assert len(variables) == len(pretrainer.task.trainable_variables)

    def through_both():
        outputs_of(pretrainer, [(first, targets), (second, later)])
        outputs = pretrainer(second, training=True)
        return pretrainer.compute_loss(second, later, outputs, training=True)

    memory = pretrainer.task.backbone.with_memory()({**without_start(first), "memory": empty(pretrainer, B)})["memory"]
    memory = tuple(to_numpy(part) for part in memory)
    full = pretrainer.task.with_memory()

    def of_constants():
        constants = tuple(ops.convert_to_tensor(part) for part in memory)
        scores = full({**without_start(second), "memory": constants})["log_probabilities"]
        picked = ops.take_along_axis(scores, ops.cast(later["labels"], "int32")[..., None], axis=-1)[..., 0]
        return -ops.sum(picked * later["weights"]) / ops.sum(later["weights"])

    (ours, found), (theirs, expected) = (gradients_of(f, variables) for f in (through_both, of_constants))
    assert ours == pytest.approx(theirs, rel=1e-5)
    for variable, gradient, other in zip(variables, found, expected, strict=True):
        assert_close(gradient, other, 1e-5, variable.path)

    before = [to_numpy(v.value) for v in pretrainer.memory.variables]
    steps(pretrainer, TextStreams(random_documents(B, 16, seed=5), B, T).in_order(), training=False)
    for variable, value in zip(pretrainer.memory.variables, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable.value), value)
    assert any(to_numpy(v.value).any() for v in pretrainer.evaluation_memory.variables)


def without_start(inputs):
    return {name: value for name, value in inputs.items() if name != "is_start"}


def empty(pretrainer, rows):
    return pretrainer.task.backbone.empty_memory(rows)


@pytest.mark.parametrize("overrides", [{}, {"memory_length": 6}, {"reuse_length": 2, "memory_length": 5}])
def test_xlnet_is_trained_on_what_its_two_streams_say_of_the_memory(overrides):
    """Masked variables of one size against memory that grows, stretch by stretch."""
    pretrainer = PermutationPretrainer(PermutationLM(xlnet(**overrides)), batch_size=B)
    spread_out(pretrainer.task, 0.6)
    streams = TextStreams(random_documents(B, 12), B, T, step=overrides.get("reuse_length"))
    batches = CorruptedBatches(streams, PermutedText(PartialPrediction(2, max_predictions=3)), special_ids=(0,))
    model, memory = pretrainer.task.two_streams(), empty(pretrainer, B)
    plain = PermutationPretrainer(pretrainer.task)
    differences = []
    for inputs, targets in batches.in_order():
        outputs = model({**without_start(inputs), "memory": memory})
        memory = outputs["memory"]
        probabilities = softmax(to_numpy(outputs["logits"]).astype("float64"))
        labels, counts = targets["labels"].numpy(), targets["weights"].numpy() > 0
        expected = -np.log(np.take_along_axis(probabilities, labels[..., None], -1)[..., 0][counts]).mean()
        found = pretrainer(inputs, training=True)
        assert float(pretrainer.compute_loss(inputs, targets, found)) == pytest.approx(expected, rel=1e-5)
        forgetful = plain.compute_loss(inputs, targets, plain(inputs, training=True))
        differences.append(abs(float(forgetful) - expected))
    assert differences[0] < 1e-5 and min(differences[1:]) > 1e-4, "only the past makes a difference"


@pytest.mark.parametrize(("told", "leaks"), [(2, False), (None, True)])
def test_what_is_remembered_has_not_seen_what_the_next_stretch_predicts(told, leaks):
    pretrainer = PermutationPretrainer(PermutationLM(xlnet(reuse_length=2)))
    spread_out(pretrainer.task, 0.6)
    model, memory = pretrainer.task.two_streams(), empty(pretrainer, B)
    streams = TextStreams(random_documents(B, 12), B, T, step=2)
    batches = CorruptedBatches(streams, PermutedText(PartialPrediction(2, max_predictions=3), told), special_ids=(0,))
    changed = 0
    for inputs, _ in batches.in_order():
        inputs = {**without_start(inputs), "memory": memory}
        other = {**inputs, "token_ids": tf.concat([inputs["token_ids"][:, :2], inputs["token_ids"][:, 2:] % 7 + 8], 1)}
        for one, two in zip(to_numpy(model(inputs)["memory"]), to_numpy(model(other)["memory"]), strict=True):
            changed += int(not np.allclose(one, two, atol=1e-6))
    assert (changed > 0) == leaks


def periodic(count, seed):
    """Documents of four times the same T random tokens: the second time nothing but the past tells them."""
    blocks = np.random.default_rng(seed).integers(4, V, (count, T))
    return tf.RaggedTensor.from_tensor(np.tile(blocks, (1, 4)).astype("int32"))


def trained(make, wrap, directory, rows=16, **settings):
    """The best held-out loss with and without memory."""
    found = []
    for batch_size in (rows, None):
        keras.utils.set_random_seed(0)
        train, held_out = (
            wrap(TextStreams(periodic(count, seed), rows, T)) for count, seed in ((rows * 24, 0), (rows * 2, 1))
        )
        config = FitConfig(monitor="val_loss", **settings)
        history = fit(make(batch_size), train, held_out, config, directory / str(batch_size), verbose=0)
        found.append(min(history["val_loss"]))
    return found


@pytest.mark.learns
def test_a_transformer_xl_copies_what_only_its_memory_holds(tmp_path):
    def make(batch_size):
        backbone = transformer_xl(num_layers=1, hidden_dim=24, head_dim=None, embedding_dim=None, memory_length=T)
        return CausalPretrainer(AdaptiveLM(backbone), batch_size)

    with_memory, without = trained(make, lambda streams: streams, tmp_path, epochs=4, learning_rate=3e-2)
    # Of four blocks the first is random. Without memory each block's first token but the first is told by the one
    # T - 1 before it, within the stretch: 4 (T - 1) + 1 of 4 T tokens are random.
    chance = np.log(V - 4)
    assert without > 0.9 * chance * (4 * T - 3) / (4 * T)
    assert with_memory < 0.5 * without and with_memory > 0.9 * chance / 4, (with_memory, without)


@pytest.mark.learns
def test_an_xlnet_copies_what_only_its_memory_holds(tmp_path):
    def make(batch_size):
        return PermutationPretrainer(PermutationLM(xlnet(num_layers=1, hidden_dim=24, memory_length=T)), batch_size)

    def wrap(streams):
        return CorruptedBatches(streams, PermutedText(PartialPrediction(2, max_predictions=3)), special_ids=(0,))

    with_memory, without = trained(make, wrap, tmp_path, epochs=7, learning_rate=3e-2)
    assert without > 0.9 * np.log(V - 4) > 1.5 * with_memory, (with_memory, without)


@pytest.mark.learns
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    def run(directory, epochs, seed=0):
        keras.utils.set_random_seed(seed)
        pretrainer = CausalPretrainer(AdaptiveLM(transformer_xl(dropout=0.1, num_layers=1)), 4)
        train, held_out = TextStreams(periodic(20, 0), 4, 6), TextStreams(periodic(9, 1), 4, 6)
        config = FitConfig(epochs=2, learning_rate=1e-2, monitor="val_loss")
        stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: _stop_at(epoch, epochs))
        return pretrainer, fit(pretrainer, train, held_out, config, directory, callbacks=[stop], verbose=0)

    whole, history = run(tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 1)
    again, resumed = run(tmp_path / "killed", 2, seed=9)
    assert resumed == history
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(to_numpy(variable.value).any() for variable in whole.memory.variables)


def _stop_at(epoch, epochs):
    if epoch >= epochs:
        raise KeyboardInterrupt


def test_memory_in_low_precision_is_kept_as_it_is():
    pretrainer = CausalPretrainer(AdaptiveLM(transformer_xl("mixed_bfloat16")), batch_size=B)
    full = causal()
    pretrainer.task.set_weights(full.task.get_weights())
    streams = TextStreams(random_documents(B, 12), B, T)
    low, high = (mean(steps(model, streams.in_order())) for model in (pretrainer, full))
    assert low == pytest.approx(high, rel=0.05)
    assert {v.dtype for v in pretrainer.memory.states} == {"float32"}


def test_what_cannot_be_is_told():
    with pytest.raises(UserError, match="set the backbone's memory_length"):
        CausalPretrainer(AdaptiveLM(transformer_xl(memory_length=None)), batch_size=2)
    (inputs, _), *_ = TextStreams(random_documents(4, 8), 4, T).in_order()
    with pytest.raises(UserError, match="of 3 rows and the batch has 4"):
        causal()(inputs, training=True)
    # Texts of their own have no past.
    outputs = causal()(tensors(without_start(inputs)))
    assert outputs["log_probabilities"].shape == (4, T, V)
