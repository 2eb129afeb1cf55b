"""How good a classifier is: hits, rankings and honest probabilities.

Everything takes NumPy arrays (or what NumPy makes arrays of) and sorts at most once, so that it costs
O(rows log rows) time for each curve and O(rows) memory. Values equal scikit-learn's wherever it defines one; where
a figure is undefined, such as the area under the ROC curve of a class that never occurs, it is NaN here rather than
a zero that pulls a mean down.

Labels and predictions are class numbers from 0 on; probabilities are [rows, C], for two classes as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """Figures of every class, each float64[C] but `support`.

    Attributes:
        precision: TP / (TP + FP): how many of the rows that were given the class belong to it.
        recall: TP / (TP + FN): how many of the class's rows were found.
        f1: 2 TP / (2 TP + FP + FN), the harmonic mean of the two.
        support: int64[C], the class's rows, TP + FN.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class RocCurve(NamedTuple):
    """The receiver operating characteristic, from (0, 0) to (1, 1).

    Attributes:
        false_positive_rate: FP / (FP + TN) at each threshold, rising.
        true_positive_rate: TP / (TP + FN) at each threshold, rising.
        thresholds: A row is taken as positive if its score reaches it; infinity first, then falling.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    thresholds: np.ndarray


class PrecisionRecallCurve(NamedTuple):
    """Precision against recall, from the lowest threshold to the point (recall 0, precision 1).

    Attributes:
        precision: TP / (TP + FP) at each threshold, and 1 at the end.
        recall: TP / (TP + FN) at each threshold, falling, and 0 at the end.
        thresholds: One fewer than the points, rising.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray


