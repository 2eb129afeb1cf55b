"""The table of students: what it remembers, what it compares and what it makes of it."""

import json

import numpy as np
import pytest

from benchmarks import students
from tfmodels import datasets

KINDS, TASKS = ("BERT", "BiLSTM"), ("movie reviews",)


def test_runs_are_remembered_and_shown_as_means_and_spreads(tmp_path, monkeypatch, capsys):
    made = []

    def run(folder, kind, task, way, seed, quick):
        made.append((kind, way, seed))
        students._at(folder, task, "teacher.json").write_text(json.dumps({"accuracy": 0.85}))
        gain = 0.0 if way == "hard labels" else 0.02 if kind == "BERT" else -0.01
        return {"accuracy": 0.7 + 0.1 * seed + gain, "parameters": 5, "seconds": 1.0}

    monkeypatch.setattr(students, "_run", run)
    arguments = {"kind": KINDS, "task": TASKS, "seed": (0, 1), "output": str(tmp_path)}
    results = students.measure(**arguments)
    assert len(made) == 2 * 2 * 3 and made[:3] == [("BERT", way, 0) for way in students._WAYS]
    assert [result.value for result in results] == pytest.approx([2, 2, -1, -1])
    assert [result.reached for result in results] == [True, True, False, False]
    shown = capsys.readouterr().out
    assert "teacher 85.0%" in shown and "75.0 ± 7.1" in shown and "77.0 ± 7.1" in shown
    table = json.loads((tmp_path / "full" / "students.json").read_text())
    assert [row["kind"] for row in table["students"]] == list(KINDS)
    assert table["students"][0]["accuracy"]["teacher"] == pytest.approx([0.77, 0.0707], abs=1e-4)
    # Nothing runs again but what a recipe's change makes another run.
    students.measure(**arguments)
    assert len(made) == 12
    monkeypatch.setitem(students.KINDS, "BERT", students.Kind(preset="bert_tiny", passes=2.0))
    students.measure(**arguments)
    assert made[12:] == [("BERT", way, seed) for seed in (0, 1) for way in students._WAYS]


def test_every_way_of_training_sees_as_many_rows(monkeypatch):
    seen = {}

    def fit(model, rows, targets, batch_size, learning_rate, seed):
        seen.setdefault(way, []).append((len(rows), targets["labels"]))

    class Data:
        rows, all_rows = [None] * 300, list(range(900))
        all_labels = np.array([1] * 300 + [-1] * 600)
        logits = np.zeros((900, 2))
        varied, substituted = np.arange(300, 700), np.arange(700, 900)
        teacher = None

    monkeypatch.setattr(students, "_fit", fit)
    monkeypatch.setattr("tfmodels.distillation.Distiller", lambda *arguments, **settings: None)
    for kind in ("BERT", "TinyBERT"):
        seen.clear()
        for way in students._WAYS:
            shares = (1.0,) if kind == "BERT" or way == "hard labels" else (0.25, 0.75)
            for share in shares:
                students._train(None, Data, [], 1.0, students.KINDS[kind], share, way, seed=0)
        assert {way: sum(count for count, _ in runs) for way, runs in seen.items()} == dict.fromkeys(seen, 1200)
        assert all((labels == 1).all() for way in students._WAYS[:2] for _, labels in seen[way])
        unlabelled = sum((labels == -1).sum() for _, labels in seen["teacher, varied rows"])
        assert 400 < unlabelled < 900, "variations are seen beside the rows"


@pytest.mark.data
def test_a_student_goes_from_reviews_to_accuracies(tmp_path):
    datasets.minilm()
    results = students.measure(quick=True, kind=("BiLSTM",), task=TASKS, output=str(tmp_path))
    assert len(results) == 2 and (tmp_path / "quick" / "movie_reviews-teacher.keras").is_file()
    table = json.loads((tmp_path / "quick" / "students.json").read_text())
    assert 0.3 < table["students"][0]["accuracy"]["hard labels"][0] < 0.9
