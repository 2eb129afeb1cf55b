"""Several teachers: their averages, each by itself, generations of them, and what they must agree in."""

import numpy as np
import pytest

from tests.distillation.test_distiller import distil_batches, first_batch, loss_of
from tests.distillation.test_synchronous import divergence, plain
from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.distillation import (
    Distiller,
    Ensemble,
    HiddenStates,
    OfTeacher,
    SoftLabels,
    average_logits,
    check_compatible,
    generations,
)
from tfmodels.errors import UserError
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor, WordPieceTokenizer


def teachers():
    """Two of one name, as two runs of one recipe are."""
    return {"big": plain(2, seed=1), "other": plain(2, seed=2)}


def test_an_ensemble_says_the_mean_of_the_distributions_or_of_the_logits():
    batch = first_batch(distil_batches(16))
    both = teachers()
    logits = [to_numpy(model(batch[0])["logits"]).astype("float64") for model in both.values()]
    shares = {"big": 3.0, "other": 1.0}
    mean = Ensemble(both, shares)(batch[0])["logits"]
    assert_close(softmax(to_numpy(mean)), 0.75 * softmax(logits[0]) + 0.25 * softmax(logits[1]), 1e-6)
    mean = Ensemble(both, shares, average_logits)(batch[0])["logits"]
    assert_close(to_numpy(mean), 0.75 * logits[0] + 0.25 * logits[1], 1e-6)
    equal = Ensemble(both)(batch[0])["logits"]
    assert_close(softmax(to_numpy(equal)), 0.5 * softmax(logits[0]) + 0.5 * softmax(logits[1]), 1e-6)
    # A teacher without a share says nothing.
    alone = Ensemble(both, {"big": 0.0, "other": 2.0})(batch[0])["logits"]
    assert_close(softmax(to_numpy(alone)), softmax(logits[1]), 1e-6)


def test_a_student_hears_the_average_and_each_teacher_by_losses_of_their_own():
    batch = first_batch(distil_batches(16))
    student, both = plain(1), teachers()
    ensemble = Ensemble(both)
    losses = [
        SoftLabels(weight=0.5, name="all"),
        OfTeacher("big", SoftLabels(weight=2.0), weight=0.25, name="big"),
        OfTeacher("other", HiddenStates({1: 2}), weight=0.1, name="other"),
    ]
    distiller = Distiller(student, ensemble, losses)
    assert distiller.teacher_names == ["logits", "big:logits", "other:hidden_states/2"]
    ours = to_numpy(student(batch[0])["logits"]).astype("float64")
    theirs = [to_numpy(model(batch[0])["logits"]).astype("float64") for model in both.values()]
    mean = np.log((softmax(theirs[0]) + softmax(theirs[1])) / 2)
    states = [
        to_numpy(m.with_intermediates()(batch[0])["hidden_states"][i]) for m, i in ((student, 1), (both["other"], 2))
    ]
    kernel = to_numpy(losses[2].loss.maps[0].kernel)
    real = to_numpy(batch[0]["padding_mask"])
    hidden = np.mean(np.square(states[0] @ kernel - states[1])[real])
    expected = 0.5 * divergence(mean, ours) + 0.25 * 2.0 * divergence(theirs[0], ours) + 0.1 * hidden
    loss, gradients = loss_of(distiller, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    # The map to the teacher's states is learnt with the student; no teacher is.
    assert len(gradients) == len(student.trainable_variables) + 1


def test_an_ensembles_word_is_cached_as_one_teachers():
    batches = distil_batches(16)
    distiller = Distiller(plain(1), Ensemble(teachers()), [SoftLabels(), OfTeacher("big", SoftLabels())])
    said = batches.outputs_of(distiller.teacher_outputs)
    assert set(said) == {"logits", "big:logits"}
    cached = batches.with_targets({f"teacher/{name}": values for name, values in said.items()})
    losses = [loss_of(distiller, first_batch(each))[0] for each in (batches, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Ensemble({}), "needs at least one teacher"),
        (
            lambda: Ensemble({"big": plain(1), "odd": TextClassifier(tiny(num_layers=1), 3)}),
            "teacher 'odd' has 3 classes and 'big' 2: they must agree",
        ),
        (lambda: Ensemble(teachers(), {"big": 1.0}), "must give each teacher"),
        (lambda: Ensemble(teachers(), {"big": 1.0, "other": -1.0}), "must give each teacher"),
        (lambda: Ensemble(teachers(), {"big": 0.0, "other": 0.0}), "must give each teacher"),
    ],
)
def test_teachers_that_do_not_go_together_are_refused(make, told):
    with pytest.raises(UserError, match=told):
        make()


def test_a_teacher_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="the teacher has no output 'small:logits'"):
        Distiller(plain(1), Ensemble(teachers()), [OfTeacher("small", SoftLabels())])


def test_every_generation_is_taught_by_the_one_before():
    made, taught = [], []

    def make():
        made.append(plain(1, seed=len(made)))
        return made[-1]

    models = list(generations(make, lambda student, teacher: taught.append((student, teacher)), 3))
    assert models == made and len(models) == 3
    assert taught == [(made[0], None), (made[1], made[0]), (made[2], made[1])]
    with pytest.raises(UserError, match="count=0 must be at least 1"):
        list(generations(make, print, 0))


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]


def preprocessor(pieces=PIECES, pair=False, **options):
    return TextPreprocessor(WordPieceTokenizer(pieces, **options), 16, pair)


def test_models_that_mean_other_things_by_their_numbers_are_refused():
    labels = ["negative", "positive"]
    # How long rows are at most may differ.
    longer = TextPreprocessor(WordPieceTokenizer(PIECES), 32)
    check_compatible(preprocessor(), longer, labels, labels)
    swapped = [*PIECES[:-2], "bad", "good"]
    for theirs, told in (
        (preprocessor(swapped), r"another tokeniser than its teacher \(vocabulary\)"),
        (preprocessor(lowercase=False), r"another tokeniser than its teacher \(options\)"),
        (preprocessor(pair=True), r"another tokeniser than its teacher \(pairs of texts\)"),
    ):
        with pytest.raises(UserError, match=told):
            check_compatible(preprocessor(), theirs, labels, labels)
    with pytest.raises(UserError, match="classes are negative, positive and the teacher's positive, negative"):
        check_compatible(preprocessor(), preprocessor(), labels, labels[::-1])
