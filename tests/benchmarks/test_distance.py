"""The table of schemes of distances: what it remembers and what it compares. Its own run takes hours."""

import json

import pytest

import tfmodels
from benchmarks import distance

SCHEMES, TASKS = ("Transformer", "DA-Transformer"), ("R8", "movie reviews")


def test_runs_are_remembered_and_compared_seed_by_seed(tmp_path, monkeypatch, capsys):
    made = []

    def run(scheme, task, seed, quick):
        made.append((scheme, task, seed))
        gain = 0.0 if scheme == SCHEMES[0] else 0.02 if task == "R8" else (-0.01, 0.03)[seed]
        accuracy = 0.7 + 0.1 * seed + gain
        return {"accuracy": accuracy, "macro_f1": accuracy / 2, "parameters": 5, "steps": 9, "seconds": 1.0}

    monkeypatch.setattr(distance, "_run", run)
    arguments = {"scheme": SCHEMES, "task": TASKS, "seed": (0, 1), "output": str(tmp_path)}
    results = distance.measure(**arguments)
    assert made == [(scheme, task, seed) for seed in (0, 1) for task in TASKS for scheme in SCHEMES]
    assert [result.value for result in results] == pytest.approx([2, 1])
    assert (results[1].low, results[1].high) == pytest.approx((-1, 3))
    assert results[1].second == "better with 1 of 2 seeds"
    shown = capsys.readouterr().out
    assert "75.00 ± 7.07" in shown and "77.00 ± 7.07" in shown and "37.50 ± 3.54" in shown
    table = json.loads((tmp_path / "full" / "distance.json").read_text())
    assert [(row["task"], row["scheme"]) for row in table["rows"]] == [(t, s) for t in TASKS for s in SCHEMES]
    assert table["rows"][1]["accuracy"] == pytest.approx([0.77, 0.0707], abs=1e-4)
    # Nothing runs again but what a change of a task makes another run.
    distance.measure(**arguments)
    assert len(made) == 8
    monkeypatch.setitem(distance.TASKS, "R8", distance.TASKS["R8"]._replace(epochs=1))
    distance.measure(**arguments)
    assert made[8:] == [(scheme, "R8", seed) for seed in (0, 1) for scheme in SCHEMES]


def test_schemes_differ_in_what_knows_distances_alone():
    sizes = {**distance._SIZES, "vocabulary_size": 50}
    models = {name: tfmodels.create_model("bert_tiny", **sizes, positions=at) for name, at in distance.SCHEMES.items()}
    shared = {
        name: sorted(tuple(v.shape) for v in model.trainable_variables if "positions" not in v.path)
        for name, model in models.items()
    }
    assert all(shapes == shared["no positions"] for shapes in shared.values())
    assert len({model.count_params() for model in models.values()}) == len(models)
    assert max(task.length for task in distance.TASKS.values()) <= distance._SIZES["max_sequence_length"]


@pytest.mark.data
def test_an_encoder_goes_from_reviews_to_figures(tmp_path):
    results = distance.measure(quick=True, scheme=SCHEMES, task=("movie reviews",), output=str(tmp_path))
    assert len(results) == 1 and abs(results[0].value) < 60
    table = json.loads((tmp_path / "quick" / "distance.json").read_text())
    assert all(row["steps"] == 3 and 0.3 < row["accuracy"][0] < 0.9 for row in table["rows"])
