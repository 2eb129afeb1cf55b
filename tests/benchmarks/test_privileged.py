"""The table of privileged features in a tiny setting: who sees what, and what is made of the figures."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import privileged
from benchmarks.results import from_json
from tfmodels import datasets

WORDS = ["good", "bad", "film", "never", "always", "so", "plot", "actor"]


@pytest.fixture
def reviews(monkeypatch):
    """Reviews of random words with random scores in place of the real ones."""
    random = np.random.default_rng(0)
    splits = ["train"] * 60 + ["validation"] * 5 + ["test"] * 20
    rows = [
        SimpleNamespace(id=i, text=" ".join(random.choice(WORDS, 12)), score=(-1) ** i * 1.5, split=split)
        for i, split in enumerate(splits)
    ]
    scores = {row.id: tuple(random.integers(-4, 5, 8).tolist()) for row in rows}
    monkeypatch.setattr(datasets, "movie_reviews", lambda: rows)
    monkeypatch.setattr(datasets, "movie_ratings", lambda: scores)
    return rows


def test_the_area_and_the_loss_are_those_of_their_definitions():
    random = np.random.default_rng(0)
    labels, logits = random.integers(0, 2, 40), random.integers(-2, 3, (40, 2)).astype("float32")
    score = logits[:, 1] - logits[:, 0]
    pairs = [(a > b) + 0.5 * (a == b) for a in score[labels == 1] for b in score[labels == 0]]
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.mean(np.log(chances[np.arange(40), labels]))
    found = privileged.figures_of(labels, logits)
    assert found == {"area": pytest.approx(np.mean(pairs)), "loss": pytest.approx(expected, rel=1e-6)}


def test_the_teacher_alone_has_what_is_privileged(reviews):
    data = privileged._data("beginnings", 40, quick=False)
    assert [len(part) for part in data.labels] == [40, 40], "the rest of the training rows judge, and the test rows"
    assert data.columns is None
    for own, whole in zip(data.tokens, data.whole):
        assert own.row_lengths().numpy().max() == 10 and whole.row_lengths().numpy().min() == 14
    ((inputs, _),) = data.joint_batches(0).in_order()
    assert inputs["token_ids"].shape[1] == 16 and inputs["teacher/token_ids"].shape == (40, 16)
    assert inputs["padding_mask"].numpy().sum() == 400 and inputs["teacher/padding_mask"].numpy().sum() == 560

    others, own = (privileged._data(name, 40, quick=False) for name in ("other readers", "own score"))
    np.testing.assert_array_equal(others.labels[0], (own.columns[0][:, 0] >= 2).astype(int))
    assert others.columns[0].shape == (40, 2) and own.columns[0].shape == (40, 1)
    assert set(next(iter(others.batches(0, 0).in_order()))[0]) == {"token_ids", "segment_ids", "padding_mask"}
    assert "numbers" in next(iter(others.batches(0, 0, privileged=True).in_order()))[0]


def test_every_student_is_compared_and_the_table_is_shown(reviews, monkeypatch):
    asked = []

    def instead(data, name, seed, epochs, alone):
        asked.append((name, seed, alone))
        methods = ["labels alone", *privileged._OWN_METHODS.get(name, privileged._METHODS)]
        return {method: {"area": 0.7 + 0.01 * seed + 0.02 * (method == "PFD"), "loss": 0.5} for method in methods}

    monkeypatch.setattr(privileged, "_run", instead)
    answer = CliRunner().invoke(privileged.main, ["--seed", "0", "--seed", "2"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert [name for name, *_ in asked] == list(privileged.SETTINGS) * 2
    # The students of the labels alone are shared by the two questions about one reader.
    assert [alone and round(alone["area"], 2) for *_, alone in asked] == [None, None, 0.7, None, None, 0.72]
    assert "73.0 ± 1.4" in answer.output and "71.0 ± 1.4" in answer.output
    answer = CliRunner().invoke(privileged.main, ["--quick", "--json"], catch_exceptions=False)
    values = {r.what.split(",")[0]: r.value for r in from_json(answer.output[answer.output.index("{") :])[0]}
    assert values["own score: PFD over labels alone"] == pytest.approx(2.0)
