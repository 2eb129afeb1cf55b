"""What a benchmark found, the table that shows it, and the command line that every benchmark has."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from collections.abc import Callable, Sequence

import click
from rich.console import Console
from rich.table import Table

from benchmarks.pairs import Pairs, peak_memory
from tfmodels.errors import UserError


@dataclasses.dataclass(frozen=True)
class Result:
    """One figure beside its target.

    Attributes:
        what: What was measured.
        value: The figure, mostly a ratio; None where it could not be had, and `note` says why.
        at_least: The least value that reaches the target.
        at_most: The largest value that reaches the target.
        unit: Stands behind the value, such as "s"; ratios have none.
        low: The lowest of the pairs.
        high: The highest of the pairs.
        processor: The same ratio in processor time.
        first: What was timed first, and how long it took.
        second: What it was timed against.
        note: What a reader must know.
    """

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    processor: float | None = None
    first: str = ""
    second: str = ""
    note: str = ""

    @classmethod
    def of_seeds(cls, what: str, points: list[float], **fields) -> Result:
        """The mean of differences between two kinds of runs, one for each seed."""
        return cls(
            what,
            statistics.mean(points),
            low=min(points),
            high=max(points),
            first=f"standard deviation {statistics.stdev(points) if len(points) > 1 else 0.0:.2f}",
            second=f"better with {sum(point > 0 for point in points)} of {len(points)} seeds",
            **fields,
        )

    @classmethod
    def of_pairs(cls, what: str, pairs: Pairs, first: str, second: str, **fields) -> Result:
        """The ratio of two things timed in turn: how many times as long the second one took."""
        return cls(
            what,
            pairs.ratio,
            low=min(pairs.ratios),
            high=max(pairs.ratios),
            processor=pairs.processor_ratio,
            first=f"{first} {_duration(min(pairs.first))}",
            second=f"{second} {_duration(min(pairs.second))}",
            **fields,
        )

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without a value or a target."""
        if self.value is None or (self.at_least is None and self.at_most is None):
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


def command(measure: Callable[..., list[Result]], *options) -> click.Command:
    """Makes a command of a function that measures: it shows a table, or JSON.

    Args:
        measure: Returns results; takes `quick` and the options by name. Its docstring is the command's help.
        *options: Click's option decorators.
    """

    @click.option("--quick", is_flag=True, help="Fewer repetitions of smaller things: minutes become seconds.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    @functools.wraps(measure)
    def run(as_json, **arguments):
        try:
            results = measure(**arguments)
        except UserError as error:
            raise click.ClickException(str(error)) from error
        if as_json:
            click.echo(to_json(results))
        else:
            show(results)

    for option in reversed(options):
        run = option(run)
    return click.command(context_settings={"help_option_names": ["-h", "--help"]})(run)


def to_json(results: Sequence[Result]) -> str:
    """Results and the peak memory of this process, as JSON."""
    rows = [{**dataclasses.asdict(result), "reached": result.reached} for result in results]
    return json.dumps({"results": rows, "peak_memory_gib": round(peak_memory(), 2)}, indent=2)


def from_json(text: str) -> tuple[list[Result], float]:
    """The results and the peak memory that `to_json` wrote."""
    values = json.loads(text)
    rows = [{name: value for name, value in row.items() if name != "reached"} for row in values["results"]]
    return [Result(**row) for row in rows], values["peak_memory_gib"]


def show(results: Sequence[Result], memory: float | None = None, title: str | None = None) -> None:
    """Prints a table of results.

    Args:
        results: What to show.
        memory: The peak memory in GiB; by default this process's.
        title: Stands above the table.
    """
    console = Console(highlight=False)
    if title:
        console.print(title)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("", justify="right")
    paired = any(result.low is not None for result in results)
    if paired:
        table.add_column("lowest", justify="right")
        table.add_column("highest", justify="right")
        table.add_column("processor", justify="right")
    table.add_column("target", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in results:
        pair = [_number(value) for value in (result.low, result.high, result.processor)] if paired else []
        reached = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[result.reached]
        table.add_row(result.what, _number(result.value, result.unit) or "-", *pair, _target(result), reached)
    console.print(table)
    for result in results:
        if result.first:
            console.print(f"{result.what}: {result.first}, {result.second}", style="dim", soft_wrap=True)
    for note in dict.fromkeys(result.note for result in results if result.note):
        console.print(note, soft_wrap=True)
    console.print(f"peak memory {peak_memory() if memory is None else memory:.1f} GiB", style="dim")


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{text} {unit}".rstrip()


def _target(result: Result) -> str:
    if result.at_least is not None:
        return f">= {result.at_least:g} {result.unit}".rstrip()
    return "" if result.at_most is None else f"<= {result.at_most:g} {result.unit}".rstrip()


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
