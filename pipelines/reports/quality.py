"""The sections on right and wrong: confusion, classes, slices, confidence and ranking."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pipelines.reports import plots
from pipelines.reports.markup import Markup, details, figure, join, percent, plain, table, tag
from pipelines.reports.measured import BINS, MANY_CLASSES, MOST_CLASSES, Measured, absent, class_name, listed, titled
from pipelines.reports.plots import Curve, Estimates
from pipelines.reports.results import RunResults
from tfmodels import metrics


def confusion_section(results: RunResults, models: Sequence[Measured]) -> Markup:
    """Confusion matrices, the figures of every class, and accuracy by slice."""
    parts = []
    if len(models) > 1:
        parts.append(tag("p", _agreement(models)))
    panels = []
    for m in models:
        hits = int(np.trace(m.matrix))
        top = _confusions(m.matrix, results.labels, 3)
        said = f"Confusion matrix of the {m.name}: {hits:,} of {m.matrix.sum():,} rows are on the diagonal"
        said += f"; most often {listed(f'{a} was taken for {b} ({n:,} times)' for a, b, n in top)}." if top else "."
        panels.append((titled(m), plots.confusion(m.matrix, results.labels), said))
    note = "Rows are the true classes, columns the predicted ones. Blue is right; orange is wrong, drawn stronger."
    wide = len(results.labels) > MANY_CLASSES
    parts.append(figure("Confusion matrices", note, panels, columns=1 if wide else 2))
    if len(results.labels) > 2:
        parts.append(_most_confused(results, models))
    parts.append(_per_class(results, models))
    parts.append(_by_slice(results, models))
    return join(parts)


def confidence_section(results: RunResults, models: Sequence[Measured]) -> Markup:
    """Calibration, and the curves of ranking by confidence."""
    parts = []
    panels = [
        (
            f"{m.name}: calibration error {m.reliability.error:.3f}",
            plots.reliability_diagram(m.reliability, m.color, 1 / len(results.labels)),
            f"Reliability diagram of the {m.name}: expected calibration error {m.reliability.error:.3f}; mean "
            f"confidence {percent(float(m.model.probabilities.max(axis=1).mean()))}, accuracy {percent(m.accuracy)}.",
        )
        for m in models
    ]
    note = (
        "On the dashed line, of the rows answered with 80 % confidence 80 % are right. A dot’s area is its number of "
        f"rows; the expected calibration error is their mean distance to the line ({BINS} bins)."
    )
    parts.append(figure("Calibration", note, panels))
    binary = len(results.labels) == 2
    if binary and 0 < results.y_true.sum() < len(results.y_true):
        roc, recall = _binary_curves(results, models)
        note = f"“{plain(results.labels[1], 40)}” is the positive class; the number is the area under the curve."
    elif not binary and len(set(results.y_true.tolist())) > 1:
        roc, recall = _micro_curves(results, models)
        note = (
            "Each class against all others, with every pair of row and class as one decision (micro average). Thin "
            f"lines: the {models[-1].name}’s single classes."
        )
    else:
        return join([*parts, absent("ROC and precision-recall curves", "all evaluated rows are of one class")])
    panels = [
        (
            title,
            plots.rates([Curve(*curve) for curve in drawn], names, chance=chance, background=background),
            f"{title} curves, with the areas {listed(name for name, _, _ in drawn)}.",
        )
        for title, (drawn, background, names, chance) in (("ROC", roc), ("Precision and recall", recall))
    ]
    parts.append(figure("Ranking", note, panels))
    return join(parts)


def _agreement(models: Sequence[Measured]) -> str:
    first, last = models[0], models[-1]
    same = float(np.mean(first.predictions == last.predictions))
    lost, won = float(np.mean(first.right & ~last.right)), float(np.mean(last.right & ~first.right))
    return (
        f"The {first.name} and the {last.name} give the same answer on {percent(same)} of the rows. The {last.name} is "
        f"wrong where the {first.name} is right on {percent(lost)}, and right where it is wrong on {percent(won)}."
    )


def _most_confused(results: RunResults, models: Sequence[Measured]) -> Markup:
    last = models[-1]
    rows = [
        (class_name(true), class_name(predicted), f"{number:,}", percent(number / max(last.matrix[place].sum(), 1)))
        for true, predicted, number, place in _confusions(last.matrix, results.labels, 10, places=True)
    ]
    if not rows:
        return Markup("")
    head = ("True class", "Taken for", "Rows", "Share of the class")
    caption = f"The {last.name}’s most frequent confusions"
    return table(head, rows, caption=caption, texts=2)


def _confusions(matrix: np.ndarray, labels: Sequence[str], most: int, places: bool = False) -> list[tuple]:
    """The largest numbers beside the diagonal, as (true, predicted, rows)."""
    wrong = matrix - np.diag(np.diagonal(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    return [
        (plain(labels[i], 60), plain(labels[j], 60), int(wrong[i, j]), *([int(i)] * places))
        for i, j in pairs
        if wrong[i, j]
    ]


def _per_class(results: RunResults, models: Sequence[Measured]) -> Markup:
    parts = []
    labels = results.labels
    if len(labels) > 2:
        shown = np.argsort(models[-1].scores.f1, kind="stable")
        note = "From the class that is hardest for the last model to the easiest; in brackets, its rows."
        if len(shown) > MOST_CLASSES:
            shown = shown[:MOST_CLASSES]
            note = (
                f"The {MOST_CLASSES} classes of {len(labels)} that are hardest for the last model; in brackets, rows."
            )
        names, support = [labels[i] for i in shown], [int(models[0].scores.support[i]) for i in shown]
        panels = []
        for title, values in (
            ("F1", [m.scores.f1 for m in models]),
            ("Area under the ROC curve", [m.roc_areas for m in models]),
        ):
            estimates = [Estimates(m.name, v[shown]) for m, v in zip(models, values)]
            drawn = plots.by_group(names, support, estimates, fractions=False)
            said = listed(f"{plain(labels[i], 40)} {values[-1][i]:.3f}" for i in shown[:12])
            panels.append((title, drawn, f"{title} by class of the {models[-1].name}, hardest first: {said}."))
        parts.append(figure("Figures by class", note, panels))
    rows = []
    for place, label in enumerate(labels):
        cells = [
            "–" if np.isnan(value) else f"{value:.3f}"
            for m in models
            for value in (m.scores.precision[place], m.scores.recall[place], m.scores.f1[place], m.roc_areas[place])
        ]
        rows.append((class_name(label), f"{models[0].scores.support[place]:,}", *cells))
    head = ["Class", "Rows", *(("Precision", "Recall", "F1", "ROC area") * len(models))]
    groups = [("", 2), *((m.name, 4) for m in models)]
    content = table(head, rows, caption="Figures of every class", groups=groups)
    many = len(labels) > MANY_CLASSES
    parts.append(details(f"Figures of every class ({len(labels)})", content) if many else content)
    return join(parts)


def _by_slice(results: RunResults, models: Sequence[Measured]) -> Markup:
    slices = results.slices or _length_slices(results.texts)
    if not slices:
        return absent("Accuracy by slice", "the evaluated rows came without slices or texts")
    names = sorted(set(slices), key=_natural)
    slices = np.asarray(slices)
    members = [slices == name for name in names]
    sizes = [int(member.sum()) for member in members]
    estimates = []
    for m in models:
        values = np.array([m.right[member].mean() for member in members])
        ends = [metrics.wilson_interval(int(m.right[member].sum()), int(member.sum())) for member in members]
        estimates.append(Estimates(m.name, values, *np.array(ends).T))
    shown = names[:MOST_CLASSES]
    drawn = plots.by_group(
        shown,
        sizes[: len(shown)],
        [Estimates(e.name, *(v[: len(shown)] for v in (e.values, e.low, e.high))) for e in estimates],
        fractions=True,
        width=1000,
    )
    said = listed(
        f"{plain(name, 40)}: " + ", ".join(f"{e.name} {percent(e.values[i])}" for e in estimates)
        for i, name in enumerate(shown[:12])
    )
    note = "Dots with 95 % intervals; in brackets, the slice’s rows."
    return figure("Accuracy by slice", note, [("", drawn, f"Accuracy by slice. {said}.")], columns=1)


def _binary_curves(results: RunResults, models: Sequence[Measured]):
    positive = results.y_true == 1
    roc, recall = [], []
    for m in models:
        scores = m.model.probabilities[:, 1]
        x, y, _ = metrics.roc_curve(positive, scores)
        roc.append((f"{m.name} {metrics.roc_auc(positive, scores):.3f}", x, y))
        precision, found, _ = metrics.precision_recall_curve(positive, scores)
        recall.append((f"{m.name} {metrics.average_precision(positive, scores):.3f}", found, precision))
    return (
        (roc, (), ("false positive rate", "true positive rate"), None),
        (recall, (), ("recall", "precision"), float(positive.mean())),
    )


def _micro_curves(results: RunResults, models: Sequence[Measured]):
    classes = len(results.labels)
    decisions = np.eye(classes, dtype=bool)[results.y_true]  # [rows, C]
    roc, recall, thin_roc, thin_recall = [], [], [], []
    for m in models:
        positive, scores = decisions.ravel(), m.model.probabilities.ravel()
        x, y, _ = metrics.roc_curve(positive, scores)
        roc.append((f"{m.name} {metrics.roc_auc(positive, scores):.3f}", x, y))
        precision, found, _ = metrics.precision_recall_curve(positive, scores)
        recall.append((f"{m.name} {metrics.average_precision(positive, scores):.3f}", found, precision))
    for place in range(min(classes, MOST_CLASSES)):
        positive, scores = decisions[:, place], models[-1].model.probabilities[:, place]
        if not 0 < positive.sum() < len(positive):
            continue
        x, y, _ = metrics.roc_curve(positive, scores)
        thin_roc.append(Curve("", x, y))
        precision, found, _ = metrics.precision_recall_curve(positive, scores)
        thin_recall.append(Curve("", found, precision))
    return (
        (roc, thin_roc, ("false positive rate", "true positive rate"), None),
        (recall, thin_recall, ("recall", "precision"), 1 / classes),
    )


def _natural(name: str) -> list:
    """Sorts "2-9 words" before "10+ words"."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _length_slices(texts: Sequence[str | tuple[str, ...]]) -> list[str]:
    """The quartiles of the texts' lengths in words, by name."""
    if not texts:
        return []
    words = np.array([sum(len(part.split()) for part in ((t,) if isinstance(t, str) else t)) for t in texts])
    edges = sorted({int(edge) for edge in np.quantile(words, [0.25, 0.5, 0.75])} - {int(words.max())})
    starts = [int(words.min()), *(edge + 1 for edge in edges)]
    ends = [*edges, int(words.max())]
    names = [f"{a} words" if a == b else f"{a}-{b} words" for a, b in zip(starts, ends)]
    return [names[place] for place in np.searchsorted(edges, words)]
