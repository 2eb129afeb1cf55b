"""Finished runs side by side: accuracy against parameters, latency and size, as a table and as one picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.reports.markup import plain
from tfmodels.errors import UserError
from tfmodels.files import atomic_file

# Of Okabe and Ito: told apart by all eyes, and in print.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#444444")
_RULES = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#444444",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "#444444",
    "ytick.labelcolor": "#444444",
    "grid.color": "#e6e6e6",
}


class Compared(NamedTuple):
    """One model of a run.

    Attributes:
        name: The run's and the model's name.
        role: "teacher" or "student".
        accuracy: On the test split, a fraction.
        macro_f1: The same.
        rows: Test rows.
        parameters: How many numbers it has.
        megabytes: The export on disk, in 10**6 bytes.
        milliseconds: The median time of one text.
        per_second: Texts a second in batches.
        export: Where it is; a teacher of several runs is one model.
        test: What tells a test split from another.
    """

    name: str
    role: str
    accuracy: float
    macro_f1: float
    rows: int
    parameters: int
    megabytes: float
    milliseconds: float
    per_second: float
    export: str
    test: tuple

    @property
    def error(self) -> float:
        """The standard error of the accuracy."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / max(self.rows, 1))


def compare(runs: Sequence[str], picture: Path, *, as_json: bool = False) -> list[Compared]:
    """Prints the runs' models, best first, and draws them.

    Args:
        runs: Output folders of text classification or distillation.
        picture: The PNG to write.
        as_json: Whether to print a JSON array instead of a table.

    Returns:
        The models.

    Raises:
        UserError: A folder is no finished run.
    """
    models = read_models(runs)
    draw(models, picture)
    console = Console()
    if as_json:
        rows = [{**model._asdict(), "error": model.error} for model in models]
        print(json.dumps([{key: value for key, value in row.items() if key != "test"} for row in rows], indent=2))
        return models
    console.print(_table(models))
    if len({model.test for model in models}) > 1:
        console.print("[yellow]![/] The runs were tested on different rows: compare accuracies of one table only.")
    console.print("Accuracies are given with their standard error; times are those of each run's own machine and hour.")
    console.print(f"picture: {escape(plain(picture))}", soft_wrap=True)
    return models


def read_models(runs: Sequence[str]) -> list[Compared]:
    """The models of runs, most accurate first; see `compare`."""
    files = [file for run in runs for file in _results_files(Path(run))]
    found: dict[tuple, Compared] = {}
    for file in dict.fromkeys(file.resolve() for file in files):
        for model in _models(file):
            found.setdefault((model.export, model.test), model)
    return sorted(_named_apart(list(found.values())), key=lambda model: (-model.accuracy, model.parameters))


def _results_files(run: Path) -> list[Path]:
    if not run.is_dir():
        raise UserError(f"there is no folder {run}: give the output folder of a finished run.")
    files = [run / "results.json"] if (run / "results.json").exists() else []
    files += sorted(run.glob("students/*/results.json"))
    if not files:
        raise UserError(
            f"{run} is no finished run of text_classification or distillation, as it has no results.json: give the "
            "output folder of one."
        )
    return files


def _models(file: Path) -> list[Compared]:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        table, folder = results["table"], file.parent
        student = results["config"]["student"]["preset"]
        teacher = results["config"]["teacher"].get("source", "teacher")
        # A student of a distillation is named by its own folder, within that of the run.
        run = f"{folder.parents[1].name}/{folder.name}" if folder.parent.name == "students" else folder.name
        test = (json.dumps(table["counts"]["test"], sort_keys=True), Path(table["source"]).name)
        return [
            _compared(run, role, {"teacher": teacher, "student": student}[role], figures, test)
            for role, figures in results["models"].items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is of no run of text_classification or distillation ({type(error).__name__}: {error}): give the "
            "output folder of one."
        ) from error


