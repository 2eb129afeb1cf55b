"""Every benchmark in a tiny setting: it runs and prints its table. Nothing is said about speed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import benchmarks.__main__ as all_benchmarks
from benchmarks import encoder, imports, pretraining, run, student
from benchmarks.results import Result, to_json
from serving import export_savedmodel
from tests.models.tiny import tiny
from tests.support.data import english_prose
from tfmodels.errors import UserError
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor, WordPieceTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "."]


def table(command, *arguments):
    """What a benchmark prints."""
    answer = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_encoder_is_compared_at_equal_outputs(precision):
    settings = ["--model", "bert_tiny", "--layers", "1", "--pairs", "1", "--reviews", "0", "--precision", precision]
    shown = table(encoder.main, *settings)
    for what in ("forward", "training step"):
        assert f"{what}, 8 x 128 tokens" in shown
    assert ">= 1" in shown and "KerasHub" in shown


@pytest.mark.data
def test_the_encoder_is_compared_on_real_lengths():
    results = encoder.measure(model="bert_tiny", layers=1, precision=("float32",), pairs=1, reviews=3)
    assert [result.at_least for result in results] == [1.0, 2.5, None, 1.0]
    assert "3 reviews, KerasHub at 512" in results[1].what and "KerasHub at 128" in results[2].what


def test_unequal_outputs_are_not_compared(monkeypatch):
    models = encoder._models

    def changed(*arguments):
        ours, theirs = models(*arguments)
        kernel = theirs.weights[-2]
        kernel.assign(kernel + 0.1)
        return ours, theirs

    monkeypatch.setattr(encoder, "_models", changed)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        encoder.measure(model="bert_tiny", layers=1, precision=("float32",), pairs=1, reviews=0)


def test_imports_are_compared_with_those_of_keras(monkeypatch):
    statements = []
    monkeypatch.setattr(imports, "_python", statements.append)
    shown = table(imports.main, "--pairs", "2")
    assert shown.count("<= 1.1") == 2
    # A warm-up and two pairs, for each of two statements.
    assert statements.count("import keras") == 6
    assert statements.count("import tfmodels") == 3


def test_an_import_is_timed_in_a_process_of_its_own():
    imports._python("import tfmodels; assert 'keras' not in __import__('sys').modules")
    with pytest.raises(Exception, match="returned non-zero"):
        imports._python("import there_is_no_such_module")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A teacher and a student, tiny."""
    folder = tmp_path_factory.mktemp("exports")
    preprocessor = TextPreprocessor(WordPieceTokenizer(PIECES), sequence_length=16)
    for name, layers in (("teacher", 2), ("student", 1)):
        model = TextClassifier(tiny(vocabulary_size=len(PIECES), num_layers=layers, max_sequence_length=16), 2)
        export_savedmodel(model, folder / name, preprocessor=preprocessor, labels=["negative", "positive"])
    return folder


@pytest.fixture
def reviews(monkeypatch):
    """Forty test reviews in place of the real ones."""
    rows = [SimpleNamespace(text=text, split="test") for text in ["A good film.", "Bad."] * 20]
    monkeypatch.setattr(student.datasets, "movie_reviews", lambda: rows)


def test_teacher_and_student_are_compared_through_the_loader(exports, reviews):
    named = ["--teacher", str(exports / "teacher"), "--student", str(exports / "student")]
    shown = table(student.main, *named, "--pairs", "1", "--texts", "40")
    assert "parameters" in shown and ">= 7.5" in shown
    assert "one text at a time, 40 texts" in shown and "batches of 32, 40 texts" in shown
    assert shown.count(">= 9.4") == 2


def test_the_models_of_the_last_run_are_found(exports, reviews, tmp_path):
    models = {name: {"export": str(exports / name)} for name in ("teacher", "student")}
    (tmp_path / "results.json").write_text(json.dumps({"models": models}), encoding="utf-8")
    shown = table(student.main, "--output", str(tmp_path), "--pairs", "1", "--texts", "2")
    assert "The models of the run in" in shown


def test_without_a_run_models_with_random_weights_are_labelled_so(exports, reviews, monkeypatch, tmp_path):
    monkeypatch.setattr(student, "_made", lambda folder: (exports / "teacher", exports / "student"))
    results = student.measure(output=str(tmp_path), pairs=1, texts=2)
    assert "random weights" in results[0].note


def test_teacher_and_student_go_together():
    with pytest.raises(UserError, match="give both or none"):
        student.measure(teacher="a")


def finished_run(folder, cached=()):
    results = {
        "ratios": {"accuracy": 0.97, "parameters": 9.5, "latency": 8.0, "throughput": 12.0},
        "seconds": {"wall": 400.0, "overhead": 70.0, "cached": list(cached)},
        "peak_memory_gib": 2.5,
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


def test_the_last_run_is_held_against_its_targets(tmp_path):
    finished_run(tmp_path)
    shown = table(run.main, "--output", str(tmp_path))
    assert shown.count("reached") == 6 and shown.count("missed") == 1
    assert "400.0 s" in shown and "<= 600 s" in shown


def test_a_cached_run_has_less_time(tmp_path):
    finished_run(tmp_path, cached=["Transform"])
    wall = next(result for result in run.measure(output=str(tmp_path)) if "wall" in result.what)
    assert wall.at_most == 90 and wall.reached is False


@pytest.mark.data
def test_pre_training_is_compared_on_the_same_paragraphs():
    english_prose()
    results = pretraining.measure(quick=True, model="bert_tiny", pairs=1)
    assert [result.at_least for result in results[:2]] == [1.5, None]
    assert all(result.value > 0 for result in results) and "tokens/s beside" in results[0].note


def test_no_run_yet_is_said(tmp_path):
    assert "run `make run` first" in table(run.main, "--output", str(tmp_path))


def test_all_benchmarks_are_listed_and_found():
    shown = table(all_benchmarks.main, "--list")
    for name in ("imports", "encoder", "pretraining", "student", "run", "tries"):
        assert name in shown
    answer = CliRunner().invoke(all_benchmarks.main, ["encodr"])
    assert answer.exit_code == 2 and "choose from imports" in answer.output


def test_named_benchmarks_run_and_a_missed_target_can_fail(monkeypatch):
    answers = {"imports": [Result("cost", 1.2, at_most=1.1)], "run": [Result("wall", 10.0, at_most=600, unit="s")]}
    monkeypatch.setattr(all_benchmarks, "_run", lambda name, quick: to_json(answers[name]))
    runner = CliRunner()
    shown = runner.invoke(all_benchmarks.main, ["imports", "run"])
    assert shown.exit_code == 0 and "missed" in shown.output and "reached" in shown.output
    assert runner.invoke(all_benchmarks.main, ["imports", "--check"]).exit_code == 1
    assert runner.invoke(all_benchmarks.main, ["run", "--check"]).exit_code == 0
    values = json.loads(runner.invoke(all_benchmarks.main, ["imports", "run", "--json"]).output)
    assert np.isclose(values["imports"]["results"][0]["value"], 1.2)


def test_a_benchmark_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(all_benchmarks.ROOT)
    assert json.loads(all_benchmarks._run("run", quick=True))["results"]
