"""The optimisers' benchmark in a tiny setting: it runs and prints its table. Nothing is said about speed."""

from click.testing import CliRunner

from benchmarks import optimizers


def test_lamb_is_compared_with_adamw():
    answer = CliRunner().invoke(optimizers.main, ["--quick", "--pairs", "1"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert "million weights" in answer.output and "LAMB / AdamW" in answer.output and "reached" in answer.output
    assert "memory of a step" in answer.output
