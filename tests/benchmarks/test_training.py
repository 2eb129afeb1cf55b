"""The benchmark of training's settings in a tiny form: it runs and prints its table. Nothing is said about speed."""

from click.testing import CliRunner

from benchmarks import training


def test_bfloat16_and_a_cached_teacher_are_compared():
    options = ["--quick", "--pairs", "1", "--rows", "32"]
    answer = CliRunner().invoke(training.main, options, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert "bfloat16" in answer.output and "asked once" in answer.output
