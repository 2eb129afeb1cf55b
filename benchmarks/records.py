"""Records of runs: a file each, so that what was stopped goes on from there; and means over the seeds of runs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from tfmodels.files import atomic_file


def remembered(path: Path, settings: dict, run: Callable[[], dict]) -> dict:
    """A run's record, from its file if that was made with the same settings, or from running it.

    Args:
        path: The record's JSON file.
        settings: All that the figures depend on, as plain values.
        run: Gives the figures.
    """
    return read(path, settings) or write(path, settings, run())


def read(path: Path, settings: dict) -> dict | None:
    """The record of a run with these settings, or None if there is none."""
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return record if record["settings"] == _plain(settings) else None


def write(path: Path, settings: dict, figures: dict) -> dict:
    """Writes a record and returns it."""
    record = _plain({"settings": settings, **figures})
    with atomic_file(path) as partial:
        Path(partial).write_text(json.dumps(record, indent=2), encoding="utf-8")
    return record


def spread(values: list[float]) -> tuple[float, float]:
    """The mean and the standard deviation, which is 0 for a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def shown(figure: tuple[float, float], digits: int, scale: float = 100) -> str:
    """A spread as a table has it: in percent, or by another scale."""
    mean, deviation = figure
    return f"{scale * mean:.{digits}f} ± {scale * deviation:.{digits}f}"


def _plain(values: dict) -> dict:
    """As JSON gives it back: lists for tuples, texts for keys."""
    return json.loads(json.dumps(values))
