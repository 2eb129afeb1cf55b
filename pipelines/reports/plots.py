"""The report's plots. Each takes arrays and names, and returns a `Plot`; see `style` for the look."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from pipelines.reports.markup import duration, plain, significant
from pipelines.reports.style import DEEPEST, HIT, INK, MISS, MUTED, RULE, SERIES, canvas, plot, series

# Beyond so many classes a matrix has no room for numbers, and beyond the second for all classes.
_CELLS_WITH_NUMBERS, _MOST_CELLS = 12, 50
_LABEL = 22
_STEPS = [1, 2, 2.5, 5, 10]
# Bound to the axis at its end, a label stays clear of the plot however wide the reader's font is.
_UPRIGHT = {"rotation": 90, "rotation_mode": "anchor", "ha": "right", "va": "center"}


class Curve(NamedTuple):
    """One line of a plot: its name with its figure, and its points."""

    name: str
    x: np.ndarray
    y: np.ndarray


class Estimates(NamedTuple):
    """A figure for each of several groups, with the ends of its interval."""

    name: str
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@plot
def class_balance(labels: Sequence[str], rows: Sequence[int], largest_share: float):
    """How many rows each class has in one split, on an axis of shares that all splits have in common."""
    figure = canvas(320, 34 + 24 * len(labels))
    axis = figure.add_subplot()
    total = max(sum(rows), 1)
    places = np.arange(len(labels))
    axis.barh(places, np.asarray(rows) / total, height=0.68, color=SERIES[0], alpha=0.75)
    for place, number in zip(places, rows):
        axis.text(number / total, place, f" {number:,}", va="center", fontsize=11).set_in_layout(False)
    axis.set_xlim(0, largest_share * 1.28)
    _name_rows(axis, [plain(label, _LABEL) for label in labels])
    _in_percent(axis.xaxis, 3)
    return figure


@plot
def length_histogram(lengths: np.ndarray, limit: int | None):
    """How many tokens the rows have, and where they are cut."""
    figure = canvas(1000, 260)
    axis = figure.add_subplot()
    longest = int(max(lengths.max(), limit or 0))
    # A single row of many thousand tokens must not flatten the rest.
    right = int(min(longest, max(np.percentile(lengths, 99.5) * 1.3, limit or 0) + 1))
    step = max(1, -(-right // 64))
    edges = np.arange(0, right + step, step)
    axis.hist(np.minimum(lengths, edges[-1] - 0.5), bins=edges, color=SERIES[0], alpha=0.75, rwidth=0.92)
    axis.set_xlim(0, edges[-1] + step / 2)
    axis.set_xlabel(
        "tokens" if longest <= edges[-1] else f"tokens (the last bar is all longer texts, up to {longest:,})"
    )
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_ylabel("rows")
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    marks = [(np.median(lengths), f"half under {np.median(lengths):,.0f}", MUTED)]
    marks.append((np.percentile(lengths, 95), f"95 % under {np.percentile(lengths, 95):,.0f}", MUTED))
    if limit is not None:
        over, at = 100 * np.mean(lengths > limit), 100 * np.mean(lengths == limit)
        # Lengths that were counted after cutting end at the limit.
        share = (
            f"{significant(over, 2)} % are cut" if over else f"{significant(at, 2)} % reach it" if at else "none is cut"
        )
        marks.append((limit, f"limit {limit:,}: {share}", SERIES[1]))
    top = axis.get_ylim()[1]
    axis.set_ylim(0, top * 1.3)
    for step, (value, name, color) in enumerate(marks):
        height = top * (1.25 - 0.1 * step)
        axis.plot([value, value], [0, height], color=color, linewidth=1.2)
        to_left = value > 0.8 * edges[-1]
        axis.annotate(
            name,
            (value, height),
            (-5 if to_left else 5, 0),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va="center",
            color=color,
            fontsize=11,
        )
    return figure


@plot
def learning_curve(
    curves: Sequence[Curve],
    color: str,
    *,
    stages: Sequence[tuple[str, int]] = (),
    limits: tuple[float, float] | None = None,
    best: tuple[int, float] | None = None,
    reference: float | None = None,
    fractions: bool = False,
):
    """A figure by epoch: a thin line of training, a thick one of validation.

    Args:
        curves: Named "training" and "validation".
        color: The model's.
        stages: (name, first epoch) of each stage, where there are several.
        limits: The ends of the y axis; from zero on by default.
        best: The epoch whose weights were kept, and its figure.
        reference: The height of a dashed line to compare with.
        fractions: Whether the figure is a fraction, shown in per cent.
    """
    figure = canvas(480, 290)
    axis = figure.add_subplot()
    last = max(int(curve.x[-1]) for curve in curves)
    labels = []
    starts = [first for _, first in stages] or [1]
    for curve in curves:
        thin = curve.name == "training"
        style = {"linewidth": 1.3, "alpha": 0.65} if thin else {"linewidth": 2.4}
        # Stages learn different things: no line leads from one to the next.
        for first, after in zip(starts, [*starts[1:], np.inf]):
            inside = (curve.x >= first) & (curve.x < after)
            axis.plot(curve.x[inside], curve.y[inside], color, marker="o", markersize=3 if thin else 4.5, **style)
        value = f"{100 * curve.y[-1]:.1f} %" if fractions else significant(curve.y[-1])
        labels.append((curve.y[-1], f"{curve.name} {value}"))
    if best is not None:
        axis.plot(*best, "o", color=INK, markersize=11, markerfacecolor="none", markeredgewidth=1.2)
    if reference is not None:
        axis.axhline(reference, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
    axis.set_xlim(0.5 if last == 1 else 1 - 0.03 * (last - 1), last + max(0.42 * (last - 1), 1.0))
    if limits is None:
        values = np.concatenate([curve.y for curve in curves])
        low = min(0.0, values.min())
        limits = low, values.max() + 0.08 * max(values.max() - low, 1e-6)
    axis.set_ylim(*limits)
    _name_ends(axis, last, labels, color)
    for name, first in stages:
        left = max(first - 0.5, axis.get_xlim()[0])
        if first > 1:
            axis.axvline(left, color=MUTED, linewidth=0.8)
        style = {"textcoords": "offset points", "va": "bottom", "fontsize": 10.5, "color": MUTED}
        axis.annotate(plain(name, 30), (left, axis.get_ylim()[1]), (4 if first > 1 else 0, 3), **style)
    axis.grid(axis="y")
    axis.set_xlabel("epoch")
    # Ticks at epochs only, though the axis goes on under the names of the lines.
    axis.set_xticks([epoch for epoch in MaxNLocator(6, integer=True).tick_values(1, last) if 1 <= epoch <= last])
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    if fractions:
        _in_percent(axis.yaxis, 5)
    axis.spines["left"].set_visible(False)
    return figure


@plot
def confusion(matrix: np.ndarray, labels: Sequence[str]):
    """A confusion matrix with a row for each true class, shaded by the share of its row."""
    classes = len(labels)
    if classes > _MOST_CELLS:
        matrix, labels = _most_confused(matrix, labels)
        classes = len(labels)
    numbers = classes <= _CELLS_WITH_NUMBERS
    side = 400 if numbers else min(900, 120 + 18 * classes)
    figure = canvas(side + 60, side)
    axis = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = np.zeros((classes, classes, 4))
    diagonal = np.eye(classes, dtype=bool)
    # Mistakes are rare: by the square root of their share they can be seen at all.
    shades[diagonal] = [(*HIT, DEEPEST * share) for share in shares[diagonal]]
    shades[~diagonal] = [(*MISS, DEEPEST * np.sqrt(share)) for share in shares[~diagonal]]
    axis.imshow(shades, interpolation="none")
    if numbers:
        for row, column in np.ndindex(classes, classes):
            # In small matrices there is room for the share as well.
            share = f"\n{100 * shares[row, column]:.0f} %" if classes <= 5 else ""
            axis.text(
                column,
                row,
                f"{matrix[row, column]:,}{share}",
                ha="center",
                va="center",
                fontsize=(14 if classes <= 3 else 12 if classes <= 5 else 10),
                color=INK,
            )
    size = 12 if classes <= _CELLS_WITH_NUMBERS else 9
    short = [plain(label, _LABEL if classes > 2 else 30) for label in labels]
    axis.set_xticks(range(classes), short, fontsize=size, **({} if sum(map(len, short)) < 40 else _UPRIGHT))
    axis.set_yticks(range(classes), short, fontsize=size)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.tick_params(length=0, labelcolor=INK)
    axis.spines[:].set_visible(False)
    return figure


def _most_confused(matrix: np.ndarray, labels: Sequence[str], kept: int = 30) -> tuple[np.ndarray, list[str]]:
    """The classes with the most mistakes; all others as one."""
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diagonal(matrix)
    chosen = np.sort(np.argsort(-mistakes, kind="stable")[:kept])
    groups = np.full(len(labels), kept)
    groups[chosen] = np.arange(kept)
    summed = np.zeros((kept + 1, kept + 1), matrix.dtype)
    np.add.at(summed, (groups[:, np.newaxis], groups[np.newaxis]), matrix)
    return summed, [*(labels[place] for place in chosen), f"{len(labels) - kept} others"]


@plot
def reliability_diagram(diagram, color: str, least: float):
    """Accuracy against confidence in bins, with the gap to the diagonal, above the distribution of confidence.

    Args:
        diagram: A `tfmodels.metrics.Reliability`.
        color: The model's.
        least: The lowest confidence that a predicted class can have, 1 / C.
    """
    figure = canvas(480, 430)
    axis, below = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 1])
    filled = diagram.counts > 0
    x, y, counts = diagram.confidence[filled], diagram.accuracy[filled], diagram.counts[filled]
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axis.vlines(x, np.minimum(x, y), np.maximum(x, y), color=color, linewidth=1.2, alpha=0.6)
    axis.scatter(x, y, s=24 + 230 * counts / counts.max(), color=color, alpha=0.85, linewidths=0)
    left = max(0.0, np.floor(20 * min(least, x.min()) - 0.5) / 20)
    bottom = max(0.0, min(np.floor(10 * left) / 10, np.floor(10 * y.min()) / 10))
    axis.set_xlim(left, 1.02)
    axis.set_ylim(bottom - 0.02, 1.04)
    gap = 0.07 * (1 - left)
    note = {"fontsize": 11, "color": MUTED, "va": "center"}
    axis.text(left + gap, 1 - (1 - bottom) * 0.03, "above the line: too modest", ha="left", **note)
    axis.text(1 - gap * 0.2, bottom + (1 - bottom) * 0.05, "below the line: too sure", ha="right", **note)
    axis.set_ylabel("fraction that is right")
    _in_percent(axis.yaxis, 5)
    axis.grid()
    width = diagram.edges[1]
    below.bar(diagram.edges[:-1], diagram.counts, width * 0.92, align="edge", color=color, alpha=0.55)
    below.set_ylabel("rows")
    below.set_xlabel("confidence in the predicted class")
    _in_percent(below.xaxis, 6)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for part in (axis, below):
        part.spines["left"].set_visible(False)
    return figure


@plot
def rates(curves: Sequence[Curve], names: tuple[str, str], *, chance: float | None, background: Sequence[Curve] = ()):
    """ROC or precision-recall curves in the unit square.

    Args:
        curves: One for each model, named with its area.
        names: Of the axes.
        chance: The precision of guessing, for precision-recall curves; None draws the diagonal of the ROC.
        background: Thin lines behind, such as the last model's single classes.
    """
    figure = canvas(480, 420)
    axis = figure.add_subplot()
    guess = ([0, 1], [0, 1]) if chance is None else ([0, 1], [chance, chance])
    axis.plot(*guess, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for curve in background:
        axis.plot(*_thin(curve.x, curve.y, 60), color=series(len(curves) - 1), linewidth=0.7, alpha=0.35)
    for place, curve in enumerate(curves):
        axis.plot(*_thin(curve.x, curve.y), color=series(place), linewidth=2.2, alpha=0.9)
    # Where good curves leave room: below a ROC, and at the left of precision and recall.
    left, top = (0.42, 0.34) if chance is None else (0.05, 0.34)
    for place, curve in enumerate(curves):
        axis.text(left, top - 0.075 * place, curve.name, color=series(place), fontsize=13, fontweight="bold")
    if chance is None:
        axis.text(0.30, 0.255, "guessing", color=MUTED, fontsize=11, rotation=45, ha="center", va="center")
    else:
        axis.text(0.99, chance + 0.015, "guessing", color=MUTED, fontsize=11, ha="right")
    axis.set_xlim(-0.01, 1.01)
    axis.set_ylim(-0.01, 1.02)
    axis.set_xlabel(names[0])
    axis.set_ylabel(names[1])
    axis.grid()
    for side in (axis.xaxis, axis.yaxis):
        _in_percent(side, 5)
    axis.spines[:].set_visible(False)
    return figure


@plot
def by_group(
    groups: Sequence[str], sizes: Sequence[int], estimates: Sequence[Estimates], *, fractions: bool, width: float = 480
):
    """A figure of several models for each group, as dots on a common axis, with intervals where they are given.

    Args:
        groups: The groups' names.
        sizes: The groups' rows.
        estimates: One for each model.
        fractions: Whether the figure is a fraction, shown in per cent.
        width: Of the plot.
    """
    row = 34 if len(groups) <= 8 else 22 if len(groups) <= 20 else 17
    figure = canvas(width, 54 + row * len(groups))
    axis = figure.add_subplot()
    places = np.arange(len(groups))
    spread = 0.22 if estimates[0].low is not None else 0.0
    values = np.concatenate([e.values if e.low is None else e.low for e in estimates])
    values = values[np.isfinite(values)]
    least = values.min() if len(values) else 0.0
    for place, estimate in enumerate(estimates):
        offset = spread * (2 * place - len(estimates) + 1) / max(len(estimates) - 1, 1)
        color = series(place)
        if estimate.low is not None:
            axis.hlines(places + offset, estimate.low, estimate.high, color=color, linewidth=1.6, alpha=0.5)
        axis.plot(estimate.values, places + offset, "o", color=color, markersize=6.5, alpha=0.95)
    left = max(0.0, np.floor((least - 0.02) * 20) / 20)
    axis.set_xlim(left, 1.0 + 0.01 * (1 - left))
    _name_rows(axis, [f"{plain(group, _LABEL)}  ({rows:,})" for group, rows in zip(groups, sizes)])
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.grid(axis="x")
    axis.hlines(places, left, 1, color=RULE, linewidth=0.6, zorder=0)
    if fractions:
        _in_percent(axis.xaxis, 5)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    return _key(figure, axis, [(e.name, series(i)) for i, e in enumerate(estimates)])


@plot
def accuracy_against_latency(points: Sequence[tuple[str, float, tuple[float, float, float], float | None]]):
    """Models by the time of one answer and their accuracy; the area of a dot is the model's size on disk.

    Args:
        points: (name, milliseconds, (accuracy, its low and its high end), bytes or None).
    """
    figure = canvas(1000, 300)
    axis = figure.add_subplot()
    times = np.array([point[1] for point in points])
    largest = max((point[3] or 0 for point in points), default=0) or 1
    axis.set_xscale("log")
    axis.set_xlim(times.min() / 1.9, times.max() * 4.5)
    for place, (name, milliseconds, (value, low, high), size) in enumerate(points):
        color = series(place)
        axis.vlines(milliseconds, low, high, color=color, linewidth=1.4, alpha=0.6)
        area = 60 if size is None else max(900 * size / largest, 25)
        axis.scatter(milliseconds, value, s=area, color=color, alpha=0.85, linewidths=0)
        aside = (np.sqrt(area) / 2 + 8, 0)
        style = {"textcoords": "offset points", "va": "center", "color": color, "fontsize": 13, "fontweight": "bold"}
        axis.annotate(name, (milliseconds, value), aside, **style)
    axis.set_xlabel("milliseconds for one text (median; each step of the axis multiplies)")
    axis.set_ylabel("accuracy")
    _in_percent(axis.yaxis, 5)
    low, high = axis.get_xlim()
    axis.set_xticks(
        [n * 10.0**e for e in range(-3, 6) for n in (1, 2, 5) if low <= n * 10.0**e <= high],
    )
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
    axis.grid()
    axis.spines["left"].set_visible(False)
    return figure


@plot
def attention_map(weights: np.ndarray, pieces: Sequence[str]):
    """Where each piece looks: a row of float[T, T] for each, adding up to one."""
    length, side = len(pieces), 330
    size = 10 if length <= 20 else 7.5
    names = [plain(piece, 12) for piece in pieces]
    margin = max(0.62 * size * _width(name) for name in names) + 6
    # Placed by hand and with texts for ticks, which take Matplotlib most of its time.
    figure = canvas(side, side)
    figure.set_layout_engine("none")
    axis = figure.add_axes((margin / side, margin / side, 1 - (margin + 2) / side, 1 - (margin + 2) / side))
    shades = np.empty((length, length, 4))
    shades[..., :3] = HIT
    shades[..., 3] = np.clip(weights / max(weights.max(), 0.25), 0, 1)
    axis.imshow(shades, interpolation="none", aspect="auto")
    gap = 3 * length / (side - margin)
    for place, name in enumerate(names):
        axis.text(-0.5 - gap, place, name, ha="right", va="center", fontsize=size)
        axis.text(place, length - 0.5 + gap, name, fontsize=size, **_UPRIGHT)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    return figure


@plot
def seconds_by_component(seconds: Mapping[str, float]):
    """How long each component took, in the order of the pipeline."""
    names, values = list(seconds), np.array(list(seconds.values()), float)
    figure = canvas(1000, 20 + 22 * len(names))
    axis = figure.add_subplot()
    axis.barh(range(len(names)), values, height=0.66, color=SERIES[0], alpha=0.75)
    for place, value in enumerate(values):
        axis.text(value, place, f" {duration(value)}", va="center", fontsize=11).set_in_layout(False)
    axis.set_xlim(0, max(values.max(), 1e-9) * 1.12)
    _name_rows(axis, names)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    return figure


def _width(text: str) -> float:
    """The width of a text in letters; Chinese, Japanese and Korean ones and emoji are wider."""
    return sum(1.7 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text)


def _in_percent(axis, ticks: int) -> None:
    axis.set_major_locator(MaxNLocator(ticks, steps=_STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):.4g} %"))


def _name_rows(axis, names: Sequence[str]) -> None:
    """Names beside the rows of a chart that is read from the top."""
    size = 12 if len(names) <= 20 else 10
    axis.set_yticks(range(len(names)), [plain(name, 40) for name in names], fontsize=size)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.spines["left"].set_visible(False)


def _name_ends(axis, x: float, labels: Sequence[tuple[float, str]], color: str) -> None:
    """Texts at the right ends of lines, moved apart where they would meet."""
    low, high = axis.get_ylim()
    heights = [value for value, _ in labels]
    order = np.argsort(heights)
    least = 0.075 * (high - low)
    for before, after in itertools.pairwise(order):
        heights[after] = max(heights[after], heights[before] + least)
    excess = max(0.0, max(heights) - (high - least / 2))
    style = {"textcoords": "offset points", "va": "center", "color": color, "fontsize": 11.5}
    for height, (_, text) in zip(heights, labels):
        axis.annotate(text, (x, height - excess), (9, 0), **style)


def _key(figure, axis, names: Sequence[tuple[str, str]]):
    """The series' names in their colours above the chart."""
    along = 0.0
    style = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "fontweight": "bold"}
    for name, color in names:
        text = f"● {plain(name, 24)}"
        axis.annotate(text, (0, 1), (along, 4), color=color, **style)
        along += 8.5 * len(text) + 14
    return figure


def _thin(x: np.ndarray, y: np.ndarray, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """At most so many of a curve's points, evenly along its length; its corners are closer than a pixel."""
    if len(x) <= points:
        return x, y
    along = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], points)))
    return x[chosen], y[chosen]
