"""Recall over a distance and learning from little: what the runs remember and show, and one that learns."""

import json

import numpy as np
import pytest

from benchmarks import little_data, longrange
from tfmodels.errors import UserError
from tfmodels.models import FullAttention, LocalAttention

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16}


def test_a_row_has_one_word_in_its_first_quarter_alone_and_asks_for_it_at_the_end():
    inputs, words = longrange.rows(50, 24, seed=0)
    asked = inputs["token_ids"] - longrange.ASKS - 1
    is_word = (asked >= 0) & (asked < longrange.WORDS)
    assert is_word.any(axis=1).all() and is_word.sum(axis=1).max() <= longrange.COPIES and not is_word[:, 6:].any()
    assert (np.where(is_word, asked, words[:, None]) == words[:, None]).all()
    assert set(words) == set(range(longrange.WORDS))
    assert (inputs["token_ids"][:, -1] == longrange.ASKS).all() and inputs["token_ids"].max() < longrange.VOCABULARY
    assert (longrange.rows(50, 24, seed=1)[1] != words).any()


def test_full_attention_recalls_what_attention_to_neighbours_can_only_guess():
    figures = {
        kind: longrange.recall(kind, 0, length=32, steps=60, sizes=SIZES)
        for kind in (FullAttention(), LocalAttention(chunk_length=4))
    }
    full, local = figures.values()
    assert full["accuracy"] > 0.9
    assert local["accuracy"] < 1 / longrange.WORDS + 0.06  # four standard errors of guessing
    assert full["parameters"] == local["parameters"]


def test_recall_is_remembered_and_shown_by_kind(tmp_path, monkeypatch, capsys):
    made = []

    def recall(kind, seed, length, steps):
        made.append((type(kind).__name__, seed, length))
        right = isinstance(kind, FullAttention)
        return {"accuracy": 0.9 + 0.1 * seed if right else 0.5, "parameters": 10, "seconds": 2.0}

    monkeypatch.setattr(longrange, "recall", recall)
    arguments = {"kind": ("FullAttention", "LocalAttention"), "seed": (0, 1), "length": 64, "output": str(tmp_path)}
    results = longrange.measure(**arguments)
    assert made == [("FullAttention", 0, 64), ("FullAttention", 1, 64), *[("LocalAttention", s, 64) for s in (0, 1)]]
    shown = capsys.readouterr().out
    assert "guessing" in shown and "12.5" in shown and "95.0" in shown and "90.0 100.0" in shown
    # What sees neighbours alone is held to guessing.
    assert [result.reached for result in results] == [True, False]
    assert results[0].value == pytest.approx(0.95)
    longrange.measure(**arguments)
    assert len(made) == 4
    longrange.measure(**{**arguments, "steps": 7})
    assert len(made) == 8
    with pytest.raises(UserError, match="no kind of attention 'FulAttention'"):
        longrange.measure(kind=("FulAttention",))


def test_accuracies_on_little_data_are_compared_seed_by_seed(tmp_path, monkeypatch, capsys):
    accuracies = {"FullAttention": 0.60, "LowRank": 0.65, "LocalAttention": 0.55}
    monkeypatch.setattr(
        little_data, "_accuracy", lambda kind, count, seed, steps, pieces: accuracies[type(kind).__name__] + 0.01 * seed
    )
    results = little_data.measure(rows=(500,), seed=(0, 1, 2), output=str(tmp_path))
    assert [result.value for result in results] == pytest.approx([5.0, -5.0])
    shown = capsys.readouterr().out
    assert "66.0 ± 0.6" in shown and "61.0 ± 0.6" in shown


@pytest.mark.data
def test_little_data_goes_from_reviews_to_an_accuracy(tmp_path, monkeypatch):
    monkeypatch.setattr(little_data, "_KINDS", {"full attention": FullAttention()})
    assert little_data.measure(quick=True, rows=(40,), output=str(tmp_path)) == []
    (record,) = tmp_path.glob("*.json")
    assert 0.3 < json.loads(record.read_text())["accuracy"] < 0.7
