"""The whole pipeline on a slice of the real reviews: killed, gone on with, and run again from the cache."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import console
from pipelines.components.metadata import Output
from pipelines.components.versions import push_version, pushed_version, versions
from serving import check_savedmodel
from tests.pipelines.test_pusher import make_export
from tfmodels import datasets
from tfmodels.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 32, "embedding_dim": 16}
STAGE = {"hard_label_weight": 0.5, "fit": {"epochs": 6, "learning_rate": 2e-3}}
# A teacher with random weights and few rows learn little; the bounds are those of the machinery, not of quality.
SETTINGS = {
    "text": {"sequence_length": 64},
    "teacher": {
        "source": "bert_tiny",
        "overrides": {**SIZES, "num_layers": 2, "max_sequence_length": 64},
        "fit": {"epochs": 2, "learning_rate": 2e-3},
    },
    "student": {"overrides": SIZES, "stages": [STAGE]},
    "evaluation": {"teacher_fraction": 0.3, "predecessor_tolerance": 0.5},
    "serving": {"latency_seconds": 0.05},
}
COMPONENTS = [
    "ImportExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer.teacher",
    "Trainer.student",
    "Evaluator.teacher",
    "Evaluator.predecessor",
    "ServingGate",
    "Pusher",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    with open(folder / "films.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["stars", "review"])
        for review in itertools.islice(datasets.movie_reviews(), 0, None, 14):
            writer.writerow([1 if review.score > 0 else 0, review.text])
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return folder


def start(folder):
    """Starts the command as a user would, in a process group of its own."""
    command = [
        *(sys.executable, "-c", "from tfmodels.cli import main; main()", "run", "text_classification"),
        *("--data", "films.csv", "--text-column", "review", "--label-column", "stars"),
        *("--output", "output", "--config", "settings.json"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipe)


def finish(process, folder):
    text = process.communicate(timeout=500)[0]
    log = folder / "output" / "logs" / "pipeline.log"
    assert process.returncode == 0, text + log.read_text(errors="replace")[-3000:]
    return text


@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.data
def test_a_killed_run_goes_on_pushes_and_is_cached_afterwards(workplace):
    output = workplace / "output"
    serving = output / "serving" / "films"

    # Killed while the student learns.
    process = start(workplace)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "student: epoch 1 of 6" in line:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    assert versions(serving) == []

    # The same command goes on from the finished components, and the student from its last whole epoch.
    text = finish(start(workplace), workplace)
    results = json.loads((output / "results.json").read_text())
    finished = COMPONENTS[: COMPONENTS.index("Trainer.student")]
    assert results["seconds"]["cached"] == sorted(finished)
    assert "student: epoch 1 of 6" not in text and "student: epoch 6 of 6" in text
    assert len(text.splitlines()) < 60  # what TFX and Beam have to say is in the log

    # A whole version, which TensorFlow Serving's own loader runs, was pushed, served and asked.
    (version,) = versions(serving)
    assert results["pushed"] == {"version": int(version.name), "path": str(version)}
    assert (version / "assets" / "labels.txt").read_text() == "0\n1\n"
    assert check_savedmodel(version, latency_seconds=0.05).passed
    assert results["answers"]["version"] == int(version.name) and results["answers"]["difference"] < 1e-6
    assert len(results["answers"]["probabilities"]) == len(results["sentences"])
    assert f"tfmodels serve {serving}" in text and "tensorboard --logdir" in text

    # Both models were evaluated on all test rows and on slices by length, and timed.
    tested = sum(results["table"]["counts"]["test"].values())
    for model in results["models"].values():
        assert model["rows"] == tested == sum(part["example_count"] for part in model["slices"])
        assert len(model["slices"]) == 4 and model["slices"][0]["slice"].startswith("1-")
        assert 0 <= model["accuracy"] <= 1 and model["latency"]["1"]["median_ms"] > 0
    assert results["ratios"]["parameters"] > 1
    assert "<html" in (output / "report.html").read_text()

    # Once more: everything comes from the cache and nothing new is pushed.
    finish(start(workplace), workplace)
    results = json.loads((output / "results.json").read_text())
    assert set(COMPONENTS) <= set(results["seconds"]["cached"])
    assert versions(serving) == [version]


def output_of_a_push(tmp_path, destination, pushed=1):
    archive = make_export(tmp_path / "archive")
    properties = {"pushed": pushed, "pushed_destination": str(destination)}
    return Output(str(archive), properties)


def test_a_version_that_somebody_removed_is_pushed_again(tmp_path):
    output = output_of_a_push(tmp_path, tmp_path / "serving" / "1")
    found = pushed_version(output, str(tmp_path / "serving"))
    assert [str(path) for path in versions(tmp_path / "serving")] == [found["path"]]


def test_a_version_that_is_there_is_left_alone(tmp_path):
    version = push_version(make_export(tmp_path / "export"), tmp_path / "serving")
    found = pushed_version(output_of_a_push(tmp_path, version), str(tmp_path / "serving"))
    assert found == {"version": int(version.name), "path": str(version)}
    assert versions(tmp_path / "serving") == [version]


def test_a_refused_student_has_no_version(tmp_path):
    output = output_of_a_push(tmp_path, tmp_path / "serving" / "1", pushed=0)
    assert pushed_version(output, str(tmp_path / "serving")) is None
    assert not (tmp_path / "serving").exists()


def test_a_users_mistake_is_found_behind_other_errors():
    mistake = UserError("lower the learning rate.")
    try:
        try:
            raise mistake
        except UserError as error:
            raise RuntimeError("while running a step of Beam") from error
    except RuntimeError as error:
        assert console.user_error(error) is mistake
    assert console.user_error(RuntimeError("a bug")) is None


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    with console._only_run(tmp_path), pytest.raises(UserError, match="another run uses"), console._only_run(tmp_path):
        pytest.fail("both run")
