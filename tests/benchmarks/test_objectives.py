"""The table of objectives: what it counts, what it remembers and what it makes of it. Its own run takes an hour."""

import json

import keras
import numpy as np
import pytest

import tfmodels
from benchmarks import objectives
from benchmarks.operations import count_operations, training_operations
from tests.support.data import english_prose
from tfmodels.objectives import MaskedLanguageModel, Pretrainer


def test_operations_are_those_of_the_products_forward_and_three_times_in_training():
    B, T, P, D, F, N, V, K = 3, 8, 2, 12, 20, 2, 50, 2
    sizes = {"num_layers": K, "num_heads": N, "hidden_dim": D, "intermediate_dim": F, "vocabulary_size": V}
    backbone = tfmodels.create_model("bert_tiny", max_sequence_length=T, **sizes)
    model = Pretrainer(backbone, [MaskedLanguageModel()])
    ones = np.ones((B, T), "int32")
    inputs = {"token_ids": ones, "segment_ids": 0 * ones, "padding_mask": ones > 0}
    targets = {name: np.ones((B, P), dtype) for name, dtype in (("positions", "int32"), ("labels", "int32"))}
    targets["weights"] = np.ones((B, P), "float32")
    inputs, targets = (
        {name: keras.ops.convert_to_tensor(value) for name, value in part.items()} for part in (inputs, targets)
    )
    layer = B * T * (4 * D * D + 2 * D * F) + 2 * B * T * T * D
    head = B * P * (D * D + D * V)
    forward = 2 * (K * layer + head)
    # The pooler has no loss, and nothing flows back through it.
    assert count_operations(lambda: model.compute_loss(inputs, targets, model(inputs))) == forward + 2 * B * D * D
    assert training_operations(model, inputs, targets) == 3 * forward + 2 * B * D * D


def test_einsums_are_counted_by_their_labels():
    a, b = np.ones((2, 3, 4), "float32"), np.ones((4, 3, 5), "float32")
    assert count_operations(lambda: keras.ops.einsum("bnt,tnh->bnh", a, b)) == 2 * 2 * 3 * 4 * 5


def record(accuracy, loss=None):
    values = {"accuracy": dict(zip(objectives._TASKS, accuracy))}
    if loss is not None:
        values |= {"loss": loss, "tokens": 4_000_000, "parameters": 5}
        values |= {"baselines": {"unigram": 6.0, "bigram": 5.0, "visible bigram": 5.5}}
    return values


def test_runs_are_remembered_and_shown_as_means_and_spreads(tmp_path, monkeypatch, capsys):
    made = []

    def run(name, seed, operations, quick):
        made.append((name, seed, operations))
        is_random = name.endswith("from random weights")
        return record((0.6 + 0.1 * seed, 0.2 if is_random else 0.3), None if is_random else 4.0 + seed)

    monkeypatch.setattr(objectives, "_run", run)
    arguments = {"objective": ("bert",), "seed": (0, 1), "output": str(tmp_path)}
    results = objectives.measure(**arguments)
    names = ("bert from random weights", "bert")
    assert made == [(name, seed, 4e12) for seed in (0, 1) for name in names]
    assert [result.value for result in results] == pytest.approx([0, 10])
    shown = capsys.readouterr().out
    assert "65.0 ± 7.1 → 65.0 ± 7.1" in shown and "20.0 ± 0.0 → 30.0 ± 0.0" in shown and "4.50 ± 0.71" in shown
    assert (tmp_path / "objectives.png").read_bytes().startswith(b"\x89PNG")
    # Nothing runs again but what was asked for otherwise.
    objectives.measure(**arguments)
    assert len(made) == 4
    objectives.measure(**arguments, teraflop=5.0)
    assert len(made) == 8
    # SpanBERT's encoder and vocabulary are BERT's: it starts from the same random weights.
    objectives.measure(**{**arguments, "objective": ("spanbert",)}, teraflop=5.0)
    assert made[8:] == [("spanbert", 0, 5e12), ("spanbert", 1, 5e12)]
    assert json.loads((tmp_path / "bert-1.json").read_text())["settings"]["teraflop"] == 5.0


@pytest.mark.data
def test_an_objective_goes_from_essays_to_accuracies(tmp_path):
    english_prose()
    results = objectives.measure(quick=True, objective=("bert",), seed=(0,), teraflop=0.0001, output=str(tmp_path))
    values = json.loads((tmp_path / "bert-0.json").read_text())
    assert values["steps"] == 2 and set(values["accuracy"]) == set(objectives._TASKS)
    assert values["baselines"]["bigram"] < values["baselines"]["unigram"] < values["loss"]
    assert len(results) == 2
