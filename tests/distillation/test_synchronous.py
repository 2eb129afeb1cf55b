"""Balance, and both models in one step: algorithm 1 of arXiv:1907.05171, weight for weight."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distillation.test_distiller import distil_batches, first_batch, loss_of, student_of, teacher_of
from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.support.oracles import softmax
from tfmodels.distillation import Balance, Distiller, HiddenStates, SoftLabels, SynchronousDistiller
from tfmodels.errors import UserError
from tfmodels.models import TextClassifier
from tfmodels.training import FitConfig, fit, micro_batches


def plain(layers, seed=0, **sizes):
    """A classifier without dropout, the same for the same seed, with weights large enough to say something."""
    keras.utils.set_random_seed(seed)
    backbone = tiny(num_layers=layers, dropout=0.0, attention_dropout=0.0, **sizes)
    model = TextClassifier(backbone, 2, dropout=0.0, name=f"layers_{layers}")
    numbers = np.random.default_rng(seed)
    model.set_weights([w + 0.2 * numbers.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "balance, shares",
    [
        (Balance(0.4), [0.4] * 6),
        (Balance(0.4, swap_step=3), [0, 0, 0, 0.4, 0.4, 0.4]),
        (Balance(0.4, swap_step=1, ramp_steps=4), [0, 0.1, 0.2, 0.3, 0.4, 0.4]),
    ],
    ids=["constant", "after", "ramp"],
)
def test_a_balance_is_nothing_until_the_swap_and_then_jumps_or_grows(balance, shares):
    np.testing.assert_allclose([float(balance(step)) for step in range(6)], shares, rtol=1e-6)
    np.testing.assert_allclose(float(balance(tf.Variable(3, dtype=tf.int64))), shares[3], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"value": 1.1}, {"value": -0.1}, {"swap_step": -1}, {"ramp_steps": 0}])
def test_a_balance_that_is_none_is_refused(settings):
    with pytest.raises(UserError, match="must be"):
        Balance(**{"value": 0.5, **settings})


def test_balance_and_hard_label_weight_exclude_each_other():
    with pytest.raises(ValueError, match="balance already weighs the labels"):
        Distiller(student_of(), teacher_of(), [SoftLabels(name="soft_labels")], 0.5, balance=0.5)


def cross_entropy(logits, labels):
    return -np.mean(np.log(softmax(logits))[np.arange(len(labels)), labels])


def divergence(teacher, student):
    p, q = softmax(teacher), softmax(student)
    return np.mean(np.sum(p * np.log(p / q), axis=-1))


def test_the_losses_are_those_of_the_equations():
    student, teacher, batch = plain(1), plain(2, seed=1), first_batch(distil_batches(16))
    inputs, targets = batch
    ours, theirs = (to_numpy(model(inputs)["logits"]).astype("float64") for model in (student, teacher))
    labels = targets["labels"].numpy()
    hard, soft = cross_entropy(ours, labels), divergence(theirs, ours)
    assert soft > 0.005 and abs(hard - soft) > 0.01
    # Equations 1 and 2, with a weight of L_d's own; equation 5.
    loss, _ = loss_of(Distiller(student, teacher, [SoftLabels(weight=2.0)], balance=0.3), batch)
    assert loss == pytest.approx(0.7 * hard + 0.3 * 2.0 * soft, rel=1e-5)
    loss, _ = loss_of(SynchronousDistiller(student, teacher, [SoftLabels(name="soft_labels")], 0.3), batch)
    assert loss == pytest.approx(0.7 * hard + 0.3 * soft + cross_entropy(theirs, labels), rel=1e-5)


def test_no_gradient_of_the_distillation_loss_reaches_the_teacher():
    student, teacher, batch = plain(1), plain(2, seed=1), first_batch(distil_batches(16))
    inputs, targets = batch
    losses = [SoftLabels(2.0, weight=5.0), HiddenStates({1: 2}, weight=5.0)]
    distiller = SynchronousDistiller(student, teacher, losses, 0.9)
    _, gradients = loss_of(distiller, batch)
    found = {id(variable): gradient for variable, gradient in zip(distiller.trainable_variables, gradients)}
    assert len(found) == sum(len(part.trainable_variables) for part in (student, teacher, losses[1]))
    with tf.GradientTape() as tape:
        logits = teacher(inputs)["logits"]
        own = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets["labels"], logits))
    wanted = tape.gradient(own, [variable.value for variable in teacher.trainable_variables])
    for variable, gradient in zip(teacher.trainable_variables, wanted):
        np.testing.assert_allclose(
            tf.convert_to_tensor(found[id(variable)]), tf.convert_to_tensor(gradient), atol=1e-6, err_msg=variable.path
        )
    assert max(float(tf.reduce_max(tf.abs(tf.convert_to_tensor(gradient)))) for gradient in wanted) > 1e-2


RATE, SWAP = 0.1, 3


def by_hand(student, teacher, batches, balance):
    """Algorithm 1, with plain SGD: yields after every step."""
    for step, (inputs, targets) in enumerate(batches):
        labels = targets["labels"]
        with tf.GradientTape(persistent=True) as tape:
            ours, theirs = student(inputs)["logits"], teacher(inputs)["logits"]
            hard, teachers = (
                tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
                for logits in (ours, theirs)
            )
            known = tf.stop_gradient(tf.nn.log_softmax(theirs))
            soft = tf.reduce_mean(tf.reduce_sum(tf.exp(known) * (known - tf.nn.log_softmax(ours)), axis=-1))
            share = balance(step)
            loss = hard if share == 0 else (1 - share) * hard + share * soft
        for model, value in ((student, loss), (teacher, teachers)):
            variables = model.trainable_variables
            # All at once: asked for one by one, everything between would be computed again for each.
            gradients = tape.gradient(value, [variable.value for variable in variables])
            for variable, gradient in zip(variables, gradients, strict=True):
                if gradient is not None:
                    variable.assign_sub(RATE * tf.convert_to_tensor(gradient))
        yield


@pytest.mark.parametrize(
    "balance, share, parts",
    [
        (Balance(0.6, SWAP), lambda step: 0.0 if step < SWAP else 0.6, 1),
        (Balance(0.6, SWAP, 2), lambda step: 0.6 * min(max(step - SWAP + 1, 0), 2) / 2, 3),
    ],
    ids=["swap", "ramp, in parts"],
)
def test_every_step_is_the_algorithms(balance, share, parts):
    batches = list(distil_batches(6 * 16, bucket_lengths=[16]).in_order())
    pair, twins = ([plain(1), plain(2, seed=1)] for _ in range(2))
    distiller = SynchronousDistiller(*pair, [SoftLabels(name="soft_labels")], balance)
    distiller.compile(keras.optimizers.SGD(RATE), jit_compile=False)
    shares = []
    with micro_batches(distiller, parts):
        for number, ((inputs, targets), _) in enumerate(zip(batches, by_hand(*twins, batches, share), strict=True)):
            # zip asks its second iterator after the first: the loop by hand is as far as this step.
            data = tf.data.Dataset.from_tensors((inputs, targets))
            history = distiller.fit(data, verbose=0).history
            shares.append(history["balance"][0])
            for ours, theirs in zip(pair, twins):
                for variable, other in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
                    np.testing.assert_allclose(
                        variable.numpy(), other.numpy(), rtol=0, atol=2e-6, err_msg=f"step {number}, {variable.path}"
                    )
    np.testing.assert_allclose(shares, [share(step) for step in range(6)], rtol=1e-6)
    # The swap is seen in the weights: a student of the labels alone is elsewhere.
    alone, other = plain(1), plain(2, seed=1)
    for _ in by_hand(alone, other, batches, lambda step: 0.0):
        pass
    gaps = [np.abs(a.numpy() - b.numpy()).max() for a, b in zip(alone.trainable_variables, pair[0].trainable_variables)]
    assert max(gaps) > 1e-3


def test_the_teacher_learns_what_it_would_learn_alone(tmp_path):
    batches, config = distil_batches(bucket_lengths=[16]), FitConfig(epochs=2, learning_rate=1e-2, clip_norm=None)
    teacher, alone = plain(2), plain(2)
    distiller = SynchronousDistiller(plain(1), teacher, [SoftLabels(name="soft_labels")], 0.5)
    history = fit(distiller, batches, None, config, tmp_path / "both", verbose=0)
    fit(Distiller(alone, alone, [], 1.0), batches, None, config, tmp_path / "alone", verbose=0)
    for name in ("balance", "teacher_loss", "teacher_accuracy", "hard_loss", "soft_labels", "accuracy"):
        assert name in history, name
    assert history["teacher_loss"][-1] < history["teacher_loss"][0]
    for variable, other in zip(teacher.trainable_variables, alone.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=1e-5, err_msg=variable.path)


class Stop(BaseException):
    """A kill."""


class Kill(keras.callbacks.Callback):
    """Stops training within the second epoch, before the swap."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 6:
            raise Stop


