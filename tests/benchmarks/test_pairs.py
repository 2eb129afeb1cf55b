"""Timing in turn, and the ratios of neighbours."""

import subprocess
import sys

from benchmarks.pairs import Pairs, in_turn, peak_memory


def test_two_things_run_in_turn_and_each_goes_first_as_often():
    runs = []
    in_turn(lambda: runs.append("a"), lambda: runs.append("b"), pairs=4, warmups=1, repeats=2)
    assert "".join(runs) == "ab" + "aabb" + "bbaa" + "aabb" + "bbaa"


def test_every_pair_gives_one_time_of_each():
    times = in_turn(lambda: None, lambda: None, pairs=3)
    assert [len(part) for part in times] == [3, 3, 3, 3]
    assert all(seconds > 0 for part in times for seconds in part)


def test_ratios_are_of_neighbours_and_the_median_counts():
    times = Pairs(
        first=[1.0, 2.0, 10.0], second=[2.0, 2.0, 90.0], first_processor=[1.0] * 3, second_processor=[3.0] * 3
    )
    assert times.ratios == [2.0, 1.0, 9.0]
    assert times.ratio == 2.0
    assert times.processor_ratio == 3.0


def test_the_processor_time_of_child_processes_counts():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    times = in_turn(lambda: None, lambda: subprocess.run([sys.executable, "-c", burn], check=True), pairs=1, warmups=0)
    assert times.second_processor[0] > 0.2


def test_the_longer_thing_has_the_larger_ratio():
    times = in_turn(lambda: sum(range(1000)), lambda: sum(range(1_000_000)), pairs=3)
    assert times.ratio > 1


def test_peak_memory_is_of_this_process_at_least():
    held = bytearray(2**28)  # a quarter of a GiB
    held[::4096] = b"x" * len(held[::4096])
    assert 0.25 < peak_memory() < 1024
