"""The runner files: the same pipeline on this machine and compiled for Kubeflow."""

import json
import runpy
from pathlib import Path

import pytest

from pipelines.components.configuration import to_json
from pipelines.runners import kubeflow_v2_runner, local_runner
from pipelines.runners.settings import read_config
from pipelines.text_classification.configs import EvaluationConfig, PathsConfig, PipelineConfig
from tfmodels.errors import UserError

RUNNERS = Path(kubeflow_v2_runner.__file__).parent


@pytest.fixture
def config_file(tmp_path):
    paths = PathsConfig(
        *(f"gs://bucket/{name}" for name in ("data", "preprocessor", "root", "serving")), "/mnt/training"
    )
    beam_args = ("--runner=DataflowRunner", "--project=some-project", "--region=europe-west1")
    evaluation = EvaluationConfig(length_edges=(10, 20))
    config = PipelineConfig(paths, ("no", "yes"), evaluation=evaluation, beam_args=beam_args)
    path = tmp_path / "pipeline.json"
    path.write_text(to_json(config))
    return path


@pytest.fixture
def compiled(config_file, tmp_path):
    pytest.importorskip("kfp")
    target = tmp_path / "compiled.json"
    kubeflow_v2_runner.run(["--config", str(config_file), "--image", "registry/image:1", "--compiled", str(target)])
    return json.loads(target.read_text())


def test_the_pipeline_compiles_for_kubeflow(compiled):
    spec = compiled["pipelineSpec"]
    assert set(spec["root"]["dag"]["tasks"]) >= {
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
    }
    assert compiled["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    containers = [part["container"] for part in spec["deploymentSpec"]["executors"].values() if "container" in part]
    assert {container["image"] for container in containers} == {"registry/image:1"}


def test_kubeflow_runs_our_own_executors(compiled):
    executors = compiled["pipelineSpec"]["deploymentSpec"]["executors"]

    def executor_class(component):
        arguments = executors[f"{component}_executor"]["container"]["args"]
        return arguments[arguments.index("--executor_class_path") + 1]

    assert executor_class("ServingGate") == "pipelines.components.serving_gate.ServingGateExecutor"
    assert executor_class("Pusher") == "pipelines.components.atomic_pusher.AtomicPusherExecutor"


def test_beam_arguments_reach_the_data_components(compiled):
    executors = compiled["pipelineSpec"]["deploymentSpec"]["executors"]
    for component in ("ImportExampleGen", "StatisticsGen", "Transform", "Evaluator.teacher"):
        assert "--runner=DataflowRunner" in executors[f"{component}_executor"]["container"]["args"]


def test_the_student_learns_from_the_teachers_model(compiled):
    tasks = compiled["pipelineSpec"]["root"]["dag"]["tasks"]
    source = tasks["Trainer.student"]["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert source["producerTask"] == "Trainer.teacher"
    assert set(tasks["Pusher"]["dependentTasks"]) >= {"ServingGate", "Evaluator.predecessor"}


def test_the_local_runner_takes_its_configuration_from_the_environment(config_file, monkeypatch):
    """As the TFX command line starts it: as a script, with somebody else's flags."""
    ran = []
    monkeypatch.setattr(local_runner.LocalDagRunner, "run", lambda self, pipeline: ran.append(pipeline))
    monkeypatch.setenv("TFMODELS_PIPELINE_CONFIG", str(config_file))
    monkeypatch.setattr("sys.argv", ["tfx", "run", "create", "--engine", "local"])
    runpy.run_path(str(RUNNERS / "local_runner.py"), run_name="__main__")
    (pipeline,) = ran
    assert pipeline.pipeline_info.pipeline_name == "text-classification"
    assert pipeline.beam_pipeline_args[0] == "--runner=DataflowRunner"


def test_mistakes_are_told_in_one_sentence(config_file, tmp_path, monkeypatch):
    for variable in ("TFMODELS_PIPELINE_CONFIG", "TFMODELS_PIPELINE_IMAGE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match="give --config FILE"):
        local_runner.run([])
    with pytest.raises(UserError, match="cannot be read"):
        local_runner.run(["--config", str(tmp_path / "missing.json")])
    with pytest.raises(UserError, match="give --image IMAGE"):
        kubeflow_v2_runner.run(["--config", str(config_file)])
    values = json.loads(config_file.read_text())
    values["evaluation"]["length_edges"] = None
    config_file.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"no evaluation\.length_edges"):
        read_config(str(config_file))
