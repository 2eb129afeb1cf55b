"""The `Distiller`: a frozen teacher, cached or computed, and a student that learns from it."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.support.tensors import assert_close
from tests.training.keywords import classify, keyword_batches, keyword_rows, tiny_classifier
from tfmodels.distillation import AttentionScores, Distiller, Embeddings, HiddenStates, SoftLabels
from tfmodels.distillation.losses import named_outputs
from tfmodels.errors import UserError
from tfmodels.models import LocalAttention, TextClassifier
from tfmodels.training import Batches, FitConfig, fit

CONFIG = FitConfig(epochs=2, learning_rate=1e-2)


def teacher_of(classes=2):
    """Four layers, wider than the student."""
    return TextClassifier(tiny(num_layers=4, hidden_dim=18, num_heads=2), classes, name="teacher")


def student_of(classes=2, **overrides):
    """Two layers of 10 numbers, on a factorised embedding."""
    sizes = {"num_layers": 2, "hidden_dim": 10, "num_heads": 2, "embedding_dim": 6, **overrides}
    return TextClassifier(tiny(**sizes), classes, name="student")


def all_losses():
    return [
        SoftLabels(2.0, weight=0.7, name="soft_labels"),
        HiddenStates({1: 2, 2: 4}, weight=0.5, name="hidden_states"),
        AttentionScores({0: 1, 1: 3}, weight=0.3, name="attention_scores"),
        Embeddings(weight=0.2, name="embeddings"),
    ]


def distil_batches(rows=64, seed=0, **settings):
    return keyword_batches(rows, seed, target="labels", **settings)


def first_batch(batches):
    return next(iter(batches.in_order()))


def loss_of(distiller, batch):
    """The loss of a batch without dropout, and the gradients of the distiller's trainable weights."""
    inputs, targets = batch
    with tf.GradientTape() as tape:
        loss = distiller.compute_loss(inputs, targets, distiller(inputs, training=False))
    return float(loss), tape.gradient(loss, [variable.value for variable in distiller.trainable_variables])


def test_the_loss_is_the_weighted_sum():
    student, teacher, losses = student_of(), teacher_of(), all_losses()
    distiller, (inputs, targets) = (
        Distiller(student, teacher, losses, hard_label_weight=0.4),
        first_batch(distil_batches()),
    )
    ours = named_outputs(student.with_intermediates()(inputs))
    theirs = named_outputs(teacher.with_intermediates()(inputs))
    logits, labels = to_numpy(ours["logits"]).astype("float64"), targets["labels"].numpy()
    hard = -np.mean([row[label] - np.log(np.exp(row).sum()) for row, label in zip(logits, labels)])
    parts = [float(loss(ours, theirs, inputs["padding_mask"])) for loss in losses]
    expected = 0.4 * hard + 0.7 * parts[0] + 0.5 * parts[1] + 0.3 * parts[2] + 0.2 * parts[3]
    assert loss_of(distiller, (inputs, targets))[0] == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_the_student_and_the_maps_alone():
    student, teacher, losses = student_of(), teacher_of(), all_losses()
    distiller = Distiller(student, teacher, losses, hard_label_weight=0.4)
    maps = [variable for loss in losses for variable in loss.trainable_variables]
    assert len(maps) == 3
    wanted = {id(variable) for variable in [*student.trainable_variables, *maps]}
    assert {id(variable) for variable in distiller.trainable_variables} == wanted
    teachers = {id(variable) for variable in teacher.variables}
    assert not teachers & {id(variable) for variable in distiller.variables}

    inputs, targets = first_batch(distil_batches())
    with tf.GradientTape() as tape:
        tape.watch([variable.value for variable in teacher.trainable_variables])
        loss = distiller.compute_loss(inputs, targets, distiller(inputs, training=False))
    gradients = tape.gradient(loss, [v.value for v in [*distiller.trainable_variables, *teacher.trainable_variables]])
    count = len(distiller.trainable_variables)
    for variable, gradient in zip(distiller.trainable_variables, gradients[:count]):
        assert gradient is not None, variable.path
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all() and (gradient.any() or variable.path.endswith("key/bias")), variable.path
    assert all(gradient is None for gradient in gradients[count:])


def test_the_teacher_is_the_same_after_training(tmp_path):
    teacher = teacher_of()
    before = teacher.get_weights()
    student = student_of()
    start = student.get_weights()
    distiller = Distiller(student, teacher, all_losses(), hard_label_weight=0.4)
    history = fit(distiller, distil_batches(), distil_batches(32, seed=1), CONFIG, tmp_path, verbose=0)
    for value, other in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, other)
    assert any((value != other).any() for value, other in zip(student.get_weights(), start))
    names = {"loss", "hard_loss", "accuracy", *(loss.name for loss in distiller.losses_of)}
    assert set(history) == names | {f"val_{name}" for name in names}
    assert history["loss"][-1] < history["loss"][0]


