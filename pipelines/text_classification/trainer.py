"""The Trainers' callbacks: fine-tune the teacher, distil the student. `pipelines.distillation` shares their parts.

Both are thin: they read what Transform wrote, build models by `tfmodels`, train them by `tfmodels.training.fit`, export
them by `serving.export_savedmodel`, and leave beside the export what the student, the gate and the report need. Every
value of a recipe comes from `configs`, through the Trainer's `custom_config`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.utils import io_utils

import tfmodels
from pipelines.components.configuration import from_dict
from pipelines.components.epoch_lines import EpochLines, progress
from pipelines.components.files import is_remote, local_copy, local_output
from pipelines.components.losses import make_losses
from pipelines.components.model_artifact import keras_uri, load_keras, save_keras
from pipelines.components.precision import settled
from pipelines.text_classification.configs import (
    ServingConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
)
from pipelines.text_classification.data import SPLITS
from pipelines.text_classification.sources import hf_folder, starts_like_teacher
from pipelines.workers import shared
from serving import export_savedmodel
from tfmodels.distillation import Distiller, embed_like_teacher, random_spans
from tfmodels.errors import UserError
from tfmodels.layers import FirstTokenPooling, MeanPooling
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor
from tfmodels.training import Batches, FitConfig, fit, policy_for
from tfmodels.training.strategies import is_chief, on_chief, strategy_for
from tfmodels.training.tensorboard import (
    AttentionPictures,
    Hyperparameters,
    sentence_attention,
    sentence_vectors,
    write_projector,
)

# Bounds batches that nothing is trained on: 128 texts of 1,024 tokens, fewer of longer ones.
_TOKENS_A_BATCH = 2**17
_POOLINGS = {"mean": MeanPooling, "first": FirstTokenPooling, "pooler": lambda: None}


def run_teacher(fn_args) -> None:
    """Fine-tunes the teacher; see `TeacherConfig`."""
    config = from_dict(TeacherConfig, fn_args.custom_config["teacher"])
    if shared(run_teacher, config.fit.strategy, fn_args):
        return
    strategy = strategy_for(config.fit.strategy)  # Workers meet before anything is computed.
    task = TrainingTask(fn_args)

    def build(precision):
        return build_teacher(config, len(task.labels), precision)

    # Keras finds the loss of an output by the name of its target.
    train, validation = (task.batches(split, config.fit, "logits") for split in ("train", "validation"))
    directory = task.training_directory("teacher", config, train)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    fitting = settled(config.fit, "teacher", build, train, directory, loss=loss)
    keras.utils.set_random_seed(config.fit.seed)
    with strategy.scope():
        model = build(fitting.precision)
        metrics = {"logits": [keras.metrics.SparseCategoricalAccuracy("accuracy")]}
    started = time.monotonic()
    shown = [EpochLines("teacher", fitting), *task.pictures(directory, model, config)] if is_chief(strategy) else []
    history = fit(
        model,
        train,
        validation,
        fitting,
        directory,
        loss=loss,
        metrics=metrics,
        callbacks=shown,
        verbose=0,
    )
    seconds = time.monotonic() - started

    def save():
        description = f"A text classifier fine-tuned from {config.source}."
        model_to_save = in_float32(model, build, fitting.precision)
        task.save(model_to_save, "teacher", description, config, {"fine-tuning": history}, seconds)

    on_chief(strategy, save)


def run_student(fn_args) -> None:
    """Distils the student from the teacher's Model artifact; see `StudentConfig`."""
    config = from_dict(StudentConfig, fn_args.custom_config["student"])
    if shared(run_student, config.stages[0].fit.strategy, fn_args):
        return
    strategy_for(config.stages[0].fit.strategy)  # Workers meet before anything is computed.
    task = TrainingTask(fn_args)

    teacher, _ = load_keras(keras_uri(fn_args.base_model))

    def batches(split, stage):
        return task.batches(split, stage.fit, spans_per_text=stage.spans_per_text if split == "train" else 0)

    def answered(split, rows, stage, distiller):
        if not stage.cache_teacher or stage.attention_scores:
            return rows
        if split == "train":
            progress.info("student: asking the teacher once about every row", extra={"passing": True})
        return _with_teacher(rows, distiller)

    train_student(task, config, teacher, stage_losses, batches, answered)


