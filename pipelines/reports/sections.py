"""The report's sections: from the results of a run to figures, tables and the sentences between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.reports import plots
from pipelines.reports.markup import (
    Markup,
    count,
    details,
    duration,
    figure,
    flat,
    join,
    percent,
    plain,
    significant,
    size,
    table,
    tag,
    user_text,
)
from pipelines.reports.plots import Curve, Estimates
from pipelines.reports.results import Attention, ModelResults, RunResults
from pipelines.reports.style import series
from tfmodels import metrics

_BINS = 15
_MISTAKES, _TEXT = 20, 300
_MANY_CLASSES, _MOST_CLASSES = 20, 40
_PIECES = 32


class Section(NamedTuple):
    """A part of the report: its name in addresses and to readers, and its content."""

    id: str
    title: str
    content: Markup


class Measured:
    """A model with the figures that several sections need, computed once."""

    def __init__(self, model: ModelResults, results: RunResults, place: int):
        self.model = model
        self.name = plain(model.name, 24)
        self.color = series(place)
        labels, probabilities = results.y_true, model.probabilities
        self.predictions = probabilities.argmax(axis=1)
        self.right = self.predictions == labels
        self.accuracy = metrics.accuracy(labels, self.predictions)
        self.interval = metrics.wilson_interval(int(self.right.sum()), len(labels))
        self.macro_f1 = metrics.macro_f1(labels, self.predictions)
        self.matrix = metrics.confusion_matrix(labels, self.predictions, len(results.labels))
        self.scores = metrics.class_scores(labels, self.predictions, len(results.labels))
        self.roc_areas = metrics.one_vs_rest(metrics.roc_auc, labels, probabilities)
        self.reliability = metrics.reliability(labels, np.clip(probabilities, 0, 1), _BINS)

    @property
    def roc_area(self) -> float | None:
        """The mean area under the ROC curve over the classes that have one."""
        known = self.roc_areas[np.isfinite(self.roc_areas)]
        return float(known.mean()) if len(known) else None

    def latency(self, batch: str, figure: str) -> float | None:
        """A figure of the timing with a batch size, or None."""
        return self.model.latency.get(batch, {}).get(figure)


def sections(results: RunResults) -> list[Section]:
    """All sections, in order; one without data says in a line what is missing."""
    models = [Measured(model, results, place) for place, model in enumerate(results.models)]
    return [
        Section("summary", "Summary", _summary(results, models)),
        Section("data", "Data", _data(results)),
        Section("training", "Training", _training(models)),
        Section("mistakes", "Where it is right and wrong", _confusion(results, models)),
        Section("confidence", "How far to trust its confidence", _confidence(results, models)),
        Section("speed", "Speed and size", _speed(models)),
        Section("attention", "What it looks at", _attention(results)),
        Section("examples", "The most confident mistakes", _examples(results, models)),
        Section("making", "How it was made", _making(results)),
    ]


def headline(results: RunResults) -> str:
    """The result in one sentence."""
    models = [Measured(model, results, place) for place, model in enumerate(results.models[:1])]
    models += [Measured(results.models[-1], results, len(results.models) - 1)] * (len(results.models) > 1)
    first, last = models[0], models[-1]
    rows = f"{len(results.y_true):,} {results.split} rows"
    if first is last:
        share, label = _most_frequent(results)
        return (
            f"The {first.name} is right on {percent(first.accuracy)} of {rows}; always guessing “{plain(label, 40)}” "
            f"would be right on {percent(share)}."
        )
    parts = [f"keeps {percent(last.accuracy / max(first.accuracy, 1e-12))} of the {first.name}’s accuracy on {rows}"]
    fewer = _times(first.model.parameters, last.model.parameters)
    if fewer:
        parts.append(f"with {_ratio(fewer, 'fewer', 'more')} parameters")
    batch = _batches(models)[:1]
    faster = _times(*(model.latency(batch[0], "median_ms") for model in models)) if batch else None
    if faster:
        parts.append(f"answers {_ratio(faster, 'faster', 'slower')}")
    text = f"The {last.name} {parts[0]}"
    for part in parts[1:]:
        text += f" {part}" if part.startswith("with") else f", and {part}"
    return text + "."


# The sections.


def _summary(results: RunResults, models: Sequence[Measured]) -> Markup:
    batches = _batches(models)
    rows = []

    def add(name, values, shown, compare=None):
        if any(value is not None for value in values):
            cells = ["–" if value is None else shown(value) for value in values]
            rows.append((name, *cells, *_comparisons(values, compare) * (len(models) > 1)))

    add("Accuracy", [m.accuracy for m in models], percent, "share")
    rows[-1] = (rows[-1][0], *(_with_interval(m) for m in models), *rows[-1][1 + len(models) :])
    add("Macro-F1", [m.macro_f1 for m in models], percent, "share")
    kind = "Area under ROC curve" if len(results.labels) == 2 else "Area under ROC curve, mean of classes"
    add(kind, [m.roc_area for m in models], "{:.3f}".format, "share")
    add("Expected calibration error", [m.reliability.error for m in models], "{:.3f}".format, "difference")
    add("Parameters", [m.model.parameters for m in models], count, ("fewer", "more"))
    add("Size on disk", [m.model.bytes for m in models], size, ("smaller", "larger"))
    for batch in batches[:1]:
        one = "one text" if batch == "1" else f"{int(batch):,} texts"
        for key, name in (("median_ms", "median"), ("p99_ms", "99th percentile")):
            values = [m.latency(batch, key) for m in models]
            add(f"Time for {one}, {name}", values, lambda ms: f"{significant(ms)} ms", ("faster", "slower"))
    for batch in batches[-1:]:
        values = [m.latency(batch, "rows_per_second") for m in models]
        add(f"Texts a second, {int(batch):,} at a time", values, significant, ("less", "more"))
    add("Training time", [m.model.fit_seconds for m in models], duration, ("less", "more"))
    head = ["", *(_titled(m) for m in models)]
    if len(models) > 1:
        head += [f"{m.name} / {models[0].name}" for m in models[1:]]
    share, label = _most_frequent(results)
    note = (
        f"Measured on {len(results.y_true):,} {plain(results.split)} rows; ± is half a 95 % interval (Wilson). Always "
        f"guessing “{plain(label, 40)}”, the most frequent class, would be right on {percent(share)}."
    )
    compared = table(head, rows, caption="The models compared" if len(models) > 1 else "The model")
    return join(
        [
            _tiles(models, batches),
            tag(
                "div",
                tag("div", compared, class_="compared" if len(models) > 1 else None),
                _asked(results),
                class_="beside",
            ),
            tag("p", note, class_="note"),
        ]
    )


def _data(results: RunResults) -> Markup:
    parts = []
    if results.class_counts:
        splits = {split: [int(counts.get(label, 0)) for label in results.labels] for split, counts in _ordered(results)}
        shown = np.arange(len(results.labels))
        note = "Rows of each class; all splits share one axis, the share of the split’s rows."
        if len(shown) > _MOST_CLASSES:
            total = np.sum(list(splits.values()), axis=0)
            shown = np.argsort(-total, kind="stable")[:_MOST_CLASSES]
            note += f" The {_MOST_CLASSES} largest of {len(results.labels)} classes."
        largest = max(max(counts) / max(sum(counts), 1) for counts in splits.values())
        names = [results.labels[place] for place in shown]
        panels = [
            (
                f"{plain(split)}, {sum(counts):,} rows",
                plots.class_balance(names, [counts[place] for place in shown], largest),
                f"Bars of the rows of each class in the {split} split: "
                + _listed(f"{plain(name, 40)} {counts[place]:,}" for name, place in zip(names[:12], shown)),
            )
            for split, counts in splits.items()
        ]
        parts.append(figure("Class balance", note, panels, columns=3))
    else:
        parts.append(_absent("Class balance", "no counts of the classes were recorded"))
    if results.token_lengths and any(len(values) for values in results.token_lengths.values()):
        lengths = np.concatenate([values for values in results.token_lengths.values() if len(values)])
        median, high = np.percentile(lengths, [50, 95])
        svg = plots.length_histogram(lengths, results.sequence_length)
        note = f"Tokens of all {len(lengths):,} rows, special tokens included."
        description = f"A histogram of tokens: median {median:,.0f}, 95 % under {high:,.0f}, at most {lengths.max():,}."
        parts.append(figure("Length of the texts", note, [("", svg, description)], columns=1))
    else:
        parts.append(_absent("Length of the texts", "no token counts were recorded"))
    if results.warnings:
        parts.append(tag("ul", *(tag("li", user_text(text, 400)) for text in results.warnings), class_="warnings"))
    if results.data:
        rows = [(user_text(name), user_text(_amount(value), 300)) for name, value in flat(results.data)]
        parts.append(table(("Fact", "Value"), rows, caption="Facts about the table", texts=None))
    return join(parts)


def _training(models: Sequence[Measured]) -> Markup:
    parts = []
    runs = {m.name: _epochs(m.model) for m in models}
    accuracies = np.concatenate(
        [curve.y for run in runs.values() for curve in run.get("accuracy", ())] or [np.empty(0)]
    )
    limits = None
    if len(accuracies):
        spread = max(np.ptp(accuracies), 0.1)
        limits = float(accuracies.min() - 0.06 * spread), float(min(accuracies.max() + 0.12 * spread, 1.005))
    first_best = _best(runs[models[0].name])
    for place, measured in enumerate(models):
        run = runs[measured.name]
        if not run:
            parts.append(_absent(f"Learning curves of the {measured.name}", "no training history was recorded"))
            continue
        best = _best(run)
        stages = run["stages"] if len(run["stages"]) > 1 else ()
        panels = []
        for kind in ("loss", "accuracy"):
            curves = run.get(kind)
            if not curves:
                continue
            fractions = kind == "accuracy"
            reference = None
            if fractions and place and first_best is not None:
                reference = first_best[1]
            svg = plots.learning_curve(
                curves,
                measured.color,
                stages=stages,
                limits=limits if fractions else None,
                best=best if fractions else None,
                reference=reference,
                fractions=fractions,
            )
            said = (f"{curve.name} from {curve.y[0]:.3f} to {curve.y[-1]:.3f}" for curve in curves)
            description = f"{kind} of the {measured.name} over {len(curves[0].x)} epochs: {_listed(said)}."
            panels.append((kind.capitalize(), svg, description))
        note = "Thin: training; thick: validation."
        if best is not None:
            note += f" The ring marks the best epoch, {best[0]}, whose weights are kept."
        if place and first_best is not None:
            note += f" The dashed line is the {models[0].name}’s best, {percent(first_best[1])}."
        if measured.model.fit_seconds:
            note += f" Training took {duration(measured.model.fit_seconds)}."
        rows = _history_rows(run)
        parts.append(figure(f"Learning curves of the {measured.name}", note, panels))
        head = ("Epoch", *(name for name, _ in rows[0]))
        numbers = [(epoch, *(value for _, value in row)) for epoch, row in enumerate(rows, start=1)]
        caption = f"Every figure of the {measured.name}’s training"
        parts.append(details(f"The {measured.name}’s figures by epoch", table(head, numbers, caption=caption)))
    return join(parts)


def _confusion(results: RunResults, models: Sequence[Measured]) -> Markup:
    parts = []
    if len(models) > 1:
        parts.append(tag("p", _agreement(models)))
    panels = []
    for m in models:
        hits = int(np.trace(m.matrix))
        top = _confusions(m.matrix, results.labels, 3)
        said = f"Confusion matrix of the {m.name}: {hits:,} of {m.matrix.sum():,} rows are on the diagonal"
        said += f"; most often {_listed(f'{a} was taken for {b} ({n:,} times)' for a, b, n in top)}." if top else "."
        panels.append((_titled(m), plots.confusion(m.matrix, results.labels), said))
    note = "Rows are the true classes, columns the predicted ones. Blue is right; orange is wrong, drawn stronger."
    wide = len(results.labels) > _MANY_CLASSES
    parts.append(figure("Confusion matrices", note, panels, columns=1 if wide else 2))
    if len(results.labels) > 2:
        parts.append(_most_confused(results, models))
    parts.append(_per_class(results, models))
    parts.append(_by_slice(results, models))
    return join(parts)


def _confidence(results: RunResults, models: Sequence[Measured]) -> Markup:
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
        f"rows; the expected calibration error is their mean distance to the line ({_BINS} bins)."
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
        return join([*parts, _absent("ROC and precision-recall curves", "all evaluated rows are of one class")])
    panels = [
        (
            title,
            plots.rates([Curve(*curve) for curve in drawn], names, chance=chance, background=background),
            f"{title} curves, with the areas {_listed(name for name, _, _ in drawn)}.",
        )
        for title, (drawn, background, names, chance) in (("ROC", roc), ("Precision and recall", recall))
    ]
    parts.append(figure("Ranking", note, panels))
    return join(parts)


def _speed(models: Sequence[Measured]) -> Markup:
    batches = _batches(models)
    if not batches:
        return _absent("Accuracy against latency", "no latency was measured")
    one = batches[0]
    timed = [m for m in models if m.latency(one, "median_ms")]
    points, said = [], []
    for m in timed:
        milliseconds = m.latency(one, "median_ms")
        facts = [f"{significant(milliseconds)} ms", percent(m.accuracy)]
        facts += [size(m.model.bytes)] if m.model.bytes else []
        said.append(f"{m.name}: {', '.join(facts)}")
        label = f"{m.name}  {'  ·  '.join(facts)}"
        points.append((label, milliseconds, (m.accuracy, *m.interval), m.model.bytes))
    note = "Up and left is better. A dot’s area is the size on disk; the bar is the 95 % interval of the accuracy."
    figures = figure(
        "Accuracy against latency",
        note,
        [("", plots.accuracy_against_latency(points), f"Accuracy against latency. {'; '.join(said)}.")],
        columns=1,
    )
    rows = []
    for batch in batches:
        cells = [
            f"{significant(value)}{unit}" if (value := m.latency(batch, key)) is not None else "–"
            for m in timed
            for key, unit in (("median_ms", " ms"), ("p99_ms", " ms"), ("rows_per_second", ""))
        ]
        rows.append((f"{int(batch):,}", *cells))
    head = ["Texts at a time", *(("Median", "99th percentile", "Texts a second") * len(timed))]
    groups = [("", 1), *((m.name, 3) for m in timed)]
    return join([figures, table(head, rows, caption="Latency and throughput by batch size", groups=groups)])


def _attention(results: RunResults) -> Markup:
    if not results.attention:
        return _absent("Attention", "no attention was recorded")
    return join(_attention_of(attention) for attention in results.attention)


def _examples(results: RunResults, models: Sequence[Measured]) -> Markup:
    last = models[-1]
    if not results.texts:
        return _absent("Mistakes", "the evaluated rows came without their texts")
    confidence = last.model.probabilities.max(axis=1)
    wrong = np.flatnonzero(~last.right)
    if not len(wrong):
        return tag("p", f"The {last.name} made no mistake on {len(results.y_true):,} rows.")
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")[:_MISTAKES]]
    rows = []
    for row in chosen:
        answers = [_answer(results, m, row) for m in reversed(models)]
        rows.append((_text(results.texts[row]), _label(results.labels[results.y_true[row]]), *answers))
    head = ["Text", "Labelled", *(f"{m.name} said" for m in reversed(models))]
    note = (
        f"The {len(chosen)} of the {last.name}’s {len(wrong):,} mistakes that it was surest of. Look for wrong labels "
        "among them before blaming the model."
    )
    return join(
        [
            tag("p", note, class_="note"),
            table(head, rows, caption=f"The {last.name}’s most confident mistakes", texts=None),
        ]
    )


def _making(results: RunResults) -> Markup:
    parts = []
    if results.facts:
        rows = [(user_text(name), user_text(_value(value), 400)) for name, value in flat(results.facts)]
        parts.append(table(("Fact", "Value"), rows, caption="Facts about the run", texts=None))
    if results.component_seconds:
        total = sum(results.component_seconds.values())
        said = _listed(f"{plain(name)} {duration(value)}" for name, value in results.component_seconds.items())
        svg = plots.seconds_by_component(results.component_seconds)
        note = f"{duration(total)} in all, in the order of the pipeline."
        panels = [("", svg, f"Seconds by component: {said}.")]
        parts.append(figure("Time by component", note, panels, columns=1))
    else:
        parts.append(_absent("Time by component", "no times were recorded"))
    for values, title, head in (
        (results.versions, "Versions", ("Package", "Version")),
        (results.config, "Configuration", ("Setting", "Value")),
    ):
        if values:
            rows = [(user_text(name), user_text(_value(value), 400)) for name, value in flat(values)]
            parts.append(details(f"{title} ({len(rows)})", table(head, rows, caption=title, texts=None)))
        else:
            parts.append(_absent(title, "none was recorded"))
    return join(parts)


# What the sections are made of.


def _tiles(models: Sequence[Measured], batches: Sequence[str]) -> Markup:
    """The three figures that people ask for first."""
    if len(models) < 2:
        return Markup("")
    first, last = models[0], models[-1]
    tiles = [(percent(last.accuracy / max(first.accuracy, 1e-12)), f"of the {first.name}’s accuracy")]
    fewer = _times(first.model.parameters, last.model.parameters)
    if fewer:
        tiles.append((f"{_factor(fewer)} ×", "fewer parameters" if fewer >= 1 else "more parameters"))
    faster = _times(*(m.latency(batches[0], "median_ms") for m in (first, last))) if batches else None
    if faster:
        tiles.append((f"{_factor(faster)} ×", "faster for one text" if faster >= 1 else "slower for one text"))
    drawn = (tag("div", tag("strong", value), tag("span", name), class_="tile") for value, name in tiles)
    return tag("div", *drawn, class_="tiles")


def _asked(results: RunResults) -> Markup:
    if results.answers is None or not len(results.answers):
        return Markup("")
    rows = []
    for sentence, probabilities in zip(results.sentences, results.answers):
        best = int(np.argmax(probabilities))
        rows.append(
            (_text(sentence), join([_label(results.labels[best]), f" {percent(float(probabilities[best]), 0)}"]))
        )
    content = table(("Sentence", "Answer"), rows, caption="What the served model answered", texts=None)
    return tag("div", content, class_="answers")


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
        (_label(true), _label(predicted), f"{number:,}", percent(number / max(last.matrix[place].sum(), 1)))
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
        if len(shown) > _MOST_CLASSES:
            shown = shown[:_MOST_CLASSES]
            note = (
                f"The {_MOST_CLASSES} classes of {len(labels)} that are hardest for the last model; in brackets, rows."
            )
        names, support = [labels[i] for i in shown], [int(models[0].scores.support[i]) for i in shown]
        panels = []
        for title, values in (
            ("F1", [m.scores.f1 for m in models]),
            ("Area under the ROC curve", [m.roc_areas for m in models]),
        ):
            estimates = [Estimates(m.name, v[shown]) for m, v in zip(models, values)]
            svg = plots.by_group(names, support, estimates, fractions=False)
            said = _listed(f"{plain(labels[i], 40)} {values[-1][i]:.3f}" for i in shown[:12])
            panels.append((title, svg, f"{title} by class of the {models[-1].name}, hardest first: {said}."))
        parts.append(figure("Figures by class", note, panels))
    rows = []
    for place, label in enumerate(labels):
        cells = [
            "–" if np.isnan(value) else f"{value:.3f}"
            for m in models
            for value in (m.scores.precision[place], m.scores.recall[place], m.scores.f1[place], m.roc_areas[place])
        ]
        rows.append((_label(label), f"{models[0].scores.support[place]:,}", *cells))
    head = ["Class", "Rows", *(("Precision", "Recall", "F1", "ROC area") * len(models))]
    groups = [("", 2), *((m.name, 4) for m in models)]
    content = table(head, rows, caption="Figures of every class", groups=groups)
    many = len(labels) > _MANY_CLASSES
    parts.append(details(f"Figures of every class ({len(labels)})", content) if many else content)
    return join(parts)


def _by_slice(results: RunResults, models: Sequence[Measured]) -> Markup:
    slices = results.slices or _length_slices(results.texts)
    if not slices:
        return _absent("Accuracy by slice", "the evaluated rows came without slices or texts")
    names = sorted(set(slices), key=_natural)
    slices = np.asarray(slices)
    members = [slices == name for name in names]
    sizes = [int(member.sum()) for member in members]
    estimates = []
    for m in models:
        values = np.array([m.right[member].mean() for member in members])
        ends = [metrics.wilson_interval(int(m.right[member].sum()), int(member.sum())) for member in members]
        estimates.append(Estimates(m.name, values, *np.array(ends).T))
    shown = names[:_MOST_CLASSES]
    svg = plots.by_group(
        shown,
        sizes[: len(shown)],
        [Estimates(e.name, *(v[: len(shown)] for v in (e.values, e.low, e.high))) for e in estimates],
        fractions=True,
        width=1000,
    )
    said = _listed(
        f"{plain(name, 40)}: " + ", ".join(f"{e.name} {percent(e.values[i])}" for e in estimates)
        for i, name in enumerate(shown[:12])
    )
    note = "Dots with 95 % intervals; in brackets, the slice’s rows."
    return figure("Accuracy by slice", note, [("", svg, f"Accuracy by slice. {said}.")], columns=1)


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
    for place in range(min(classes, _MOST_CLASSES)):
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


def _attention_of(attention: Attention) -> Markup:
    pieces, weights = attention.pieces[:_PIECES], attention.weights[:, :, :_PIECES, :_PIECES]
    layers, heads = weights.shape[:2]
    maps = []
    if layers * heads <= 6:
        maps = [(f"layer {k + 1}, head {n + 1}", weights[k, n]) for k in range(layers) for n in range(heads)]
        note = "All heads of all layers."
    else:
        for layer in sorted({0, layers // 2, layers - 1}):
            # The head whose rows are least spread out.
            entropy = -np.sum(weights[layer] * np.log(weights[layer] + 1e-12), axis=(1, 2))
            sharpest = int(np.argmin(entropy))
            maps.append((f"layer {layer + 1}, mean of {heads} heads", weights[layer].mean(axis=0)))
            maps.append((f"layer {layer + 1}, head {sharpest + 1}, the most focused", weights[layer, sharpest]))
        note = f"{len(maps)} views of {layers} layers with {heads} heads each."
    note += " A row shows where the piece on its left looks: the bluer, the more."
    if len(attention.pieces) > _PIECES:
        note += f" The first {_PIECES} of {len(attention.pieces)} pieces."
    panels = []
    for name, values in maps:
        top = [f"{plain(pieces[i], 20)} at {plain(pieces[int(np.argmax(values[i]))], 20)}" for i in range(len(pieces))]
        said = f"Attention map, {name}. Each piece looks most {_listed(top[:12])}."
        panels.append((name, plots.attention_map(values, pieces), said))
    return figure(f"Attention of the {plain(attention.model, 24)}", note, panels, columns=3)


def _epochs(model: ModelResults) -> dict:
    """The history with its stages one after the other: `loss` and `accuracy` as curves, `rows` with all figures."""
    found: dict = {}
    first, stages, rows = 1, [], []
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for stage, history in model.history.items():
        epochs = max((len(values) for values in history.values()), default=0)
        if not epochs:
            continue
        stages.append((plain(stage, 40), first))
        for name, values in history.items():
            kind = _kind(name)
            for offset, value in enumerate(values):
                if kind and np.isfinite(value):
                    points.setdefault(kind, []).append((first + offset, float(value)))
        for offset in range(epochs):
            rows.append({name: values[offset] for name, values in history.items() if offset < len(values)})
        first += epochs
    for (kind, part), values in points.items():
        x, y = np.array(values).T
        found.setdefault(kind, []).append(Curve(part, x, y))
    return {**found, "stages": stages, "rows": rows} if found else {}


def _kind(name: str) -> tuple[str, str] | None:
    """What a figure of Keras's history is, such as ("accuracy", "validation") for "val_accuracy"."""
    part = "validation" if name.startswith("val_") else "training"
    name = name.removeprefix("val_")
    if name == "loss":
        return "loss", part
    return ("accuracy", part) if re.fullmatch(r"(\w+_)?(acc|accuracy)", name) else None


