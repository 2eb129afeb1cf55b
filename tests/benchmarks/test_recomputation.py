"""The recomputation's benchmark in a tiny setting: it runs and prints its table. Nothing is said about speed."""

from click.testing import CliRunner

from benchmarks import recomputation


def test_steps_are_compared_in_memory_and_time():
    arguments = ["--quick", "--pairs", "1", "--layers", "3", "--length", "64"]
    answer = CliRunner().invoke(recomputation.main, arguments, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert "memory of a step, 3 layers, 8 x 64 tokens" in answer.output and "computed again" in answer.output
    assert ">= 3" in answer.output and "<= 1.35" in answer.output
