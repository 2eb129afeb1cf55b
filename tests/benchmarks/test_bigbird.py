"""The comparison with transformers' BigBird, which runs in another environment; tests/parity runs it itself."""

import importlib.util
import subprocess

import pytest

from benchmarks import bigbird
from benchmarks.results import Result, to_json


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_transformers_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(bigbird, "PARITY", tmp_path / "python")
    (result,) = bigbird.measure()
    assert result.value is None and "./bootstrap parity" in result.note


def test_it_runs_where_transformers_is(monkeypatch, tmp_path):
    (tmp_path / "python").touch()
    commands = []

    def run(command, **settings):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, to_json([Result("forward", 2.0, at_least=1.5)]))

    monkeypatch.setattr(bigbird, "PARITY", tmp_path / "python")
    monkeypatch.setattr(subprocess, "run", run)
    (result,) = bigbird.measure(quick=True)
    assert result.reached and result.value == 2.0
    assert commands[0][0] == str(tmp_path / "python")
    assert commands[0][3:] == ["--json", "--layers=1", "--length=4096", "--pairs=2"]
