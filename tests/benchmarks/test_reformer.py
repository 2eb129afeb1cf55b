"""Reformer's benchmark in a tiny setting, and the memory of reversible layers, in which depth must not show."""

import pytest
from click.testing import CliRunner

from benchmarks import reformer


def test_memory_does_not_grow_with_the_depth():
    shallow, deep = (reformer.step_of(True, layers, 2048)["peak"] for layers in (1, 4))
    # Three more layers: 9 MiB of gradients of weights, and some 300 of activations if they were kept. What is freed
    # when depends on the threads: 17 and 78 MiB more were seen.
    assert deep < shallow + 150, (shallow, deep)


def test_errors_are_drawn(tmp_path):
    path = tmp_path / "error.png"
    answer = CliRunner().invoke(reformer.main, ["--only", "error", "--plot", str(path)], catch_exceptions=False)
    assert answer.exit_code == 0 and "reached" in answer.output
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("layers", ("two", "0,2", ""))
def test_depths_are_numbers(layers):
    answer = CliRunner().invoke(reformer.main, ["--only", "memory", "--layers", layers])
    assert answer.exit_code != 0 and "give them as 2,6,12" in answer.output
