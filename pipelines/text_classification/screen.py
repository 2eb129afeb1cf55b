"""What the job tells the user: what is in the table, how the models compare, and what to do next.

Texts, labels and paths are the user's: control characters in them must not reach the terminal, and brackets are no
markup of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.reports.markup import plain
from pipelines.text_classification.data import TableReport


def describe_table(console: Console, path: str, report: TableReport) -> None:
    """Prints a table's size and classes, and what is odd about it."""
    sizes = ", ".join(f"{sum(counts.values()):,} {split}" for split, counts in report.counts.items())
    more = f" and {len(report.classes) - 6} more" if len(report.classes) > 6 else ""
    classes = ", ".join(_shown(label, 30) for label in report.classes[:6]) + more
    console.print(
        f"[bold]{report.rows:,} rows[/] ({sizes}) of {len(report.classes)} classes ({classes}) in {_shown(path)}"
    )
    for warning in report.warnings:
        console.print(f"  [yellow]![/] {warning}")


def show_results(
    console: Console, output: Path, name: str, results: Mapping, files: Mapping[str, Path] | None = None
) -> None:
    """Prints the comparison, some answers of the served model, the verdict, and what to do next.

    Args:
        console: The user's console.
        output: The run's folder.
        name: The model's name in requests.
        results: What the job found.
        files: What to look at -> where it is; the default is the report and the figures in the run's folder.
    """
    files = files or {"report": output / "report.html", "every figure": output / "results.json"}
    console.print()
    console.print(_comparison(results))
    if results["answers"] is not None:
        difference = results["answers"]["difference"] or 1e-7
        console.print(f"Asked over gRPC and REST, which agree to {difference:.0e}:")
        labels = results["table"]["classes"]
        for sentence, probabilities in zip(results["sentences"], results["answers"]["probabilities"]):
            best = max(range(len(labels)), key=probabilities.__getitem__)
            text = sentence if isinstance(sentence, str) else " | ".join(sentence)
            console.print(f"  [bold]{_shown(labels[best], 30)}[/] {probabilities[best]:.2f}  {_shown(text, 90)}")
    seconds = results["seconds"]
    console.print(
        f"{seconds['wall']:.0f} s: {seconds['import']:.0f} s importing, {seconds['fit']:.0f} s training, "
        f"{seconds['overhead']:.0f} s for the rest; peak memory {results['peak_memory_gib']:.1f} GiB."
    )
    serving = _shown(output / "serving" / name)
    if results["pushed"] is None:
        console.print("[bold red]The student was not pushed.[/]")
        for reason in results["refused"]:
            console.print(f"  [red]•[/] {_shown(reason)}")
    else:
        console.print(f"[bold green]Pushed version {results['pushed']['version']}[/] to {serving}")
        console.print(f"  serve it:        tfmodels serve {serving} --name {name}")
    console.print(f"  follow training: tensorboard --logdir {_shown(output / 'training')}")
    for what, file in files.items():
        console.print(f"  {what + ':':<16} {_shown(file)}")


def _comparison(results: Mapping) -> Table:
    teacher, student, ratios = results["models"]["teacher"], results["models"]["student"], results["ratios"]
    table = Table(
        "", "teacher", "student", "ratio", title="Teacher and student on the test split", title_justify="left"
    )
    for column in table.columns[1:]:
        column.justify = "right"

    def add(title: str, figure: Callable, form: str, ratio: float | None = None, note: str = ""):
        cells = [form.format(figure(model)) for model in (teacher, student)]
        table.add_row(title, *cells, note.format(ratio) if ratio else "")

    batch = max(teacher["latency"], key=int)
    add("accuracy", lambda m: m["accuracy"], "{:.2%}", ratios["accuracy"], "{:.1%} kept")
    add("macro-F1", lambda m: m["macro_f1"], "{:.2%}", ratios["macro_f1"], "{:.1%} kept")
    if student["auc"] is not None:
        add("AUC", lambda m: m["auc"], "{:.4f}")
    add("parameters", lambda m: m["parameters"], "{:,}", ratios["parameters"], "{:.1f} x fewer")
    add("size on disk", lambda m: m["bytes"] / 1e6, "{:,.1f} MB", ratios["bytes"], "{:.1f} x smaller")
    add("one text", lambda m: m["latency"]["1"]["median_ms"], "{:.2f} ms", ratios["latency"], "{:.1f} x faster")
    title = f"texts a second, {batch} at a time"
    add(title, lambda m: m["latency"][batch]["rows_per_second"], "{:,.0f}", ratios["throughput"], "{:.1f} x more")
    return table


def _shown(value: object, limit: int | None = None) -> str:
    return escape(plain(value, limit))
