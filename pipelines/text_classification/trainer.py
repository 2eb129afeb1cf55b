"""The Trainers' callbacks: fine-tune the teacher, distil the student.

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
from pipelines.components.model_artifact import keras_uri, load_keras, save_keras
from pipelines.text_classification.configs import (
    ServingConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
    layer_pairs,
)
from pipelines.text_classification.data import SPLITS
from pipelines.text_classification.sources import hf_folder
from serving import export_savedmodel
from tfmodels.distillation import (
    AttentionScores,
    Distiller,
    Embeddings,
    HiddenStates,
    LogitRegression,
    SoftLabels,
    embed_like_teacher,
    random_spans,
)
from tfmodels.errors import UserError
from tfmodels.layers import FirstTokenPooling, MeanPooling
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor
from tfmodels.training import Batches, FitConfig, fit, policy_for
from tfmodels.training.tensorboard import (
    AttentionPictures,
    Hyperparameters,
    sentence_attention,
    sentence_vectors,
    write_projector,
)

_POOLINGS = {"mean": MeanPooling, "first": FirstTokenPooling, "pooler": lambda: None}


def run_teacher(fn_args) -> None:
    """Fine-tunes the teacher; see `TeacherConfig`."""
    task = _Task(fn_args)
    config = from_dict(TeacherConfig, task.settings["teacher"])

    def build(precision):
        return build_teacher(config, len(task.labels), precision)

    keras.utils.set_random_seed(config.fit.seed)
    model = build(config.fit.precision)
    # Keras finds the loss of an output by the name of its target.
    train, validation = (task.batches(split, config.fit, "logits") for split in ("train", "validation"))
    directory = task.training_directory("teacher", config, train)
    started = time.monotonic()
    history = fit(
        model,
        train,
        validation,
        config.fit,
        directory,
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={"logits": [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
        callbacks=[EpochLines("teacher", config.fit), *task.pictures(directory, model, config)],
        verbose=0,
    )
    task.save(
        _in_float32(model, build, config.fit.precision),
        "teacher",
        f"A text classifier fine-tuned from {config.source}.",
        config,
        {"fine-tuning": history},
        time.monotonic() - started,
    )


def run_student(fn_args) -> None:
    """Distils the student from the teacher's Model artifact; see `StudentConfig`."""
    task = _Task(fn_args)
    config = from_dict(StudentConfig, task.settings["student"])

    def build(precision):
        return build_student(config, len(task.labels), precision)

    precision = config.stages[0].fit.precision
    keras.utils.set_random_seed(config.stages[0].fit.seed)
    student = build(precision)
    teacher, _ = load_keras(keras_uri(fn_args.base_model))
    started = time.monotonic()
    if config.embed_like_teacher:
        progress.info("student: asking the teacher about every token", extra={"passing": True})
        tokenizer = task.preprocessor.tokenizer
        embed_like_teacher(student, teacher, first=tokenizer.cls_token_id, last=tokenizer.sep_token_id)
    histories = {}
    for number, stage in enumerate(config.stages, start=1):
        name = f"student, stage {number} of {len(config.stages)}" if len(config.stages) > 1 else "student"
        train = task.batches("train", stage.fit, spans_per_text=stage.spans_per_text)
        validation = task.batches("validation", stage.fit)
        # What a stage gives depends on the stages before it.
        recipe = dataclasses.replace(config, stages=config.stages[:number])
        directory = task.training_directory(f"student-{number}", recipe, train, teacher)
        callbacks = [EpochLines(name, stage.fit), *task.pictures(directory, student, stage)]
        histories[name] = _distil(student, teacher, stage, train, validation, directory, name, callbacks)
    seconds = time.monotonic() - started
    # The vectors of the served model, for TensorBoard's projector, with the last stage's logs.
    test = task.rows("test")
    columns = {"label": [task.labels[label] for label in test.labels], "text": [" | ".join(row) for row in test.texts]}
    vectors = sentence_vectors(student, task.batches("test", FitConfig(batch_size=128)))
    write_projector(directory / "logs", "test texts", vectors, columns)
    task.save(
        _in_float32(student, build, precision),
        "student",
        f"A text classifier ({config.preset}, smaller) distilled from a fine-tuned teacher.",
        config,
        histories,
        seconds,
    )


def build_teacher(config: TeacherConfig, num_classes: int, precision: str) -> TextClassifier:
    """The teacher before fine-tuning: pretrained weights under a new head."""
    head = {"num_classes": num_classes, "dropout": config.dropout, "pooling": _pooling(config.pooling)}
    policy = policy_for(precision)
    folder = hf_folder(config.source)
    if folder is not None:
        return tfmodels.from_hf(folder, task=TextClassifier, dtype=policy, **head)
    return TextClassifier(tfmodels.create_model(config.source, dtype=policy, **config.overrides), **head)


def build_student(config: StudentConfig, num_classes: int, precision: str) -> TextClassifier:
    """The student, with random weights."""
    backbone = tfmodels.create_model(config.preset, dtype=policy_for(precision), **config.overrides)
    return TextClassifier(backbone, num_classes, config.dropout, _pooling(config.pooling))


def stage_losses(stage: StageConfig, student_layers: int, teacher_layers: int) -> list:
    """The distillation losses of a stage; those with weight zero are left out."""
    pairs = layer_pairs(stage.layer_map, student_layers, teacher_layers)
    losses = []
    if stage.soft_labels:
        losses.append(SoftLabels(stage.temperature, stage.soft_labels, name="soft_labels"))
    if stage.logits:
        losses.append(LogitRegression(stage.logits, name="logit_regression"))
    if stage.embeddings:
        losses.append(Embeddings(stage.embeddings, name="embeddings"))
    if stage.hidden_states:
        losses.append(HiddenStates(pairs, stage.hidden_states, name="hidden_states"))
    if stage.attention_scores:
        # Layers count from 1 in the map, attention scores from 0.
        scores = {ours - 1: theirs - 1 for ours, theirs in pairs.items()}
        losses.append(AttentionScores(scores, stage.attention_scores, name="attention_scores"))
    return losses