def _best(run: dict) -> tuple[int, float] | None:
    """The last of the best epochs by validation accuracy in the last stage, as `fit` chooses it."""
    for curve in run.get("accuracy", ()):
        if curve.name == "validation":
            last_stage = curve.x >= run["stages"][-1][1]
            x, y = curve.x[last_stage], curve.y[last_stage]
            if len(y):
                place = len(y) - 1 - int(np.argmax(y[::-1]))
                return int(x[place]), float(y[place])
    return None


def _history_rows(run: dict) -> list[list[tuple[str, str]]]:
    names = list(dict.fromkeys(name for row in run["rows"] for name in row))
    return [[(name, f"{row[name]:.4f}" if name in row else "–") for name in names] for row in run["rows"]]


def _comparisons(values: Sequence, compare) -> list[str]:
    """How each further model's figure stands to the first one's."""
    base, texts = values[0], []
    for value in values[1:]:
        if base is None or value is None or compare is None:
            texts.append("")
        elif compare == "difference":
            texts.append(f"{value - base:+.3f}".replace("-", "−"))
        elif compare == "share":
            texts.append(percent(value / base) if base else "")
        else:
            times = _times(base, value)
            texts.append("" if times is None else _ratio(times, *compare))
    return texts


def _times(base: float | None, value: float | None) -> float | None:
    return base / value if base and value else None


