"""The student's Trainer: it reads what the teacher has said, and trains by text classification's parts."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

from pipelines.components.configuration import from_dict
from pipelines.components.losses import make_losses
from pipelines.components.model_artifact import keras_uri, load_keras
from pipelines.distillation.components import decode_outputs, output_features, token_states_file
from pipelines.distillation.configs import StudentConfig
from pipelines.text_classification.trainer import TrainingTask, train_student
from pipelines.workers import shared
from tfmodels.distillation.losses import Named
from tfmodels.training.strategies import strategy_for


def run_fn(fn_args) -> None:
    """Distils the student from the stored outputs of its teacher; see `StudentConfig`."""
    config = from_dict(StudentConfig, fn_args.custom_config["student"])
    if shared(run_fn, config.stages[0].fit.strategy, fn_args):
        return
    strategy_for(config.stages[0].fit.strategy)  # Workers meet before anything is computed.
    task = TrainingTask(fn_args)
    teacher, _ = load_keras(keras_uri(fn_args.base_model))
    stored = tuple(task.settings["outputs"])
    widths = {name: tensor.shape[-1] for name, tensor in Named(teacher, stored).output.items()}
    # The student learns from all rows that the teacher was asked about, labelled or not.
    splits = {"train": task.settings["train_splits"], "validation": ["validation"]}

    def losses(stage, student_layers, teacher_layers):
        return make_losses(stage.losses, student_layers, teacher_layers)

    def batches(split, stage):
        rows = [task.rows(part) for part in splits[split]]
        token_ids = tf.concat([part.token_ids for part in rows], axis=0)
        return task.make_batches(token_ids, {"labels": np.concatenate([part.labels for part in rows])}, stage.fit)

    def answered(split, rows, stage, distiller):
        wanted = {name: widths[name] for name in distiller.teacher_names if name in widths}
        parts = [decode_outputs(task.columns(part, output_features(wanted)), wanted) for part in splits[split]]
        return rows.with_targets({name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]})

    states = token_states_file(fn_args.train_files[0].rpartition("/Split-")[0])
    train_student(task, config, teacher, losses, batches, answered, _read_array(states))


def _read_array(file: str) -> np.ndarray | None:
    if not fileio.exists(file):
        return None
    with fileio.open(file, "rb") as content:
        return np.load(content, allow_pickle=False).astype(np.float32)
