"""Two things timed in turn, and the ratio of their times.

On a shared machine an absolute time says little and even two times in a row are not alike. Here the two things run in
turn, first one ahead and then the other, and what counts is the median of the ratios of neighbours. The processor time
of both is compared too: other people's work disturbs it less.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Pairs(NamedTuple):
    """The times of two things, in seconds, one entry a pair.

    Attributes:
        first: Wall time of the first thing.
        second: Wall time of the second thing.
        first_processor: Processor time of the first thing, on all cores, child processes included.
        second_processor: The same of the second thing.
    """

    first: list[float]
    second: list[float]
    first_processor: list[float]
    second_processor: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as long the second thing took: one number a pair."""
        return [second / first for first, second in zip(self.first, self.second)]

    @property
    def ratio(self) -> float:
        """The median of `ratios`."""
        return statistics.median(self.ratios)

    @property
    def processor_ratio(self) -> float:
        """How many times as much processor time the second thing took: the median over the pairs."""
        return statistics.median(b / a for a, b in zip(self.first_processor, self.second_processor))


def in_turn(
    first: Callable[[], object], second: Callable[[], object], pairs: int = 5, warmups: int = 2, repeats: int = 1
) -> Pairs:
    """Times two functions in turn.

    Args:
        first: Takes nothing; must have finished its work when it returns.
        second: The same.
        pairs: How often each is timed.
        warmups: How often each runs before that.
        repeats: How often it runs each time it is timed.

    Returns:
        The times, each divided by `repeats`.
    """
    for function in (first, second):
        for _ in range(warmups):
            function()
    times = Pairs([], [], [], [])
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for which in order:
            wall, processor = _timed((first, second)[which], repeats)
            times[which].append(wall)
            times[2 + which].append(max(processor, 1e-6))
    return times


def peak_memory() -> float:
    """The most memory that this process and the largest of its children have held so far, in GiB."""
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usage) / 2**20  # Linux counts in KiB


def _timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of wall and of processor time for one run."""
    processor, wall = _processor_seconds(), time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - wall) / repeats, (_processor_seconds() - processor) / repeats


def _processor_seconds() -> float:
    # Of this process, finely, and of its finished children, in hundredths.
    return time.process_time() + sum(os.times()[2:4])