def _ratio(times: float, larger: str, smaller: str) -> str:
    """7.6 as "7.6 × fewer", 0.5 as "2 × more"."""
    if f"{times:.2f}" == "1.00":
        return "the same"
    return f"{_factor(times)} × {larger if times > 1 else smaller}"


def _factor(times: float) -> str:
    times = times if times >= 1 else 1 / times
    return significant(times, 2 if times < 9.95 else 3)


def _with_interval(measured: Measured) -> Markup:
    low, high = measured.interval
    return tag("span", percent(measured.accuracy), tag("small", f" ± {100 * (high - low) / 2:.1f}"))


def _titled(measured: Measured) -> Markup:
    description = measured.model.description
    return join([measured.name, tag("small", " ", user_text(description, 60)) if description else ""])


def _answer(results: RunResults, measured: Measured, row: int) -> Markup:
    prediction = measured.predictions[row]
    sure = percent(float(measured.model.probabilities[row, prediction]), 0)
    mark = "right" if measured.right[row] else "wrong"
    return tag("span", _label(results.labels[prediction]), f" {sure}", class_=mark)


def _text(value: str | tuple[str, ...]) -> Markup:
    texts = (value,) if isinstance(value, str) else value
    return join(tag("span", user_text(text, _TEXT), class_="text") for text in texts)


def _label(label: str) -> Markup:
    return user_text(label, 40)


def _value(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return significant(value, 6) if isinstance(value, float) else value


def _amount(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _value(value)


def _absent(title: str, reason: str) -> Markup:
    return tag("p", tag("strong", title), f": left out, as {reason}.", class_="absent")


def _listed(parts) -> str:
    return ", ".join(parts)


def _ordered(results: RunResults):
    usual = ("train", "validation", "test")
    known = [split for split in usual if split in results.class_counts]
    others = [split for split in results.class_counts if split not in usual]
    return [(split, results.class_counts[split]) for split in (*known, *others)]


def _most_frequent(results: RunResults) -> tuple[float, str]:
    counts = np.bincount(results.y_true)
    return float(counts.max() / counts.sum()), results.labels[int(counts.argmax())]


def _batches(models: Sequence[Measured]) -> list[str]:
    """The batch sizes that were timed for all models, or else for any, from the smallest up."""
    timed = [set(m.model.latency) for m in models if m.model.latency]
    common = set.intersection(*timed) or set.union(*timed) if timed else set()
    return sorted(common, key=int)


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