def train_student(
    task: TrainingTask,
    config,
    teacher: TextClassifier,
    losses_of,
    batches_of,
    answered,
    states: np.ndarray | None = None,
) -> None:
    """Distils a student through its stages and saves it.

    Args:
        task: The Trainer's task.
        config: A `StudentConfig`, or another with its fields.
        teacher: The teacher.
        losses_of: Makes a stage's losses, given the stage and the number of layers of student and teacher.
        batches_of: Makes the `Batches` of a split, "train" or "validation", and a stage.
        answered: Adds to them, given the split, the batches, the stage and its `Distiller`, what the teacher says;
            what it does not add the teacher computes in every step.
        states: What `token_states` gives for the teacher, where it has been asked already.
    """

    def build(precision):
        return build_student(config, len(task.labels), precision)

    def distiller_of(student, stage):
        layers = (model.backbone.config.num_layers for model in (student, teacher))
        return Distiller(student, teacher, losses_of(stage, *layers), stage.hard_label_weight)

    def directory_of(number, rows):
        # What a stage gives depends on the stages before it.
        recipe = dataclasses.replace(config, stages=config.stages[:number])
        return task.training_directory(f"student-{number}", recipe, rows, teacher)

    first = config.stages[0]
    precision = first.fit.precision
    if precision == "auto":
        rows = batches_of("train", first)
        directory = directory_of(1, rows)
        tried = settled(first.fit, "student", lambda name: distiller_of(build(name), first), rows, directory)
        precision = tried.precision
    keras.utils.set_random_seed(first.fit.seed)
    strategy = strategy_for(first.fit.strategy)
    with strategy.scope():
        student = build(precision)
    started = time.monotonic()
    sizes = (model.backbone.config for model in (student, teacher))
    if starts_like_teacher(config.embed_like_teacher, *sizes):
        if states is None:
            progress.info("student: asking the teacher about every token", extra={"passing": True})
        tokenizer = task.preprocessor.tokenizer
        embed_like_teacher(student, teacher, first=tokenizer.cls_token_id, last=tokenizer.sep_token_id, states=states)
    histories = {}
    for number, stage in enumerate(config.stages, start=1):
        name = f"student, stage {number} of {len(config.stages)}" if len(config.stages) > 1 else "student"
        batches = {split: batches_of(split, stage) for split in ("train", "validation")}
        directory = directory_of(number, batches["train"])
        with strategy.scope():
            distiller = distiller_of(student, stage)
        train, validation = (answered(split, rows, stage, distiller) for split, rows in batches.items())
        callbacks = []
        if is_chief(strategy):
            callbacks = [EpochLines(name, stage.fit), *task.pictures(directory, student, stage)]
        fitting = dataclasses.replace(stage.fit, precision=precision)
        teaches_head = stage.hard_label_weight or "logits" in distiller.teacher_names
        if not teaches_head and fitting.monitor == "val_accuracy":
            # The accuracy of a head that learns nothing is chance.
            fitting = dataclasses.replace(fitting, monitor="val_loss")
        histories[name] = fit(distiller, train, validation, fitting, directory, callbacks=callbacks, verbose=0)
    seconds = time.monotonic() - started

    def save():
        # The vectors of the served model, for TensorBoard's projector, with the last stage's logs.
        test = task.rows("test")
        texts = [" | ".join(row) for row in test.texts]
        columns = {"label": [task.labels[label] for label in test.labels], "text": texts}
        vectors = sentence_vectors(student, task.batches("test", task.asking))
        write_projector(directory / "logs", "test texts", vectors, columns)
        description = f"A text classifier ({config.preset}, smaller) distilled from a fine-tuned teacher."
        task.save(in_float32(student, build, precision), "student", description, config, histories, seconds)

    on_chief(strategy, save)


def build_teacher(config: TeacherConfig, num_classes: int, precision: str) -> TextClassifier:
    """The teacher before fine-tuning: pretrained weights under a new head."""
    return _build(hf_folder(config.source), config.source, config, num_classes, precision)


def build_student(config: StudentConfig, num_classes: int, precision: str) -> TextClassifier:
    """The student: with random weights, or those of an encoder in Hugging Face's layout under a new head."""
    folder = Path(config.preset)
    return _build(folder if (folder / "config.json").exists() else None, config.preset, config, num_classes, precision)


def _build(folder: Path | None, preset: str, config, num_classes: int, precision: str) -> TextClassifier:
    head = {"num_classes": num_classes, "dropout": config.dropout, "pooling": _pooling(config.pooling)}
    policy = policy_for(precision)
    if folder is not None:
        return tfmodels.from_hf(folder, task=TextClassifier, dtype=policy, **head)
    return TextClassifier(tfmodels.create_model(preset, dtype=policy, **config.overrides), **head)