def _distil(student, teacher, stage, train, validation, directory, name, callbacks):
    """Trains the student through one stage; returns the history."""
    layers = (model.backbone.config.num_layers for model in (student, teacher))
    distiller = Distiller(student, teacher, stage_losses(stage, *layers), stage.hard_label_weight)
    if stage.cache_teacher and not stage.attention_scores:
        progress.info("%s: asking the teacher once about every row", name, extra={"passing": True})
        train, validation = (_with_teacher(batches, distiller) for batches in (train, validation))
    return fit(distiller, train, validation, stage.fit, directory, callbacks=callbacks, verbose=0)


def _with_teacher(batches: Batches, distiller: Distiller) -> Batches:
    # Hidden states of every token are large; half precision is far finer than what a student matches.
    outputs = batches.outputs_of(distiller.teacher_outputs, dtype="float16")
    return batches.with_targets({f"teacher/{name}": values for name, values in outputs.items()})


def _pooling(name: str):
    if name not in _POOLINGS:
        raise UserError(f"there is no pooling {name!r}: choose one of {', '.join(_POOLINGS)}.")
    return _POOLINGS[name]()


def _in_float32(model, build, precision: str):
    """The model computing in float32, which every server runs well, whatever it was trained in."""
    if precision == "float32":
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


class _Task:
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

    def _read(self, split: str) -> _Rows:
        patterns = [p for p in [*self.fn_args.train_files, *self.fn_args.eval_files] if f"/Split-{split}/" in p]
        files = sorted(tf.io.gfile.glob(patterns))
        names = self.preprocessor.feature_names
        written = tft.TFTransformOutput(self.fn_args.transform_graph_path).transformed_feature_spec()
        features = {name: written[name] for name in ("token_ids", "label", "length_bucket", *names)}
        # TFX's own reader parses one record after the other. This one is parallel, and yet keeps the files' order,
        # which decides the batches.
        parsed = (
            tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=tf.data.AUTOTUNE)
            .batch(1024, num_parallel_calls=tf.data.AUTOTUNE)
            .map(lambda records: tf.io.parse_example(records, features), num_parallel_calls=tf.data.AUTOTUNE)
        )
        batches = list(parsed)
        labels = np.concatenate([batch["label"].numpy() for batch in batches])
        if labels.min() < 0:
            raise UserError(
                f"{np.sum(labels < 0):,} rows of the {split} split have a label that is none of "
                f"{', '.join(self.labels)}: prepare the data and the configuration from the same table."
            )

        def decoded(name):
            return [value.decode("utf-8") for batch in batches for value in batch[name].numpy()]

        token_ids = tf.concat([batch["token_ids"] for batch in batches], axis=0)
        return _Rows(token_ids, labels, list(zip(*map(decoded, names))), decoded("length_bucket"))

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
        return Batches(
            token_ids,
            {target: labels},
            config.batch_size,
            segment_ids=self._segments(token_ids),
            seed=config.seed,
        )

    def _segments(self, token_ids: tf.RaggedTensor) -> tf.RaggedTensor | None:
        """The segments of the family's format; None where all are 0."""
        preprocessor = self.preprocessor
        if not any(segment for _, segment in preprocessor.format.parts(preprocessor.pair)):
            return None
        padded = preprocessor.pad(token_ids)["segment_ids"]
        return tf.RaggedTensor.from_tensor(padded, lengths=token_ids.row_lengths())

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
        # Nothing is trained any more, so that batches may be large.
        logits = self.batches("test", FitConfig(batch_size=128)).outputs_of(model)["logits"]
        figures = {"test accuracy": round(float(np.mean(logits.argmax(-1) == test.labels)), 4)}
        arrays = {"test_logits": logits, "test_labels": test.labels}
        arrays |= {f"{split}_tokens": self.rows(split).token_ids.row_lengths() for split in SPLITS}
        self._export(model, name, description, recipe, figures)
        save_keras(model, self.preprocessor, keras_uri(self.fn_args.serving_model_dir))
        pieces, arrays["attention"] = sentence_attention(model, self.preprocessor, self.sentence)
        texts = {"texts": test.texts, "slices": test.slices, "attention_pieces": pieces}
        run = {"name": name, "fit_seconds": fit_seconds, "recipe": recipe, "history": histories, "figures": figures}
        with local_output(self.fn_args.model_run_dir) as folder:
            (folder / "history.json").write_text(json.dumps(run, indent=2), encoding="utf-8")
            (folder / "test_texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
            np.savez_compressed(folder / "predictions.npz", **arrays)

    @property
    def sentence(self) -> str | tuple[str, str]:
        """A text of the test split to draw attention on: about a dozen tokens show something and can be read."""
        lengths = self.rows("test").token_ids.row_lengths().numpy()
        row = self.rows("test").texts[int(np.argmin(np.abs(lengths - 14)))]
        return row if self.preprocessor.pair else row[0]

    def pictures(self, directory: Path, model, recipe) -> list:
        """What TensorBoard shows beside the scalars: hyperparameters and attention."""
        logs = directory / "logs"
        return [Hyperparameters(logs, recipe), AttentionPictures(logs, model, self.preprocessor, self.sentence)]

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
