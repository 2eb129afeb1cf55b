"""The component that asks the teacher: once about every row, for all students that will learn from it."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from pipelines.components.epoch_lines import progress
from pipelines.components.model_artifact import keras_uri, load_keras
from tfmodels.distillation import random_spans, token_states
from tfmodels.distillation.distiller import TEACHER
from tfmodels.distillation.losses import Named
from tfmodels.training import Batches
from tfmodels.training.batches import INPUT_SIGNATURE

SPANS = "spans"
# What Transform calls the values of its ragged `token_ids` in the files.
_TOKEN_IDS = "token_ids$ragged_values"
# A chunk's outputs are in memory together: 1,024 rows of 128 states of 768 numbers are 400 MB.
_ROWS_A_CHUNK = 1024
_ROWS_A_BATCH = 64


def output_features(widths: dict[str, int]) -> dict[str, object]:
    """How `tf.io.parse_example` reads the teacher's outputs: name -> the size of the last axis.

    What a row has once, such as the logits, is a list of numbers; what it has for every token is the bytes of a
    float16[T, D]: far finer than what a student matches, at half the size.
    """
    return {
        TEACHER + name: tf.io.FixedLenFeature([], tf.string)
        if "/" in name
        else tf.io.FixedLenFeature([width], tf.float32)
        for name, width in widths.items()
    }


def decode_outputs(columns: dict[str, tf.Tensor], widths: dict[str, int]) -> dict[str, np.ndarray | tf.RaggedTensor]:
    """Parsed outputs as `Batches` and `Distiller` take them: float32[rows, C], or ragged float16[rows, None, D]."""

    def decoded(name, width):
        values = columns[TEACHER + name]
        if "/" not in name:
            return values.numpy()
        states = np.frombuffer(b"".join(values.numpy()), np.float16).reshape(-1, width)  # [tokens, D]
        lengths = tf.strings.length(values) // (2 * width)
        return tf.RaggedTensor.from_row_lengths(states, tf.cast(lengths, tf.int64))

    return {TEACHER + name: decoded(name, width) for name, width in widths.items()}


def token_states_file(uri: str) -> str:
    """The float16[V, D] file of what `token_states` gives, beside the splits in the artifact at `uri`."""
    return f"{uri}/token_states.npy"


class _TeacherOutputsSpec(ComponentSpec):
    PARAMETERS: ClassVar = {"settings": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "teacher": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS: ClassVar = {"answered": ChannelParameter(type=standard_artifacts.Examples)}


class _TeacherOutputsExecutor(BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = json.loads(exec_properties["settings"])
        teacher = artifact_utils.get_single_instance(input_dict["teacher"])
        serving = path_utils.serving_model_path(teacher.uri, path_utils.is_old_model_artifact(teacher))
        examples = artifact_utils.get_single_instance(output_dict["answered"])
        splits = artifact_utils.decode_split_names(
            artifact_utils.get_single_instance(input_dict["examples"]).split_names
        )
        tasks = []
        for split in splits:
            for uri in artifact_utils.get_split_uris(input_dict["examples"], split):
                for file in sorted(fileio.glob(f"{uri}/*")):
                    tasks.append((file, f"{examples.uri}/Split-{split}/{file.rpartition('/')[2]}", 0))
                    if split == "train" and settings["spans_per_text"]:
                        target = f"{examples.uri}/Split-{SPANS}/{file.rpartition('/')[2]}"
                        tasks.append((file, target, settings["spans_per_text"]))
        if settings["spans_per_text"]:
            splits = [*splits, SPANS]
        examples.split_names = artifact_utils.encode_split_names(list(splits))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(tasks)
                | beam.Reshuffle()
                | beam.Map(_answer_file, keras_uri(serving), settings["outputs"], settings["seed"])
            )
            if settings["token_states"]:
                _ = (
                    pipeline
                    | "target" >> beam.Create([token_states_file(examples.uri)])
                    | beam.Map(_write_token_states, keras_uri(serving))
                )


class TeacherOutputs(BaseBeamComponent):
    """Writes the rows that it is given once more, each with what the teacher says of it.

    Outputs:
        answered: The given Examples, file by file, with a feature "teacher/NAME" for every output, see
            `output_features`; the split "spans", random spans of the training texts without label and text; and
            `token_states_file`.
    """

    SPEC_CLASS = _TeacherOutputsSpec
    EXECUTOR_SPEC = BeamExecutorSpec(_TeacherOutputsExecutor)

    def __init__(
        self,
        examples: BaseChannel,
        teacher: BaseChannel,
        *,
        outputs: Sequence[str],
        spans_per_text: int = 0,
        token_states: bool = True,
        seed: int = 0,
        code: str = "",
    ):
        """Constructs the component.

        Args:
            examples: What Transform made: `token_ids` and whatever else.
            teacher: The teacher's Model, with its Keras model beside the export; see `model_artifact`.
            outputs: The teacher's outputs, such as "logits" and "hidden_states/6".
            spans_per_text: How many random spans of the training texts join them for each text.
            token_states: Whether the teacher is asked about every token of its vocabulary, too.
            seed: Decides the spans.
            code: A fingerprint of the code, for TFX's cache.
        """
        settings = {
            "outputs": sorted(outputs),
            "spans_per_text": spans_per_text,
            "token_states": token_states,
            "seed": seed,
            "code": code,
        }
        super().__init__(
            _TeacherOutputsSpec(
                settings=json.dumps(settings),
                examples=examples,
                teacher=teacher,
                answered=Channel(type=standard_artifacts.Examples),
            )
        )


@functools.lru_cache(maxsize=1)
def _teacher(folder: str, outputs: tuple[str, ...]):
    """The teacher's preprocessor, and what gives its outputs: loaded and traced once in a worker."""
    task, preprocessor = load_keras(folder)
    named = Named(task, outputs)

    @tf.function(input_signature=[INPUT_SIGNATURE])
    def answer(inputs):
        return named(inputs, training=False)

    return preprocessor, lambda inputs, training=False: answer(inputs)


