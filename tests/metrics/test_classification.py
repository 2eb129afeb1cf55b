"""The metrics equal scikit-learn's, ties, absent classes and single predictions included."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from scipy.stats import binomtest

from tfmodels import metrics


def sample(case: str, rows: int = 400, classes: int = 5):
    """Labels int[rows] and probabilities float[rows, C] of a kind."""
    random = np.random.default_rng(sum(map(ord, case)))
    labels = random.integers(classes, size=rows)
    logits = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    if case == "binary":
        labels, logits = labels % 2, logits[:, :2]
    if case == "absent class":
        labels = np.where(labels == 2, 3, labels)
    if case == "class never predicted":
        logits[:, 1] = -20
    if case == "one class predicted":
        logits[:, 4] = 20
    if case == "one class only":
        labels = np.full(rows, 3)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if case == "ties":
        probabilities = np.round(probabilities, 1)
    if case == "all equal":
        probabilities = np.full_like(probabilities, 0.2)
    if case == "one row":
        labels, probabilities = labels[:1], probabilities[:1]
    return labels, probabilities


CASES = (
    "random",
    "binary",
    "ties",
    "all equal",
    "absent class",
    "class never predicted",
    "one class predicted",
    "one class only",
    "one row",
)


@pytest.fixture(params=CASES)
def rows(request):
    return sample(request.param)


@pytest.fixture(autouse=True)
def _quiet():
    # scikit-learn warns of every undefined figure that these cases are here for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_confusion_matrix_equals_scikit_learn(rows):
    labels, probabilities = rows
    predictions, classes = probabilities.argmax(1), probabilities.shape[1]
    expected = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(classes))
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, predictions, classes), expected)


def test_accuracy_and_macro_f1_equal_scikit_learn(rows):
    labels, probabilities = rows
    predictions = probabilities.argmax(1)
    assert metrics.accuracy(labels, predictions) == sklearn.metrics.accuracy_score(labels, predictions)
    expected = sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert metrics.macro_f1(labels, predictions) == pytest.approx(expected, abs=1e-12)


def test_figures_of_every_class_equal_scikit_learn(rows):
    labels, probabilities = rows
    predictions, classes = probabilities.argmax(1), probabilities.shape[1]
    expected = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(classes), zero_division=0
    )
    for ours, theirs in zip(metrics.class_scores(labels, predictions, classes), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_roc_curves_equal_scikit_learn(rows):
    labels, probabilities = rows
    for place, scores in enumerate(probabilities.T):
        ours = metrics.roc_curve(labels == place, scores)
        theirs = sklearn.metrics.roc_curve(labels == place, scores, drop_intermediate=False)
        # scikit-learn makes the point (0, 0) NaN too when a rate is undefined.
        for name, expected in zip(ours._fields, theirs, strict=True):
            np.testing.assert_allclose(getattr(ours, name)[1:], expected[1:], atol=1e-12, err_msg=name)


def test_areas_under_roc_curves_equal_scikit_learn(rows):
    labels, probabilities = rows
    for ours, place in zip(metrics.one_vs_rest(metrics.roc_auc, labels, probabilities), range(probabilities.shape[1])):
        positive = labels == place
        if 0 < positive.sum() < len(labels):
            assert ours == pytest.approx(sklearn.metrics.roc_auc_score(positive, probabilities[:, place]), abs=1e-12)
        else:
            assert np.isnan(ours)


def test_precision_recall_curves_and_average_precision_equal_scikit_learn(rows):
    labels, probabilities = rows
    for place, scores in enumerate(probabilities.T):
        positive = labels == place
        ours = metrics.precision_recall_curve(positive, scores)
        theirs = sklearn.metrics.precision_recall_curve(positive, scores)
        np.testing.assert_allclose(ours.precision, theirs[0], atol=1e-12)
        np.testing.assert_allclose(ours.thresholds, theirs[2], atol=1e-12)
        if positive.any():
            np.testing.assert_allclose(ours.recall, theirs[1], atol=1e-12)
            expected = sklearn.metrics.average_precision_score(positive, scores)
            assert metrics.average_precision(positive, scores) == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(metrics.average_precision(positive, scores))


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_reliability_equals_scikit_learn(rows, bins):
    labels, probabilities = rows
    ours = metrics.reliability(labels, probabilities, bins)
    right, confidence = probabilities.argmax(1) == labels, probabilities.max(1)
    accuracy, mean = sklearn.calibration.calibration_curve(right, np.minimum(confidence, 1), n_bins=bins)
    filled = ours.counts > 0
    np.testing.assert_allclose(ours.accuracy[filled], accuracy, atol=1e-12)
    np.testing.assert_allclose(ours.confidence[filled], mean, atol=1e-12)
    assert ours.counts.sum() == len(labels)
    assert np.isnan(ours.accuracy[~filled]).all()


def test_calibration_error_equals_the_definition_written_as_a_loop(rows):
    labels, probabilities = rows
    error = 0.0
    for low in np.linspace(0, 1, 11)[:-1]:
        inside = [
            (p.max(), p.argmax() == y) for p, y in zip(probabilities, labels) if low < p.max() - 1e-12 <= low + 0.1
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            error += len(inside) / len(labels) * abs(confidence - right)
    probabilities = np.clip(probabilities - 1e-12, 0, 1)  # the same side of the edges in both
    assert metrics.expected_calibration_error(labels, probabilities, bins=10) == pytest.approx(error, abs=1e-9)


def test_a_model_that_is_always_sure_and_half_right_has_a_calibration_error_of_a_half():
    assert metrics.expected_calibration_error([0, 1], [[1.0, 0.0], [1.0, 0.0]]) == 0.5


def test_a_reversed_ranking_has_area_zero_and_a_constant_one_a_half():
    assert metrics.roc_auc([True, False], [0.1, 0.9]) == 0.0
    assert metrics.roc_auc([True, False, False], [0.5, 0.5, 0.5]) == 0.5


def test_the_order_of_rows_with_equal_scores_does_not_matter():
    labels, probabilities = sample("ties")
    back = metrics.roc_auc(labels[::-1] == 1, probabilities[::-1, 1])
    assert back == metrics.roc_auc(labels == 1, probabilities[:, 1])
    back = metrics.average_precision(labels[::-1] == 1, probabilities[::-1, 1])
    assert back == metrics.average_precision(labels == 1, probabilities[:, 1])


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (847, 1000), (1, 1), (3, 7)])
def test_the_interval_of_a_fraction_equals_scipy(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert metrics.wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.accuracy([], []),
        lambda: metrics.accuracy([0, 1], [0]),
        lambda: metrics.confusion_matrix([0, -1], [0, 0]),
        lambda: metrics.confusion_matrix([0, 3], [0, 0], num_classes=3),
        lambda: metrics.roc_curve([True, False], [np.nan, 0.5]),
        lambda: metrics.roc_curve([True], [0.5, 0.5]),
        lambda: metrics.reliability([0, 1], [[0.5, 0.5]]),
        lambda: metrics.reliability([0], [[1.5, -0.5]]),
        lambda: metrics.reliability([0], [[np.nan, 0.5]]),
        lambda: metrics.reliability([0], [[1.0]], bins=0),
        lambda: metrics.one_vs_rest(metrics.roc_auc, [2], [[0.5, 0.5]]),
        lambda: metrics.wilson_interval(3, 2),
        lambda: metrics.wilson_interval(0, 0),
    ],
)
def test_what_is_no_classification_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_metrics_load_neither_keras_nor_tensorflow():
    code = "import sys, tfmodels.metrics; print(sorted({'keras', 'tensorflow', 'sklearn', 'scipy'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
