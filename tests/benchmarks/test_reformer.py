"""Reformer's benchmark in a tiny setting, and the memory of reversible layers, in which depth must not show."""

import pytest
from click.testing import CliRunner

from benchmarks import reformer
from benchmarks.processes import in_a_process


def test_memory_does_not_grow_with_the_depth():
    def peak(computed_back, layers):
        return in_a_process("benchmarks.reformer.step_memory", computed_back, layers, 2048)["peak"]

    shallow, deep, kept = peak(True, 1), peak(True, 4), peak(False, 4)
    # Three layers' gradients of weights are 9 MiB, their activations some 260. What is freed when depends on the
    # threads: up to 78 MiB more were seen.
    assert deep - shallow < (kept - shallow) / 2, (shallow, deep, kept)


def test_errors_are_drawn(tmp_path):
    path = tmp_path / "error.png"
    answer = CliRunner().invoke(reformer.main, ["--only", "error", "--plot", str(path)], catch_exceptions=False)
    assert answer.exit_code == 0 and "reached" in answer.output
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("layers", ("two", "0,2", ""))
def test_depths_are_numbers(layers):
    answer = CliRunner().invoke(reformer.main, ["--only", "memory", "--layers", layers])
    assert answer.exit_code != 0 and "give them as 2,6,12" in answer.output