def test_teacher_and_student_may_attend_in_kinds_of_their_own(tmp_path):
    teacher = TextClassifier(tiny("bigbird_base", num_layers=1), 2, name="teacher")
    student = student_of(attention=LocalAttention(chunk_length=3), num_layers=1, dropout=0.0, attention_dropout=0.0)
    losses = [SoftLabels(2.0), HiddenStates({1: 1}, name="hidden_states")]
    start = [to_numpy(variable.value) for variable in student.trainable_variables]
    distiller = Distiller(student, teacher, losses, hard_label_weight=0.5)
    history = fit(distiller, distil_batches(), None, CONFIG, tmp_path, verbose=0)
    for figure in ("loss", "hidden_states"):
        assert history[figure][-1] < history[figure][0], figure
    moved = zip(student.trainable_variables, start, strict=True)
    assert all((to_numpy(variable.value) != value).any() for variable, value in moved)
    with pytest.raises(UserError, match="attention"):
        Distiller(student, teacher, [AttentionScores({0: 0})])


def test_the_teacher_has_no_dropout_and_the_student_has():
    teacher = TextClassifier(tiny(dropout=0.5), 2)
    distiller = Distiller(student_of(dropout=0.5), teacher, [SoftLabels()])
    inputs, targets = first_batch(distil_batches())
    fixed = distiller(inputs, training=False)
    first, second = (float(distiller.compute_loss(inputs, targets, fixed, training=True)) for _ in range(2))
    assert first == second
    assert (to_numpy(distiller(inputs, training=True)["logits"]) != to_numpy(fixed["logits"])).any()


CACHEABLE = {
    "soft labels": lambda: [SoftLabels(2.0)],
    "all": lambda: [SoftLabels(2.0), HiddenStates({1: 2, 2: 4}), Embeddings()],
}


@pytest.mark.parametrize("make_losses", CACHEABLE.values(), ids=CACHEABLE)
def test_cached_outputs_of_the_teacher_give_the_losses_of_computed_ones(make_losses):
    distiller = Distiller(student_of(), teacher_of(), make_losses(), hard_label_weight=0.4)
    batches = distil_batches()
    said = batches.outputs_of(distiller.teacher_outputs)
    cached = batches.with_targets({f"teacher/{name}": values for name, values in said.items()})
    for computed, (inputs, targets) in zip(batches.dataset(0, 1), cached.dataset(0, 1)):
        loss, gradients = loss_of(distiller, computed)
        # What the teacher says of the very batch is the same to the last bit.
        exact = {f"teacher/{name}": value for name, value in distiller.teacher_outputs(inputs).items()}
        cached_loss, cached_gradients = loss_of(distiller, (inputs, {**targets, **exact}))
        assert cached_loss == loss
        for ours, theirs in zip(cached_gradients, gradients):
            np.testing.assert_array_equal(tf.convert_to_tensor(ours), tf.convert_to_tensor(theirs))
        # Cached in batches of other lengths it differs by rounding.
        assert loss_of(distiller, (inputs, targets))[0] == pytest.approx(loss, rel=1e-5)


def test_cached_outputs_spare_the_teacher():
    distiller = Distiller(student_of(), teacher_of(), [SoftLabels(2.0)])
    inputs, targets = first_batch(distil_batches())

    def never(*arguments, **settings):
        pytest.fail("the teacher is asked")

    said = distiller.teacher_outputs(inputs)["logits"]
    distiller.teacher_outputs = never
    loss_of(distiller, (inputs, {**targets, "teacher/logits": said}))
    with pytest.raises(BaseException, match="the teacher is asked"):
        loss_of(distiller, (inputs, targets))


def test_rows_without_a_label_learn_from_the_teacher_alone():
    batches = distil_batches(16)
    labels = batches.targets["labels"].copy()
    labels[::2] = -1
    student, teacher = student_of(), teacher_of()
    inputs, targets = first_batch(distil_batches(16, batch_size=16))
    targets = {"labels": tf.constant(labels)}
    logits = to_numpy(student(inputs)["logits"]).astype("float64")
    hard = -np.mean([row[label] - np.log(np.exp(row).sum()) for row, label in zip(logits, labels) if label >= 0])
    distiller = Distiller(student, teacher, [], hard_label_weight=1.0)
    assert loss_of(distiller, (inputs, targets))[0] == pytest.approx(hard, rel=1e-5)
    metrics = distiller.compute_metrics(inputs, targets, distiller(inputs))
    right = [row.argmax() == label for row, label in zip(logits, labels) if label >= 0]
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(right))

    none = {"labels": tf.constant(np.full(16, -1))}
    assert loss_of(distiller, (inputs, none))[0] == 0.0
    soft = Distiller(student, teacher, [SoftLabels(2.0)], hard_label_weight=1.0)
    loss, gradients = loss_of(soft, (inputs, none))
    assert loss > 0 and all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)