def _write_token_states(target: str, teacher: str) -> None:
    task, preprocessor = load_keras(teacher)
    progress.info("teacher: every token is asked about", extra={"passing": True})
    first, last = preprocessor.tokenizer.cls_token_id, preprocessor.tokenizer.sep_token_id
    with fileio.open(target, "wb") as file:
        np.save(file, token_states(task, first=first, last=last).astype(np.float16))


def _answer_file(task: tuple[str, str, int], teacher: str, outputs: list[str], seed: int) -> None:
    """Writes a file's rows, or spans of them, with the teacher's outputs. A worker that repeats it writes the same."""
    source, target, spans_per_text = task
    preprocessor, answer = _teacher(teacher, tuple(outputs))
    records = tf.data.TFRecordDataset([source], "GZIP").as_numpy_iterator()
    rows = map(tf.train.Example.FromString, records)
    if spans_per_text:
        rows = _spans([_token_ids(row) for row in rows], spans_per_text, source, seed, preprocessor.feature_names)
    fileio.makedirs(target.rpartition("/")[0])
    # Hidden states hardly get smaller, however long one tries.
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    with tf.io.TFRecordWriter(target, options) as writer:
        for row in _with_answers(rows, preprocessor, answer):
            writer.write(row.SerializeToString(deterministic=True))


def _spans(rows: list[np.ndarray], spans_per_text: int, source: str, seed: int, names: Sequence[str]) -> Iterator:
    """Random spans of a file's rows, as tf.Examples like those of the rows, without text and label."""
    # Another file has other spans, wherever its folder lies.
    seeds = [seed, *source.rpartition("/")[2].encode()]
    for span in random_spans(rows, spans_per_text * len(rows), seed=seeds):
        example = tf.train.Example()
        for name in (*names, "length_bucket"):
            example.features.feature[name].bytes_list.value[:] = [b""]
        example.features.feature["label"].int64_list.value[:] = [-1]
        example.features.feature[_TOKEN_IDS].int64_list.value[:] = span.tolist()
        yield example


def _with_answers(rows: Iterator, preprocessor, answer) -> Iterator:
    """tf.Examples with the teacher's outputs, chunk by chunk."""
    done = 0
    while chunk := list(itertools.islice(rows, _ROWS_A_CHUNK)):
        token_ids = [_token_ids(row) for row in chunk]
        token_ids = tf.RaggedTensor.from_row_lengths(np.concatenate(token_ids), [len(ids) for ids in token_ids])
        batches = Batches(token_ids, {}, _ROWS_A_BATCH, segment_ids=preprocessor.segments(token_ids))
        for name, values in batches.outputs_of(answer).items():
            is_by_token = isinstance(values, tf.RaggedTensor)
            if is_by_token:
                ends = values.row_splits.numpy()[1:-1]
                values = np.split(values.values.numpy().astype(np.float16), ends)
            for row, value in zip(chunk, values):
                feature = row.features.feature[TEACHER + name]
                if is_by_token:
                    feature.bytes_list.value[:] = [value.tobytes()]
                else:
                    feature.float_list.value[:] = value.tolist()
        yield from chunk
        done += len(chunk)
        progress.info("teacher: %s rows answered", f"{done:,}", extra={"passing": True})


def _token_ids(row) -> np.ndarray:
    return np.array(row.features.feature[_TOKEN_IDS].int64_list.value, np.int64)
