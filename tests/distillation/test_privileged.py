"""Inputs that the teacher has and the student has not: extra columns, and the whole of a text."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distillation.test_distiller import first_batch, loss_of
from tests.distillation.test_synchronous import plain
from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.training.keywords import keyword_rows
from tfmodels.distillation import Balance, Distiller, HiddenStates, SoftLabels, SynchronousDistiller
from tfmodels.layers import Columns
from tfmodels.models import TableClassifier, TextClassifier
from tfmodels.training import Batches, FitConfig, fit, micro_batches, token_features

NUMBERS = np.random.default_rng(5).normal(size=(64, 2)).astype("float32")
CATEGORIES = np.random.default_rng(6).integers(0, 3, (64, 1)).astype("int32")


def table_batches(rows=64, seed=0, **settings):
    """Texts with two numbers and a category."""
    token_ids, labels = keyword_rows(rows, seed)
    features = {"numbers": NUMBERS[:rows], "categories": CATEGORIES[:rows]}
    return Batches(token_ids, {"labels": labels}, 16, features=features, **settings)


def table_teacher(seed=1, **sizes):
    keras.utils.set_random_seed(seed)
    columns = Columns.of(NUMBERS, CATEGORIES, embedding_dim=3)
    backbone = tiny(num_layers=1, dropout=0.0, attention_dropout=0.0, **sizes)
    model = TableClassifier(backbone, 2, columns, hidden_dim=9, dropout=0.0, name="teacher")
    random = np.random.default_rng(seed)
    model.set_weights([w + 0.2 * random.normal(size=w.shape).astype("float32") for w in model.get_weights()])
    return model


def test_the_teacher_sees_the_columns_and_the_student_does_not():
    inputs, targets = first_batch(table_batches(16))
    student, teacher = plain(1), table_teacher()
    others = {**inputs, "numbers": inputs["numbers"] + 1.0}
    assert np.abs(to_numpy(teacher(others)["logits"] - teacher(inputs)["logits"])).max() > 1e-3
    for distiller in (
        Distiller(student, teacher, [SoftLabels()], balance=0.5),
        SynchronousDistiller(student, teacher, [SoftLabels()], 0.5),
    ):
        ours, same = (to_numpy(distiller(x)["logits"]) for x in (inputs, others))
        np.testing.assert_array_equal(ours, same)
        assert loss_of(distiller, (inputs, targets))[0] != loss_of(distiller, (others, targets))[0]
        # What the student is when it serves.
        tokens = {name: inputs[name] for name in ("token_ids", "segment_ids", "padding_mask")}
        np.testing.assert_array_equal(to_numpy(student(tokens)["logits"]), ours)


def test_a_teacher_of_the_whole_text_says_what_it_says_of_the_whole_text():
    token_ids, labels = keyword_rows(40)
    starts = token_ids[:, :2]
    student, teacher = plain(1), plain(2, seed=1)
    whole = Batches(token_ids, {}, 16)
    batches = Batches(starts, {"labels": labels}, 16, features=token_features(token_ids, "teacher/"))
    distiller = Distiller(student, teacher, [SoftLabels(name="soft_labels")], balance=0.5)
    said = batches.outputs_of(distiller.teacher_outputs)["logits"]
    np.testing.assert_allclose(said, whole.outputs_of(teacher)["logits"], atol=1e-5)
    np.testing.assert_allclose(
        batches.outputs_of(distiller)["logits"], Batches(starts, {}, 16).outputs_of(student)["logits"], atol=1e-5
    )
    assert np.abs(said - Batches(starts, {}, 16).outputs_of(teacher)["logits"]).max() > 1e-3
    # Cached or computed, the loss is the same.
    computed, cached = (
        loss_of(distiller, first_batch(b))[0] for b in (batches, batches.with_targets({"teacher/logits": said}))
    )
    assert computed == pytest.approx(cached, rel=1e-5)


def test_losses_over_tokens_are_refused_where_the_teacher_reads_other_tokens():
    token_ids, labels = keyword_rows(16)
    features = token_features(token_ids, "teacher/")
    batches = Batches(token_ids[:, :2], {"labels": labels}, 16, features=features)
    distiller = Distiller(plain(1), plain(2), [HiddenStates({1: 2})])
    with pytest.raises(ValueError, match="reads other tokens than the student, so that 'hidden_states/2' has no"):
        loss_of(distiller, first_batch(batches))
    del features["teacher/padding_mask"]
    batches = Batches(token_ids[:, :2], {"labels": labels}, 16, features=features)
    with pytest.raises(ValueError, match="there is no 'teacher/padding_mask'"):
        loss_of(Distiller(plain(1), plain(2), [SoftLabels()]), first_batch(batches))


def test_columns_that_the_batches_lack_are_named():
    token_ids, labels = keyword_rows(16)
    batches = Batches(token_ids, {"labels": labels}, 16, features={"numbers": NUMBERS[:16]})
    with pytest.raises(ValueError, match="takes 'categories', which the batches do not hold"):
        loss_of(Distiller(plain(1), table_teacher(), [SoftLabels()]), first_batch(batches))


def test_student_and_teacher_may_see_different_columns():
    """X is one number, X* both: the teacher's columns stand under names of its own."""
    token_ids, labels = keyword_rows(16)
    features = {"numbers": NUMBERS[:16, :1], "teacher/numbers": NUMBERS[:16], "categories": CATEGORIES[:16]}
    batches = Batches(token_ids, {"labels": labels}, 16, features=features)
    student = TableClassifier(tiny(num_layers=1), 2, Columns.of(NUMBERS[:, :1]), name="student")
    distiller = Distiller(student, table_teacher(), [SoftLabels()], balance=0.5)
    inputs, targets = first_batch(batches)
    assert np.isfinite(loss_of(distiller, (inputs, targets))[0])
    teacher_inputs = {**inputs, "numbers": inputs["teacher/numbers"]}
    np.testing.assert_array_equal(
        to_numpy(distiller.teacher_outputs(inputs)["logits"]),
        to_numpy(table_teacher()({name: teacher_inputs[name] for name in table_teacher().input})["logits"]),
    )


