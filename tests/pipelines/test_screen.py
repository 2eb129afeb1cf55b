"""What a terminal is told, whatever the user's texts hold."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.text_classification.data import TableReport
from pipelines.text_classification.screen import describe_table, show_results

ODD = "[/bold] \x1b]0;owned\x07 \u202e]"


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), width=200, highlight=False)


def results(pushed):
    latency = {"1": {"median_ms": 8.0}, "32": {"rows_per_second": 100.0}}
    model = {"accuracy": 0.5, "macro_f1": 0.4, "auc": None, "parameters": 1000, "bytes": 5e6, "latency": latency}
    return {
        "table": {"classes": [ODD, "other"]},
        "models": {"teacher": model, "student": model},
        "ratios": {"accuracy": 1, "macro_f1": None, "parameters": 2, "bytes": 3, "latency": 4, "throughput": 5},
        "answers": {"difference": 0.0, "probabilities": [[0.75, 0.25]] * 2} if pushed else None,
        "sentences": [ODD, [ODD, "second"]],
        "pushed": {"version": 7} if pushed else None,
        "refused": [] if pushed else [f"Against the teacher: {ODD}"],
        "seconds": {"wall": 9, "import": 1, "fit": 2, "overhead": 6},
        "peak_memory_gib": 1.5,
    }


def check_harmless(text):
    assert "[/bold]" in text  # shown as it is, not taken for markup
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text


def test_a_pushed_model_is_shown_with_what_to_do_next(screen):
    show_results(screen, Path("runs/x"), "films", results(pushed=True))
    text = screen.file.getvalue()
    for part in ("50.00%", "2.0 x fewer", "4.0 x faster", "Pushed version 7", "tfmodels serve runs/x/serving/films"):
        assert part in text
    check_harmless(text)


def test_a_refused_model_is_shown_with_the_reasons(screen):
    show_results(screen, Path("runs/x"), "films", results(pushed=False))
    text = screen.file.getvalue()
    assert "was not pushed" in text and "Against the teacher" in text and "tfmodels serve" not in text
    check_harmless(text)


def test_a_table_is_described_with_its_oddities(screen):
    counts = {"train": {ODD: 8, "b": 4}, "validation": {ODD: 1, "b": 1}, "test": {ODD: 1, "b": 1}}
    classes = (ODD, *"bcdefgh")
    report = TableReport("t.csv", "csv", False, 16, classes, counts, {}, (), 3, 2, 1, 0)
    describe_table(screen, f"folder/{ODD}.csv", report)
    text = screen.file.getvalue()
    assert "16 rows (12 train, 2 validation, 2 test) of 8 classes" in text and "and 2 more" in text
    assert "3 rows repeat" in text and "2 texts stand under more than one label" in text
    check_harmless(text)