@pytest.mark.learns
def test_a_killed_run_goes_on_to_the_same_weights_and_the_same_swap(tmp_path):
    def run(directory, seed, callbacks=()):
        random.seed(seed)
        distiller = SynchronousDistiller(
            plain(1), plain(1, seed=1), [SoftLabels(name="soft_labels")], Balance(0.5, 9, 3)
        )
        config = FitConfig(epochs=3, learning_rate=1e-2, micro_batches=2)
        return distiller, fit(
            distiller, distil_batches(bucket_lengths=[16]), None, config, directory, callbacks=callbacks, verbose=0
        )

    whole, history = run(tmp_path / "whole", 0)
    with pytest.raises(Stop):
        run(tmp_path / "killed", 0, [Kill()])
    again, same_history = run(tmp_path / "killed", 99)
    assert same_history == history
    for variable, other in zip(again.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)
    # Steps 8 to 11 are the third epoch's: nothing, a third, two thirds, all of a half.
    np.testing.assert_allclose(history["balance"], [0, 0, 0.25], rtol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_both_models_train_in_half_precision(tmp_path, precision):
    student, teacher = (
        TextClassifier(tiny(dtype=f"mixed_{precision}", num_layers=1), 2, name=name) for name in ("student", "teacher")
    )
    before = teacher.get_weights()
    distiller = SynchronousDistiller(student, teacher, [SoftLabels(name="soft_labels")], Balance(0.5, 2))
    config = FitConfig(epochs=1, learning_rate=1e-2, precision=precision)
    history = fit(distiller, distil_batches(bucket_lengths=[16]), None, config, tmp_path, verbose=0)
    assert np.isfinite(history["loss"]).all() and history["balance"][-1] == pytest.approx(0.25)
    assert any((value != other).any() for value, other in zip(teacher.get_weights(), before))


def test_rows_without_a_label_teach_the_student_and_not_the_teacher():
    student, teacher = plain(1), plain(2, seed=1)
    inputs, targets = first_batch(distil_batches(16))
    none = {"labels": tf.fill([16], tf.constant(-1, targets["labels"].dtype))}
    distiller = SynchronousDistiller(student, teacher, [SoftLabels(name="soft_labels")], 0.5)
    loss, gradients = loss_of(distiller, (inputs, none))
    found = {id(v): g for v, g in zip(distiller.trainable_variables, gradients) if g is not None}
    size = {
        name: max(np.abs(tf.convert_to_tensor(found[id(v)])).max() for v in model.trainable_variables if id(v) in found)
        for name, model in (("student", student), ("teacher", teacher))
    }
    assert loss > 0 and size["student"] > 1e-4 and size["teacher"] == 0


def test_a_teacher_that_learns_has_no_cached_outputs():
    batches = distil_batches(16)
    distiller = SynchronousDistiller(plain(1), plain(2), [SoftLabels(name="soft_labels")])
    said = batches.outputs_of(distiller.teacher_outputs)
    cached = batches.with_targets({f"teacher/{name}": values for name, values in said.items()})
    with pytest.raises(ValueError, match="'teacher/logits': a teacher that is still learning has no cached outputs"):
        loss_of(distiller, first_batch(cached))