def stage_losses(stage: StageConfig, student_layers: int, teacher_layers: int) -> list:
    """The distillation losses of a stage; those with weight zero are left out."""
    layers = {"layer_map": stage.layer_map}
    chosen = {
        "soft_labels": {"weight": stage.soft_labels, "temperature": stage.temperature},
        "logit_regression": {"weight": stage.logits},
        "embeddings": {"weight": stage.embeddings},
        "hidden_states": {"weight": stage.hidden_states, **layers},
        "attention_scores": {"weight": stage.attention_scores, **layers},
    }
    return make_losses(chosen, student_layers, teacher_layers)


def _with_teacher(batches: Batches, distiller: Distiller) -> Batches:
    # Hidden states of every token are large; half precision is far finer than what a student matches.
    outputs = batches.outputs_of(distiller.teacher_outputs, dtype="float16")
    return batches.with_targets({f"teacher/{name}": values for name, values in outputs.items()})


def _attends(model: TextClassifier) -> bool:
    """Whether the model has attention to show; a recurrent student has none."""
    return bool(model.with_intermediates().output.get("attention_scores"))


def _pooling(name: str):
    if name not in _POOLINGS:
        raise UserError(f"there is no pooling {name!r}: choose one of {', '.join(_POOLINGS)}.")
    return _POOLINGS[name]()


def in_float32(model, build, precision: str):
    """The model on one device, computing in float32, which every server runs well, whatever it was trained in."""
    if precision == "float32" and model.distribute_strategy is tf.distribute.get_strategy():
        return model
    twin = build("float32")
    twin.set_weights(model.get_weights())
    return twin


class _Rows(NamedTuple):
    """One split's examples, in the files' order."""

    token_ids: tf.RaggedTensor  # int64[rows, None]
    labels: np.ndarray  # int64[rows]
    texts: list[tuple[str, ...]]  # one or two texts a row
    slices: list[str]  # the length bucket of each row


