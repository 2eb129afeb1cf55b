"""The recomputation's benchmark in a tiny setting: it prints its table, and a step needs less memory."""

from click.testing import CliRunner

from benchmarks import recomputation
from benchmarks.results import from_json


def test_steps_are_compared_in_memory_and_time():
    sizes = ["--model", "bert_tiny", "--layers", "4", "--rows", "16", "--length", "256", "--pairs", "1"]
    answer = CliRunner().invoke(recomputation.main, [*sizes, "--json"], catch_exceptions=False)
    (memory, time), _ = from_json(answer.output)
    assert memory.what == "memory of a step, 4 layers, 16 x 256 tokens" and memory.value > 1.6
    assert time.value > 0 and (memory.at_least, time.at_most) == (3.0, 1.35)
