"""Results beside their targets: as a table, as JSON, and the command that gives either."""

import json

import click
import pytest
from click.testing import CliRunner

from benchmarks.pairs import Pairs
from benchmarks.results import Result, command, from_json, show, to_json
from tfmodels.errors import UserError

TIMES = Pairs([1.0, 1.0], [1.5, 2.5], [0.1, 0.1], [0.3, 0.3])
PAIRED = Result.of_pairs("b against a", TIMES, "a", "b", at_least=1.0)


@pytest.mark.parametrize(
    "value, target, reached",
    [
        (2.0, {"at_least": 2.0}, True),
        (1.9, {"at_least": 2.0}, False),
        (1.1, {"at_most": 1.1}, True),
        (1.2, {"at_most": 1.1}, False),
        (1.2, {}, None),
        (None, {"at_least": 1.0}, None),
    ],
)
def test_a_target_is_reached_missed_or_absent(value, target, reached):
    assert Result("a figure", value, **target).reached is reached


def test_pairs_become_a_ratio_with_its_range_and_both_times():
    assert (PAIRED.value, PAIRED.low, PAIRED.high, PAIRED.processor) == (2.0, 1.5, 2.5, pytest.approx(3.0))
    assert (PAIRED.first, PAIRED.second) == ("a 1.00 s", "b 1.50 s")


def test_json_holds_all_and_reads_back():
    text = to_json([PAIRED, Result("nothing", None, note="why")])
    assert [row["reached"] for row in json.loads(text)["results"]] == [True, None]
    results, memory = from_json(text)
    assert results == [PAIRED, Result("nothing", None, note="why")]
    assert memory > 0


def test_the_table_shows_values_targets_and_notes(capsys):
    show([PAIRED, Result("size", 7.0, at_most=6.0, unit="GiB", note="of the last run")], memory=1.5, title="figures")
    shown = capsys.readouterr().out
    for part in ("figures", "2.000", "1.500", "2.500", ">= 1", "reached", "7.000 GiB", "<= 6 GiB", "missed"):
        assert part in shown
    assert "of the last run" in shown and "peak memory 1.5 GiB" in shown


def test_a_command_gives_a_table_or_json_and_passes_its_options():
    def measure(quick=False, size=1):
        """Measures a size."""
        return [Result("size", float(size * (1 if quick else 10)))]

    made = command(measure, click.option("--size", default=1))
    assert "Measures a size." in CliRunner().invoke(made, ["--help"]).output
    assert "40.0" in CliRunner().invoke(made, ["--size", "4"]).output
    answer = CliRunner().invoke(made, ["--size", "4", "--quick", "--json"])
    assert json.loads(answer.output)["results"][0]["value"] == 4.0


def test_a_mistake_of_the_users_is_one_sentence():
    def measure(quick=False):
        raise UserError("give both.")

    answer = CliRunner().invoke(command(measure), [])
    assert answer.exit_code != 0
    assert answer.output.strip() == "Error: give both."