@pytest.mark.parametrize("make", [Distiller, SynchronousDistiller])
def test_parts_of_a_batch_take_their_rows_of_the_columns(make):
    results = []
    for parts in (1, 3):
        keras.utils.set_random_seed(0)
        student, teacher = plain(1), table_teacher()
        distiller = make(student, teacher, [SoftLabels(name="soft_labels")], balance=Balance(0.5, 1))
        distiller.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        with micro_batches(distiller, parts):
            history = distiller.fit(table_batches().in_order(), verbose=0).history
        results.append(([variable.numpy() for variable in distiller.trainable_variables], history))
    for one, other in zip(results[0][0], results[1][0]):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert results[0][1]["loss"] == pytest.approx(results[1][1]["loss"], rel=1e-5)


@pytest.mark.learns
def test_a_privileged_teacher_makes_a_better_student_of_few_noisy_labels(tmp_path):
    """Labels are drawn with the chance that a column tells; the text tells which of two kinds a row is of.

    The column is known in training alone. A student of the labels learns them by heart; the teacher knows the chances.
    """
    random = np.random.default_rng(0)
    token_ids, kinds = keyword_rows(1200)
    # The chance leans to the row's kind, which the text tells; how far it leans, only the column does.
    chances = np.where(kinds == 1, 0.6, 0.4) + random.uniform(-0.38, 0.38, len(kinds))
    labels = (random.random(len(kinds)) < chances).astype("int64")
    numbers = np.log(chances / (1 - chances)).astype("float32")[:, None]
    train = Batches(
        token_ids[:160], {"labels": labels[:160]}, 16, features={"numbers": numbers[:160]}, bucket_lengths=[16]
    )
    held_out = Batches(token_ids[400:], {}, 128)
    wanted = np.where(kinds[400:] == 1, 0.6, 0.4)

    def distance(model):
        """How far the student is from the chance that the text alone allows to know, in nats."""
        ours = np.clip(np.exp(to_numpy(tf.nn.log_softmax(held_out.outputs_of(model)["logits"])))[:, 1], 1e-6, 1 - 1e-6)
        return np.mean(wanted * np.log(wanted / ours) + (1 - wanted) * np.log((1 - wanted) / (1 - ours)))

    config = FitConfig(epochs=5, learning_rate=1e-2)
    found = {}
    keras.utils.set_random_seed(1)
    teacher = TableClassifier(tiny(num_layers=1), 2, Columns.of(numbers[:160]), hidden_dim=4, dropout=0.0)
    fit(Distiller(teacher, teacher, [], 1.0), train, None, config.replace(epochs=3), tmp_path / "t", verbose=0)
    for name, make in (
        ("labels", lambda student: Distiller(student, student, [], 1.0)),
        ("teacher", lambda student: Distiller(student, teacher, [SoftLabels()], balance=0.9)),
    ):
        keras.utils.set_random_seed(2)
        student = TextClassifier(tiny(num_layers=1), 2)
        fit(make(student), train, None, config, tmp_path / name, verbose=0)
        found[name] = distance(student)
    assert found["teacher"] < 0.7 * found["labels"], found


def test_a_feature_needs_a_row_for_every_text():
    token_ids, labels = keyword_rows(16)
    with pytest.raises(ValueError, match="feature 'numbers' has 8 rows, but there are 16"):
        Batches(token_ids, {"labels": labels}, 16, features={"numbers": NUMBERS[:8]})
