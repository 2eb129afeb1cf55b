"""The report's sections: from the results of a run to figures, tables and the sentences between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.reports import plots
from pipelines.reports.learning import training_section
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
from pipelines.reports.measured import (
    MOST_CLASSES,
    Measured,
    absent,
    batch_sizes,
    class_name,
    listed,
    most_frequent,
    titled,
    whole_text,
)
from pipelines.reports.quality import confidence_section, confusion_section
from pipelines.reports.results import Attention, RunResults

_MISTAKES = 20
_PIECES = 32


class Section(NamedTuple):
    """A part of the report: its name in addresses and to readers, and its content."""

    id: str
    title: str
    content: Markup


def sections(results: RunResults, models: Sequence[Measured]) -> list[Section]:
    """All sections, in order; one without data says in a line what is missing."""
    return [
        Section("summary", "Summary", _summary(results, models)),
        Section("data", "Data", _data(results)),
        Section("training", "Training", training_section(models)),
        Section("mistakes", "Where it is right and wrong", confusion_section(results, models)),
        Section("confidence", "How far to trust its confidence", confidence_section(results, models)),
        Section("speed", "Speed and size", _speed(models)),
        Section("attention", "What it looks at", _attention(results)),
        Section("examples", "The most confident mistakes", _examples(results, models)),
        Section("making", "How it was made", _making(results)),
    ]


def headline(results: RunResults, models: Sequence[Measured]) -> str:
    """The result in one sentence: the last model against the first."""
    first, last = models[0], models[-1]
    rows = f"{len(results.y_true):,} {results.split} rows"
    if first is last:
        share, label = most_frequent(results)
        return (
            f"The {first.name} is right on {percent(first.accuracy)} of {rows}; always guessing “{plain(label, 40)}” "
            f"would be right on {percent(share)}."
        )
    parts = [f"keeps {percent(last.accuracy / max(first.accuracy, 1e-12))} of the {first.name}’s accuracy on {rows}"]
    fewer = _times(first.model.parameters, last.model.parameters)
    if fewer:
        parts.append(f"with {_ratio(fewer, 'fewer', 'more')} parameters")
    batch = batch_sizes(models)[:1]
    faster = _times(*(model.latency(batch[0], "median_ms") for model in (first, last))) if batch else None
    if faster:
        parts.append(f"answers {_ratio(faster, 'faster', 'slower')}")
    text = f"The {last.name} {parts[0]}"
    for part in parts[1:]:
        text += f" {part}" if part.startswith("with") else f", and {part}"
    return text + "."


def _summary(results: RunResults, models: Sequence[Measured]) -> Markup:
    batches = batch_sizes(models)
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
    head = ["", *(titled(m) for m in models)]
    if len(models) > 1:
        head += [f"{m.name} / {models[0].name}" for m in models[1:]]
    share, label = most_frequent(results)
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
        if len(shown) > MOST_CLASSES:
            total = np.sum(list(splits.values()), axis=0)
            shown = np.argsort(-total, kind="stable")[:MOST_CLASSES]
            note += f" The {MOST_CLASSES} largest of {len(results.labels)} classes."
        largest = max(max(counts) / max(sum(counts), 1) for counts in splits.values())
        names = [results.labels[place] for place in shown]
        panels = [
            (
                f"{plain(split)}, {sum(counts):,} rows",
                plots.class_balance(names, [counts[place] for place in shown], largest),
                f"Bars of the rows of each class in the {split} split: "
                + listed(f"{plain(name, 40)} {counts[place]:,}" for name, place in zip(names[:12], shown)),
            )
            for split, counts in splits.items()
        ]
        parts.append(figure("Class balance", note, panels, columns=3))
    else:
        parts.append(absent("Class balance", "no counts of the classes were recorded"))
    if results.token_lengths and any(len(values) for values in results.token_lengths.values()):
        lengths = np.concatenate([values for values in results.token_lengths.values() if len(values)])
        median, high = np.percentile(lengths, [50, 95])
        drawn = plots.length_histogram(lengths, results.sequence_length)
        note = f"Tokens of all {len(lengths):,} rows, special tokens included."
        description = f"A histogram of tokens: median {median:,.0f}, 95 % under {high:,.0f}, at most {lengths.max():,}."
        parts.append(figure("Length of the texts", note, [("", drawn, description)], columns=1))
    else:
        parts.append(absent("Length of the texts", "no token counts were recorded"))
    if results.warnings:
        parts.append(tag("ul", *(tag("li", user_text(text, 400)) for text in results.warnings), class_="warnings"))
    if results.data:
        rows = [(user_text(name), user_text(_amount(value), 300)) for name, value in flat(results.data)]
        parts.append(table(("Fact", "Value"), rows, caption="Facts about the table", texts=None))
    return join(parts)


def _speed(models: Sequence[Measured]) -> Markup:
    batches = batch_sizes(models)
    if not batches:
        return absent("Accuracy against latency", "no latency was measured")
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
        return absent("Attention", "no attention was recorded")
    return join(_attention_of(attention) for attention in results.attention)


def _examples(results: RunResults, models: Sequence[Measured]) -> Markup:
    last = models[-1]
    if not results.texts:
        return absent("Mistakes", "the evaluated rows came without their texts")
    confidence = last.model.probabilities.max(axis=1)
    wrong = np.flatnonzero(~last.right)
    if not len(wrong):
        return tag("p", f"The {last.name} made no mistake on {len(results.y_true):,} rows.")
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")[:_MISTAKES]]
    rows = []
    for row in chosen:
        answers = [_answer(results, m, row) for m in reversed(models)]
        rows.append((whole_text(results.texts[row]), class_name(results.labels[results.y_true[row]]), *answers))
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
        said = listed(f"{plain(name)} {duration(value)}" for name, value in results.component_seconds.items())
        drawn = plots.seconds_by_component(results.component_seconds)
        note = f"{duration(total)} in all, in the order of the pipeline."
        panels = [("", drawn, f"Seconds by component: {said}.")]
        parts.append(figure("Time by component", note, panels, columns=1))
    else:
        parts.append(absent("Time by component", "no times were recorded"))
    for values, title, head in (
        (results.versions, "Versions", ("Package", "Version")),
        (results.config, "Configuration", ("Setting", "Value")),
    ):
        if values:
            rows = [(user_text(name), user_text(_value(value), 400)) for name, value in flat(values)]
            parts.append(details(f"{title} ({len(rows)})", table(head, rows, caption=title, texts=None)))
        else:
            parts.append(absent(title, "none was recorded"))
    return join(parts)


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
            (
                whole_text(sentence),
                join([class_name(results.labels[best]), f" {percent(float(probabilities[best]), 0)}"]),
            )
        )
    content = table(("Sentence", "Answer"), rows, caption="What the served model answered", texts=None)
    return tag("div", content, class_="answers")


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
        said = f"Attention map, {name}. Each piece looks most {listed(top[:12])}."
        panels.append((name, plots.attention_map(values, pieces), said))
    return figure(f"Attention of the {plain(attention.model, 24)}", note, panels, columns=3)


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


def _answer(results: RunResults, measured: Measured, row: int) -> Markup:
    prediction = measured.predictions[row]
    sure = percent(float(measured.model.probabilities[row, prediction]), 0)
    mark = "right" if measured.right[row] else "wrong"
    return tag("span", class_name(results.labels[prediction]), f" {sure}", class_=mark)


def _value(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return significant(value, 6) if isinstance(value, float) else value


def _amount(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _value(value)


def _ordered(results: RunResults):
    usual = ("train", "validation", "test")
    known = [split for split in usual if split in results.class_counts]
    others = [split for split in results.class_counts if split not in usual]
    return [(split, results.class_counts[split]) for split in (*known, *others)]
