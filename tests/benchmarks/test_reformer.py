"""Reformer's benchmark in a tiny setting, and the memory of reversible layers, in which depth must not show."""

import pytest
from click.testing import CliRunner

from benchmarks import reformer
from benchmarks.processes import in_a_process


def test_layers_keep_nothing_for_their_gradients():
    again, kept = (
        in_a_process("benchmarks.reformer.step_memory", computed, 4, 2048)["peak"] for computed in (True, False)
    )
    # 144 and 446 MiB were seen, and up to 78 more: what is freed when depends on the threads. That memory is flat in
    # depth is the benchmark's to show.
    assert again < 0.6 * kept, (again, kept)


def test_errors_are_drawn(tmp_path):
    path = tmp_path / "error.png"
    answer = CliRunner().invoke(reformer.main, ["--only", "error", "--plot", str(path)], catch_exceptions=False)
    assert answer.exit_code == 0 and "reached" in answer.output
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("layers", ("two", "0,2", ""))
def test_depths_are_numbers(layers):
    answer = CliRunner().invoke(reformer.main, ["--only", "memory", "--layers", layers])
    assert answer.exit_code != 0 and "give them as 2,6,12" in answer.output
