"""Timing two things side by side: in turn, so that a machine whose speed drifts is the same for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Ratio(NamedTuple):
    """How many times as long the second thing took as the first: pair by pair, then median, least and most.

    Attributes:
        name: What was compared.
        median: The median of the pairs' ratios.
        least: The smallest of them.
        most: The largest of them.
        target: The least median that is wanted, or None.
    """

    name: str
    median: float
    least: float
    most: float
    target: float | None = None


def compare(name: str, ours: Callable, other: Callable, repeats: int, target: float | None = None) -> Ratio:
    """Runs two callables in turn, once unmeasured and then `repeats` times.

    Args:
        name: What is compared.
        ours: Runs our side once.
        other: Runs the other side once.
        repeats: The number of measured pairs.
        target: The least median that is wanted.

    Returns:
        The other side's time as a multiple of ours.
    """
    ours(), other()
    ratios = [1 / _seconds(ours) * _seconds(other) for _ in range(repeats)]
    return Ratio(name, statistics.median(ratios), min(ratios), max(ratios), target)


def show(title: str, ratios: list[Ratio]) -> None:
    """Prints ratios as a table."""
    table = Table("", "times as fast", "least to most", "target", title=title, title_justify="left")
    for ratio in ratios:
        wanted = "" if ratio.target is None else f"{ratio.target:g} {'✓' if ratio.median >= ratio.target else '✗'}"
        table.add_row(ratio.name, f"{ratio.median:.2f}", f"{ratio.least:.2f} to {ratio.most:.2f}", wanted)
    Console().print(table)


def _seconds(run: Callable) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