class Reliability(NamedTuple):
    """Confidence against accuracy in bins of equal width.

    Attributes:
        edges: float64[bins + 1], from 0 to 1; a bin holds its upper edge and not its lower one.
        counts: int64[bins], rows.
        confidence: float64[bins], the mean confidence; NaN in an empty bin.
        accuracy: float64[bins], the fraction that is right; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, sum over bins of count / rows * |accuracy - confidence|."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))


def accuracy(labels, predictions) -> float:
    """The fraction of rows whose prediction is their label.

    Args:
        labels: int[rows].
        predictions: int[rows].

    Raises:
        ValueError: There are no rows, or not as many predictions as labels.

    Example:
    >>> accuracy([0, 1, 1], [0, 1, 0])
    0.6666666666666666
    """
    labels, predictions = _paired(labels, predictions)
    return float(np.mean(labels == predictions))


def confusion_matrix(labels, predictions, num_classes: int | None = None) -> np.ndarray:
    """How often each class was taken for each.

    Args:
        labels: int[rows].
        predictions: int[rows].
        num_classes: C; the default is the largest number that occurs, plus one.

    Returns:
        int64[C, C]: in row i and column j the rows of class i that were predicted as class j.

    Raises:
        ValueError: There are no rows, not as many predictions as labels, or a number that is no class.

    Example:
    >>> confusion_matrix([0, 1, 1], [0, 1, 0])
    array([[1, 0],
           [1, 1]])
    """
    labels, predictions = _paired(labels, predictions)
    largest = int(max(labels.max(), predictions.max()))
    num_classes = largest + 1 if num_classes is None else num_classes
    if min(labels.min(), predictions.min()) < 0 or largest >= num_classes:
        raise ValueError(f"classes must be numbers from 0 to {num_classes - 1}.")
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)  # [C, C]


def class_scores(labels, predictions, num_classes: int | None = None) -> ClassScores:
    """Precision, recall, F1 and support of every class; a figure whose denominator is zero is zero.

    Args:
        labels: int[rows].
        predictions: int[rows].
        num_classes: C; the default is the largest number that occurs, plus one.

    Raises:
        ValueError: As for `confusion_matrix`.
    """
    matrix = confusion_matrix(labels, predictions, num_classes)
    hits, predicted, support = np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return ClassScores(_ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, predicted + support), support)


def macro_f1(labels, predictions) -> float:
    """The mean F1 of the classes, each counting alike, over those that occur as a label or as a prediction.

    Args:
        labels: int[rows].
        predictions: int[rows].

    Raises:
        ValueError: As for `confusion_matrix`.

    Example:
    >>> macro_f1([0, 0, 2], [0, 0, 0])
    0.4
    """
    matrix = confusion_matrix(labels, predictions)
    occurrences = matrix.sum(axis=0) + matrix.sum(axis=1)  # 2 TP + FP + FN
    return float(np.mean(2 * np.diagonal(matrix)[occurrences > 0] / occurrences[occurrences > 0]))


def roc_curve(positive, scores) -> RocCurve:
    """The rates of false and true positives at every threshold (Fawcett, 2006, doi:10.1016/j.patrec.2005.10.010).

    Rows with equal scores make one point, so that their order does not matter.

    Args:
        positive: bool[rows].
        scores: float[rows], higher for rows that are more likely positive.

    Returns:
        The curve; the rate over an empty class is NaN.

    Raises:
        ValueError: There are no rows, not as many scores as rows, or a NaN among them.

    Example:
    >>> roc_curve([False, True, False, True], [0.1, 0.4, 0.35, 0.8]).false_positive_rate
    array([0. , 0. , 0. , 0.5, 1. ])
    """
    true_positives, false_positives, thresholds = _counts_by_threshold(positive, scores)
    return RocCurve(
        np.append(0.0, _ratio(false_positives, false_positives[-1], empty=np.nan)),
        np.append(0.0, _ratio(true_positives, true_positives[-1], empty=np.nan)),
        np.append(np.inf, thresholds),
    )


def roc_auc(positive, scores) -> float:
    """The area under the ROC curve by trapezoids: the chance that a positive row scores above a negative one.

    Ties count half. NaN unless there are positive and negative rows.

    Args:
        positive: bool[rows].
        scores: float[rows].

    Raises:
        ValueError: As for `roc_curve`.

    Example:
    >>> roc_auc([False, True, False, True], [0.1, 0.4, 0.35, 0.8])
    1.0
    """
    x, y, _ = roc_curve(positive, scores)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def precision_recall_curve(positive, scores) -> PrecisionRecallCurve:
    """Precision and recall at every threshold.

    Args:
        positive: bool[rows].
        scores: float[rows].

    Returns:
        The curve; recall is NaN if no row is positive.

    Raises:
        ValueError: As for `roc_curve`.
    """
    true_positives, false_positives, thresholds = _counts_by_threshold(positive, scores)
    precision = true_positives / (true_positives + false_positives)
    recall = _ratio(true_positives, true_positives[-1], empty=np.nan)
    return PrecisionRecallCurve(np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), thresholds[::-1])


def average_precision(positive, scores) -> float:
    """The area under the precision-recall curve as a sum of steps, sum over n of (R_n - R_(n-1)) P_n.

    Trapezoids would be too optimistic (Davis and Goadrich, 2006, doi:10.1145/1143844.1143874). NaN if no row is
    positive.

    Args:
        positive: bool[rows].
        scores: float[rows].

    Raises:
        ValueError: As for `roc_curve`.

    Example:
    >>> average_precision([False, True, False, True], [0.1, 0.4, 0.35, 0.8])
    1.0
    """
    precision, recall, _ = precision_recall_curve(positive, scores)
    return float(-np.sum(np.diff(recall) * precision[:-1]))


def one_vs_rest(figure: Callable[[np.ndarray, np.ndarray], float], labels, probabilities) -> np.ndarray:
    """A figure of every class against all others, such as `one_vs_rest(roc_auc, labels, probabilities)`.

    Args:
        figure: Takes bool[rows] and float[rows].
        labels: int[rows].
        probabilities: float[rows, C].

    Returns:
        float64[C]; `numpy.nanmean` of it is the macro average over the classes that have the figure.

    Raises:
        ValueError: The shapes disagree, or as the figure says.
    """
    labels, probabilities = _with_probabilities(labels, probabilities)
    return np.array([figure(labels == place, column) for place, column in enumerate(probabilities.T)])


def reliability(labels, probabilities, bins: int = 15) -> Reliability:
    """The reliability diagram of the predicted class's probability (Guo et al., 2017, arXiv:1706.04599, section 2).

    Args:
        labels: int[rows].
        probabilities: float[rows, C].
        bins: How many bins of equal width from 0 to 1.

    Raises:
        ValueError: The shapes disagree, a probability is outside [0, 1], or there is no bin.
    """
    labels, probabilities = _with_probabilities(labels, probabilities)
    if bins < 1:
        raise ValueError("there must be at least one bin.")
    confidence = probabilities.max(axis=1)
    if not (probabilities.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise ValueError("probabilities must be between 0 and 1.")
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights=values, minlength=bins) for values in (confidence, right))
    return Reliability(edges, counts, *(_ratio(total, counts, empty=np.nan) for total in sums))


def expected_calibration_error(labels, probabilities, bins: int = 15) -> float:
    """How far confidence is from accuracy on average (Guo et al., 2017, arXiv:1706.04599, equation 3).

    Args:
        labels: int[rows].
        probabilities: float[rows, C].
        bins: How many bins of equal width from 0 to 1; the value depends on it.

    Raises:
        ValueError: As for `reliability`.

    Example:
    >>> expected_calibration_error([0, 0, 0, 1], [[0.75, 0.25]] * 4)
    0.0
    """
    return reliability(labels, probabilities, bins).error


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The range in which a fraction lies, given a sample (Wilson, 1927, doi:10.1080/01621459.1927.10502953).

    Args:
        successes: How many of the trials succeeded.
        trials: How many there were.
        z: The width in standard deviations; the default covers 95 %.

    Returns:
        The lower and the upper end, with p = successes / trials and n = trials:
        (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n).

    Raises:
        ValueError: There are no trials, or not as many as successes.

    Example:
    >>> low, high = wilson_interval(85, 100)
    >>> round(low, 3), round(high, 3)
    (0.767, 0.907)
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is no fraction of trials.")
    p, n = successes / trials, trials
    middle = p + z**2 / (2 * n)
    spread = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (middle - spread) / (1 + z**2 / n), (middle + spread) / (1 + z**2 / n)
    return float(max(low, 0.0)), float(min(high, 1.0))


def _paired(labels, predictions) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} must be equal, non-empty rows.")
    return labels.astype(np.int64), predictions.astype(np.int64)


def _with_probabilities(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities) or not len(labels):
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape} must be [rows] and [rows, C].")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be numbers from 0 to {probabilities.shape[1] - 1}.")
    return labels, probabilities


def _counts_by_threshold(positive, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives and thresholds, one for each different score, from the highest down."""
    positive, scores = np.asarray(positive, bool), np.asarray(scores, np.float64)
    if positive.ndim != 1 or positive.shape != scores.shape or not len(scores):
        raise ValueError(f"rows {positive.shape} and scores {scores.shape} must be equal, non-empty rows.")
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN.")
    order = np.argsort(-scores, kind="stable")
    positive, scores = positive[order], scores[order]
    last_of_equals = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    true_positives = np.cumsum(positive)[last_of_equals]
    return true_positives, last_of_equals + 1 - true_positives, scores[last_of_equals]


def _ratio(numerator, denominator, empty: float = 0.0) -> np.ndarray:
    """The quotient, and `empty` where that is 0 / 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, empty), where=denominator != 0)
