"""The Trainers' callbacks, without TFX around them: what they train by, where, and what they save."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.components.model_artifact import load_keras
from pipelines.distillation import trainer as distillation
from pipelines.distillation.configs import StudentConfig
from pipelines.text_classification import trainer
from pipelines.text_classification.configs import StageConfig
from tests.pipelines.trainers import arguments, preprocessor, save_teacher, student_config, teacher_config, write_rows
from tests.support.processes import python_environment
from tfmodels.errors import UserError
from tfmodels.training import FitConfig

FIT = FitConfig(epochs=1, batch_size=8)


@pytest.fixture
def folder(tmp_path):
    write_rows(tmp_path)
    return tmp_path


def saved(folder, role):
    """The model that a Trainer has saved."""
    return load_keras(str(folder / role / "Keras"))[0]


def test_a_stage_that_teaches_no_head_is_judged_by_its_loss(folder, monkeypatch):
    monitors = []
    monkeypatch.setattr(trainer, "fit", lambda *given, **settings: monitors.append(given[3].monitor) or {})
    monkeypatch.setattr(trainer.TrainingTask, "save", lambda *given: None)
    layers = {"soft_labels": 0.0, "hidden_states": 1.0, "layer_map": {"1": 2}, "cache_teacher": False}
    stages = (
        StageConfig(FIT, **layers),
        StageConfig(FIT.replace(monitor="val_hidden_states"), **layers),
        StageConfig(FIT, **layers, hard_label_weight=1.0),
        StageConfig(FIT, cache_teacher=False),
    )
    config = dataclasses.replace(student_config(*stages), embed_like_teacher=False)
    trainer.run_student(arguments(folder, "student", config, save_teacher(folder)))
    assert monitors == ["val_loss", "val_hidden_states", "val_accuracy", "val_accuracy"]


def test_a_teacher_trained_in_bfloat16_is_saved_in_float32(folder, monkeypatch):
    policies, fit = [], trainer.fit

    def seen(model, *given, **more):
        policies.append(model.backbone.dtype_policy.name)
        return fit(model, *given, **more)

    monkeypatch.setattr(trainer, "fit", seen)
    trainer.run_teacher(arguments(folder, "teacher", teacher_config(precision="bfloat16")))
    assert policies == ["mixed_bfloat16"]
    model = saved(folder, "teacher")
    layers = [model, *model._flatten_layers()]
    assert {layer.dtype_policy.name for layer in layers} == {"float32"}


@pytest.mark.parametrize("module", [trainer, distillation])
def test_workers_meet_before_a_students_trainer_reads_anything(module, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    config = StudentConfig() if module is distillation else student_config(StageConfig())
    stages = tuple(type(stage)(fit=FIT.replace(strategy="multi_worker")) for stage in config.stages)
    given = arguments(tmp_path / "nowhere", "student", type(config)(stages=stages), tmp_path / "nowhere")
    with pytest.raises(UserError, match="need the environment variable TF_CONFIG"):
        (module.run_fn if module is distillation else module.run_student)(given)


@pytest.mark.e2e
def test_trainers_train_on_two_devices_and_save_models_of_one(tmp_path):
    environment = python_environment()
    result = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.trainers", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for role in ("teacher", "student"):
        with np.load(tmp_path / role / "run" / "predictions.npz") as kept:
            logits = saved(tmp_path, role)(preprocessor()([f"the plot was {word}" for word in ("bad", "good")]))
            assert kept["test_logits"].shape == (8, 2) and np.isfinite(kept["test_logits"]).all()
        assert np.isfinite(logits["logits"]).all()