def test_the_same_with_half_precision_of_the_student(tmp_path):
    student = TextClassifier(tiny(dtype="mixed_bfloat16", num_layers=2, hidden_dim=10, num_heads=2), 2)
    distiller = Distiller(student, teacher_of(), all_losses(), hard_label_weight=0.4)
    history = fit(distiller, distil_batches(), None, CONFIG, tmp_path, verbose=0)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    "losses, told",
    [
        (lambda: [HiddenStates({1: 5})], r"teacher has no output 'hidden_states/5'; its indices go from 0 to 4"),
        (lambda: [AttentionScores({1: 4})], r"teacher has no output 'attention_scores/4'; its indices go from 0 to 3"),
        (lambda: [HiddenStates({3: 0})], r"student has no layer 3; its indices go from 0 to 2"),
        (lambda: [AttentionScores({2: 0})], r"student has no layer 2; its indices go from 0 to 1"),
    ],
)
def test_a_layer_map_out_of_range_is_refused(losses, told):
    with pytest.raises(ValueError, match=told):
        Distiller(student_of(), teacher_of(), losses())


def test_other_numbers_of_heads_are_refused_before_the_first_step():
    with pytest.raises(UserError, match="the student has 5 attention heads and the teacher 2"):
        Distiller(student_of(num_heads=5), teacher_of(), [AttentionScores({0: 0})])


@pytest.mark.parametrize("names", [("soft", "soft"), ("soft", "hard_loss"), ("loss",), ("balance",), ("accuracy",)])
def test_a_loss_that_has_the_name_of_another_figure_is_refused(names):
    losses = [SoftLabels(name=name) for name in names]
    with pytest.raises(UserError, match=f"two of the distiller's figures are called {names[-1]!r}: give the loss"):
        Distiller(student_of(), teacher_of(), losses, balance=0.5)


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 2"):
        Distiller(student_of(3), teacher_of(2), [SoftLabels()])


class Stop(BaseException):
    """A kill."""


@pytest.mark.learns
def test_a_killed_distillation_goes_on_to_the_same_result(tmp_path):
    teacher = teacher_of()

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                raise Stop

    def run(directory, seed, callbacks=()):
        random.seed(seed)
        distiller = Distiller(student_of(), teacher, all_losses(), hard_label_weight=0.4)
        arguments = (distil_batches(), distil_batches(32, seed=1), CONFIG, directory)
        return distiller, fit(distiller, *arguments, callbacks=callbacks, verbose=0)

    whole, history = run(tmp_path / "whole", 0)
    with pytest.raises(Stop):
        run(tmp_path / "killed", 0, [Kill()])
    again, same_history = run(tmp_path / "killed", 99)
    assert same_history == history
    for variable, other in zip(again.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)


@pytest.mark.learns
def test_a_distilled_student_agrees_with_its_teacher_more_than_one_trained_on_labels(tmp_path):
    # The labels of the student are wrong in a third of the rows; the teacher has seen right ones.
    teacher = tiny_classifier(dropout=0.0, attention_dropout=0.0)
    fit(teacher, keyword_batches(512), None, FitConfig(epochs=5, learning_rate=1e-2), tmp_path / "tuned", **classify())
    token_ids, labels = keyword_rows(256, seed=2)
    noise = np.random.default_rng(0).random(len(labels)) < 1 / 3
    batches = Batches(token_ids, {"labels": np.where(noise, 1 - labels, labels)}, 16)
    held_out = keyword_batches(256, seed=3)
    wanted = held_out.outputs_of(teacher)["logits"].argmax(axis=-1)
    assert np.mean(wanted == held_out.targets["logits"]) > 0.9, "a teacher that knows nothing shows nothing"

    agreement = {}
    for name, losses, weight in (("labels", [], 1.0), ("teacher", [SoftLabels(2.0)], 0.0)):
        random.seed(0)
        student = student_of(dropout=0.0, attention_dropout=0.0)
        distiller = Distiller(student, teacher, losses, hard_label_weight=weight)
        fit(distiller, batches, None, FitConfig(epochs=10, learning_rate=1e-2), tmp_path / f"from {name}", verbose=0)
        agreement[name] = np.mean(held_out.outputs_of(student)["logits"].argmax(axis=-1) == wanted)
    assert agreement["teacher"] > agreement["labels"] + 0.05, agreement


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    teacher = teacher_of()
    losses = [SoftLabels(2.0), AttentionScores({0: 0, 3: 3})]
    loss, _ = loss_of(Distiller(teacher, teacher, losses), first_batch(distil_batches()))
    assert_close(loss, 0.0, 1e-9)