class TrainingTask:
    """What both Trainers do alike: reading the data, naming the training folder, saving the result."""

    def __init__(self, fn_args):
        self.fn_args = fn_args
        self.settings = fn_args.custom_config
        self.labels = list(self.settings["labels"])
        self.serving = from_dict(ServingConfig, self.settings["serving"])
        with local_copy(self.settings["preprocessor"]) as folder:
            self.preprocessor = TextPreprocessor.load(folder)
        self._rows: dict[str, _Rows] = {}

    def rows(self, split: str) -> _Rows:
        """A split's examples, read once."""
        if split not in self._rows:
            self._rows[split] = self._read(split)
        return self._rows[split]

    def columns(self, split: str, features: Mapping[str, object]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Features of a split's examples, in the files' order.

        Args:
            split: The split.
            features: Name -> how `tf.io.parse_example` takes it.
        """
        patterns = [p for p in [*self.fn_args.train_files, *self.fn_args.eval_files] if f"/Split-{split}/" in p]
        files = sorted(tf.io.gfile.glob(patterns))
        # TFX's own reader parses one record after the other. This one is parallel, and yet keeps the files' order,
        # which decides the batches.
        parsed = (
            tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=tf.data.AUTOTUNE)
            .batch(1024, num_parallel_calls=tf.data.AUTOTUNE)
            .map(lambda records: tf.io.parse_example(records, features), num_parallel_calls=tf.data.AUTOTUNE)
        )
        batches = list(parsed)
        return {name: tf.concat([batch[name] for batch in batches], axis=0) for name in features}

    def _read(self, split: str) -> _Rows:
        names = self.preprocessor.feature_names
        written = tft.TFTransformOutput(self.fn_args.transform_graph_path).transformed_feature_spec()
        columns = self.columns(split, {name: written[name] for name in ("token_ids", "label", "length_bucket", *names)})
        labels = columns["label"].numpy()
        if split in SPLITS and labels.min() < 0:
            raise UserError(
                f"{np.sum(labels < 0):,} rows of the {split} split have a label that is none of "
                f"{', '.join(self.labels)}: prepare the data and the configuration from the same table."
            )

        def decoded(name):
            return [value.decode("utf-8") for value in columns[name].numpy()]

        return _Rows(columns["token_ids"], labels, list(zip(*map(decoded, names))), decoded("length_bucket"))

    def batches(self, split: str, config: FitConfig, target: str = "labels", spans_per_text: int = 0) -> Batches:
        """A split as batches for training; the labels are the target of that name.

        Random spans of single texts may join it, without a label: -1.
        """
        rows = self.rows(split)
        token_ids, labels = rows.token_ids, rows.labels
        if spans_per_text and not self.preprocessor.pair:
            spans = spans_per_text * len(labels)
            parts = random_spans(list(token_ids.numpy()), spans, seed=config.seed)
            parts = tf.RaggedTensor.from_row_lengths(np.concatenate(parts), [len(part) for part in parts])
            token_ids = tf.concat([token_ids.with_row_splits_dtype(tf.int64), parts], axis=0)
            labels = np.concatenate([labels, np.full(spans, -1)])
        return self.make_batches(token_ids, {target: labels}, config)

    def make_batches(self, token_ids: tf.RaggedTensor, targets: dict, config: FitConfig) -> Batches:
        """Rows as batches, with the segments of the family's format."""
        segments = self.preprocessor.segments(token_ids)
        return Batches(token_ids, targets, config.batch_size, segment_ids=segments, seed=config.seed)

    def training_directory(self, name: str, recipe, train: Batches, teacher: keras.Model | None = None) -> Path:
        """Where `fit` keeps its state: a folder named by all that the result depends on.

        A run that was killed finds its checkpoints there; another recipe, table or teacher finds another folder.
        """
        if is_remote(self.settings["training"]):
            raise UserError(
                f"training cannot keep its state in {self.settings['training']}: give a folder that the Trainer's "
                "machine has, or mounts."
            )
        settings = [dataclasses.asdict(recipe), self.labels, self.settings["code"]]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        arrays = [train.token_ids.flat_values, train.token_ids.row_splits, *train.targets.values()]
        for array in arrays + ([] if teacher is None else teacher.get_weights()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return Path(self.settings["training"]) / f"{name}-{digest.hexdigest()[:12]}"

    def save(self, model, name: str, description: str, config, histories: dict, fit_seconds: float) -> None:
        """Writes the export, the Keras model, and what a report tells of the run."""
        recipe = dataclasses.asdict(config)
        test = self.rows("test")
        logits = self.batches("test", self.asking).outputs_of(model)["logits"]
        figures = {"test accuracy": round(float(np.mean(logits.argmax(-1) == test.labels)), 4)}
        arrays = {"test_logits": logits, "test_labels": test.labels}
        arrays |= {f"{split}_tokens": self.rows(split).token_ids.row_lengths() for split in SPLITS}
        self._export(model, name, description, recipe, figures)
        save_keras(model, self.preprocessor, keras_uri(self.fn_args.serving_model_dir))
        texts = {"texts": test.texts, "slices": test.slices}
        if _attends(model):
            pieces, arrays["attention"] = sentence_attention(model, self.preprocessor, self.sentence)
            texts["attention_pieces"] = pieces
        run = {"name": name, "fit_seconds": fit_seconds, "recipe": recipe, "history": histories, "figures": figures}
        with local_output(self.fn_args.model_run_dir) as folder:
            (folder / "history.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
            (folder / "test_texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
            np.savez_compressed(folder / "predictions.npz", **arrays)

    @property
    def asking(self) -> FitConfig:
        """Batches for a model that is asked and not trained, which may be large."""
        return FitConfig(batch_size=max(1, min(128, _TOKENS_A_BATCH // self.preprocessor.sequence_length)))

    @property
    def sentence(self) -> str | tuple[str, str]:
        """A text of the test split to draw attention on: about a dozen tokens show something and can be read."""
        lengths = self.rows("test").token_ids.row_lengths().numpy()
        row = self.rows("test").texts[int(np.argmin(np.abs(lengths - 14)))]
        return row if self.preprocessor.pair else row[0]

    def pictures(self, directory: Path, model, recipe) -> list:
        """What TensorBoard shows beside the scalars: hyperparameters and attention."""
        logs = directory / "logs"
        shown = [AttentionPictures(logs, model, self.preprocessor, self.sentence)] if _attends(model) else []
        return [Hyperparameters(logs, recipe), *shown]

    def _export(self, model, name, description, recipe, figures):
        texts = self.rows("validation").texts[: self.serving.warmup_texts]
        card = {
            "name": name,
            "description": description,
            "training_data": f"{len(self.rows('train').labels):,} labelled rows; classes: {', '.join(self.labels)}.",
            "metrics": figures,
            "how_made": recipe,
        }
        uri = self.fn_args.serving_model_dir
        # A local export is written in place and appears whole; a remote one is copied when it is.
        with tempfile.TemporaryDirectory() if is_remote(uri) else nullcontext(str(Path(uri).parent)) as parent:
            export = export_savedmodel(
                model,
                Path(parent) / Path(uri).name,
                preprocessor=self.preprocessor,
                labels=self.labels,
                warmup_texts=[row if self.preprocessor.pair else row[0] for row in texts],
                card=card,
            )
            if is_remote(uri):
                io_utils.copy_dir(str(export), uri)
