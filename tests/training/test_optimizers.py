"""AdamW with its exclusions, and the schedule, against plain arithmetic. See tests/parity for torch's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.support.tensors import assert_close
from tfmodels.models import MaskedLM, TextClassifier
from tfmodels.training import Lamb, WarmupLinearDecay, adamw


@pytest.mark.parametrize("make", [lambda: TextClassifier(tiny(embedding_dim=5), 2), lambda: MaskedLM(tiny())])
def test_decay_shrinks_matrices_and_tables_and_nothing_else(make):
    model = make()
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    optimizer = adamw(0.5, weight_decay=0.1)
    before = [variable.numpy() for variable in model.trainable_variables]
    for _ in range(3):
        # With no gradient nothing but the decay moves a weight.
        optimizer.apply([tf.zeros(variable.shape) for variable in model.trainable_variables], model.trainable_variables)
    decayed = set()
    for variable, value in zip(model.trainable_variables, before):
        if np.array_equal(variable.numpy(), value):
            continue
        decayed.add(variable.path)
        assert_close(variable.numpy(), value * (1 - 0.5 * 0.1) ** 3, 1e-6, variable.path)
    spared = {variable.path for variable in model.trainable_variables} - decayed
    assert all(path.endswith(("/bias", "/gamma", "/beta")) for path in spared)
    assert not any(path.endswith(("/bias", "/gamma", "/beta")) for path in decayed)
    assert any("tokens" in path for path in decayed) and any("kernel" in path for path in decayed)


def numpy_adamw(value, gradients, rate, decay, clip, epsilon):
    """Decoupled weight decay (arXiv:1711.05101, algorithm 2), one weight, Keras's place of epsilon."""
    first = second = np.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        if clip is not None:
            gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        value = value - rate * decay * value
        corrected_rate = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = value - corrected_rate * first / (np.sqrt(second) + epsilon)
    return value


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_updates_are_those_of_the_paper(clip, decay):
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(5, 3)), random.normal(size=(30, 5, 3))
    variable = keras.Variable(start, dtype="float32", name="kernel")
    optimizer = adamw(1e-2, weight_decay=decay, clip_norm=clip)
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    assert_close(variable.numpy(), numpy_adamw(start, gradients, 1e-2, decay, clip, 1e-6), 1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: adamw(1e-2, clip_norm=0.5),
        lambda: Lamb(1e-2),
        lambda: Lamb(1e-2, clipnorm=0.5),
        lambda: Lamb(1e-2, global_clipnorm=0.5),
    ],
    ids=["AdamW", "LAMB", "LAMB, clipped", "LAMB, clipped globally"],
)
def test_a_token_that_occurs_twice_has_one_gradient(make):
    ids = tf.constant([3, 1, 3, 3, 0])
    cotangent = tf.constant(np.random.default_rng(1).normal(size=(5, 4)), tf.float32)
    start = np.random.default_rng(2).normal(size=(6, 4))
    results = []
    for dense in (False, True):
        table = keras.Variable(start, dtype="float32", name="tokens")
        optimizer = make()
        for _ in range(5):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table.value, ids) * cotangent)
            gradient = tape.gradient(loss, table.value)
            assert isinstance(gradient, tf.IndexedSlices)
            optimizer.apply([tf.convert_to_tensor(gradient) if dense else gradient], [table])
        results.append(table.numpy())
    assert_close(results[0], results[1], 1e-6)
    assert np.abs(results[0] - start).max() > 1e-3


def test_the_rate_rises_to_the_peak_and_falls_to_zero():
    schedule = WarmupLinearDecay(0.2, total_steps=10, warmup_steps=4)
    rates = [float(schedule(step)) / 0.2 for step in range(12)]
    # The first update moves already, and so does the last: step s is the (s + 1)th update.
    np.testing.assert_allclose(rates, [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0], atol=1e-6)


def test_without_warm_up_the_rate_only_falls():
    schedule = WarmupLinearDecay(1.0, total_steps=4)
    np.testing.assert_allclose([float(schedule(step)) for step in range(5)], [1, 0.75, 0.5, 0.25, 0], atol=1e-6)


def test_a_schedule_that_is_all_warm_up_only_rises():
    schedule = WarmupLinearDecay(1.0, total_steps=3, warmup_steps=3)
    np.testing.assert_allclose([float(schedule(step)) for step in range(3)], [1 / 3, 2 / 3, 1], atol=1e-6)


def test_a_schedule_shorter_than_its_warm_up_is_refused():
    with pytest.raises(ValueError, match="warmup_steps=5 exceeds total_steps=4"):
        WarmupLinearDecay(1.0, total_steps=4, warmup_steps=5)


def test_optimizer_and_schedule_go_through_their_configuration():
    optimizer = adamw(WarmupLinearDecay(0.2, 10, 4), weight_decay=0.1, clip_norm=0.5)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(twin) is type(optimizer)
    assert (twin.weight_decay, twin.global_clipnorm, twin.epsilon) == (0.1, 0.5, 1e-6)
    assert float(twin._learning_rate(3)) == pytest.approx(0.2)