def _compared(run: str, role: str, kind: str, figures: Mapping, test: tuple) -> Compared:
    latency = figures["latency"]
    name = Path(kind).name if kind != role else ""
    return Compared(
        name=" ".join(filter(None, [f"{run}:", role, f"({name})" if name else ""])),
        role=role,
        accuracy=figures["accuracy"],
        macro_f1=figures["macro_f1"],
        rows=figures["rows"],
        parameters=figures["parameters"],
        megabytes=figures["bytes"] / 1e6,
        milliseconds=latency["1"]["median_ms"],
        per_second=latency[max(latency, key=int)]["rows_per_second"],
        export=figures["export"],
        test=test,
    )


def _named_apart(models: list[Compared]) -> list[Compared]:
    """Models of folders of the same name get numbers."""
    seen: dict[str, int] = {}
    named = []
    for model in models:
        seen[model.name] = seen.get(model.name, 0) + 1
        number = seen[model.name]
        named.append(model._replace(name=f"{model.name} #{number}") if number > 1 else model)
    return named


def _table(models: Sequence[Compared]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold", min_width=24)
    for title in ("accuracy", "parameters", "MB", "ms/text", "texts/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for model in models:
        table.add_row(
            escape(plain(model.name, 60)),
            f"{100 * model.accuracy:.1f} ± {100 * model.error:.1f} %",
            f"{model.parameters:,}",
            f"{model.megabytes:,.1f}",
            f"{model.milliseconds:,.2f}",
            f"{model.per_second:,.0f}",
        )
    return table


def draw(models: Sequence[Compared], path: Path) -> None:
    """Draws accuracy against parameters, latency and size as PNG.

    Args:
        models: The models, in the legend's order.
        path: The picture's file.
    """
    panels = (
        ("parameters", "parameters", _count),
        ("milliseconds", "one text, ms", _plain_number),
        ("megabytes", "export, MB", _plain_number),
    )
    with matplotlib.rc_context(_RULES):
        height = 3.6 + 0.24 * math.ceil(len(models) / 2)
        figure = Figure(figsize=(11, height), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 3, sharey=True)
        for axis, (field, title, form) in zip(axes, panels):
            _panel(axis, models, field, title, form)
        axes[0].set_ylabel("test accuracy")
        axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axes[0].yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        for axis in axes[1:]:
            axis.tick_params(axis="y", length=0)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2 if len(models) > 1 else 1, frameon=False)
        title = "Accuracy with its standard error. The line: the most accurate model at each cost."
        figure.suptitle(title, fontsize=11, color="#222222", x=0.01, ha="left")
        with atomic_file(Path(path)) as partial:
            figure.savefig(partial, format="png")


def _panel(axis, models: Sequence[Compared], field: str, title: str, form) -> None:
    front = _front(models, field)
    axis.step(*zip(*front), where="post", color="#bbbbbb", linewidth=1.2, zorder=1)
    for place, model in enumerate(models):
        axis.errorbar(
            getattr(model, field),
            model.accuracy,
            yerr=model.error,
            color=_COLORS[place % len(_COLORS)],
            # A diamond is a teacher. Beyond the palette, hollow marks begin it anew.
            marker="D" if model.role == "teacher" else "o",
            markersize=7,
            markerfacecolor=None if place < len(_COLORS) else "white",
            elinewidth=1.2,
            capsize=0,
            linestyle="none",
            label=f"{plain(model.name, 48)}, {100 * model.accuracy:.1f} %",
            zorder=2,
        )
    axis.set_xscale("log")
    values = [getattr(model, field) for model in models]
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.08, 1.15)
    axis.set_xlim(low / margin, high * margin)
    axis.set_xlabel(title)
    axis.grid(True)
    locator = LogLocator(subs=(1, 2, 5), numticks=12)
    ticks = [tick for tick in locator.tick_values(low / margin, high * margin) if low / margin <= tick <= high * margin]
    if len(ticks) > 5:
        ticks = [tick for tick in ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-6)]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.minorticks_off()


def _front(models: Sequence[Compared], field: str) -> list[tuple[float, float]]:
    """The models that no other beats at the same cost or less: (cost, accuracy), cheapest first."""
    front: list[tuple[float, float]] = []
    for model in sorted(models, key=lambda model: (getattr(model, field), -model.accuracy)):
        if not front or model.accuracy > front[-1][1]:
            front.append((getattr(model, field), model.accuracy))
    return front


def _count(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def _plain_number(value: float) -> str:
    return f"{value:g}"
