"""The section on training: learning curves of every model, its stages one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pipelines.reports import plots
from pipelines.reports.markup import Markup, details, duration, figure, join, percent, plain, table
from pipelines.reports.measured import Measured, absent, listed
from pipelines.reports.plots import Curve
from pipelines.reports.results import ModelResults


def training_section(models: Sequence[Measured]) -> Markup:
    """The learning curves of every model, and its figures by epoch."""
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
            parts.append(absent(f"Learning curves of the {measured.name}", "no training history was recorded"))
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
            drawn = plots.learning_curve(
                curves,
                measured.color,
                stages=stages,
                limits=limits if fractions else None,
                best=best if fractions else None,
                reference=reference,
                fractions=fractions,
            )
            said = (f"{curve.name} from {curve.y[0]:.3f} to {curve.y[-1]:.3f}" for curve in curves)
            description = f"{kind} of the {measured.name} over {len(curves[0].x)} epochs: {listed(said)}."
            panels.append((kind.capitalize(), drawn, description))
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
