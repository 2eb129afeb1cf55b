"""What Keras's own TensorBoard callback does not log: hyperparameters, attention, and vectors for the projector.

All of it goes into the `logs` folder of `fit`, beside what Keras writes there:

    logs = directory / "logs"
    callbacks = [Hyperparameters(logs, config), AttentionPictures(logs, task, preprocessor, "A good film.")]
    fit(task, train, validation, config, directory, callbacks=callbacks)
    write_projector(logs, "validation rows", sentence_vectors(task, validation), {"label": ..., "text": ...})

The HPARAMS tab shows a run's values beside the last figures of its epochs, which Keras logs. What is written after
`fit` shows the weights of the best epoch; callbacks see those of the epoch that has just ended.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format

# Not `hparams.api`, which imports `tf.keras`: beside TFX that is Keras 2.
from tensorboard.plugins.hparams import api_pb2, summary, summary_v2
from tensorboard.plugins.projector import ProjectorConfig

from tfmodels.files import atomic_file

_PROJECTOR_FILE = "projector_config.pbtxt"
# Fonts with other scripts' letters, taken where the machine has them.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")


class Hyperparameters(keras.callbacks.Callback):
    """Logs a run's hyperparameters when training begins and, when it ends, that it did.

    Args:
        log_directory: The folder that holds Keras's `train` and `validation` logs.
        values: A configuration class's instance or a mapping, nested or not; nested names are joined by dots.
        run: Whose figures stand beside the values: "validation", or "train" where there is no validation.
    """

    def __init__(self, log_directory, values, run: str = "validation"):
        super().__init__()
        self.directory = Path(log_directory) / run
        self.values = dict(_flat(values))

    def on_train_begin(self, logs=None):
        # The group names the run: by default, runs with equal values would become one line.
        self._write(summary_v2.hparams_pb(self.values, trial_id=str(self.directory.resolve())))

    def on_train_end(self, logs=None):
        self._write(summary.session_end_pb(api_pb2.STATUS_SUCCESS))

    def _write(self, message):
        # Each message is a file of its own, closed before Keras opens, or after it has closed, its file in the same
        # folder: TensorBoard leaves a file for good as soon as it finds a newer one.
        writer = _writer(self.directory, "hparams")
        with writer.as_default():
            tf.summary.experimental.write_raw_pb(message.SerializeToString(), step=0)
        writer.close()


class AttentionPictures(keras.callbacks.Callback):
    """Draws the attention of one sentence after every epoch: an image for each layer, with a map for each head.

    Args:
        log_directory: Where to log.
        task: The task whose attention is drawn; while a `Distiller` is trained, its student.
        preprocessor: Makes the task's inputs of a text, as `tfmodels.text.TextPreprocessor` does.
        text: The sentence, or a tuple of two for pairs.
        layers: Which layers to draw, counted from 1; the first and the last by default.
    """

    def __init__(self, log_directory, task, preprocessor, text, layers: Sequence[int] | None = None):
        super().__init__()
        self.log_directory = Path(log_directory)
        self.pieces, self._inputs = _encode(preprocessor, text)
        self._intermediates = task.with_intermediates()
        self._layers = layers

    def on_train_begin(self, logs=None):
        self._events = _writer(self.log_directory, "attention")

    def on_epoch_end(self, epoch, logs=None):
        weights = _attention(self._intermediates, self._inputs)
        description = "A row shows where the piece on the left looks; darker is more."
        with self._events.as_default():
            for layer in self._layers or sorted({1, len(weights)}):
                picture = _attention_picture(weights[layer - 1], self.pieces)
                tf.summary.image(f"attention/layer {layer}", picture[np.newaxis], epoch, description=description)
        self._events.flush()

    def on_train_end(self, logs=None):
        self._events.close()


def sentence_attention(task, preprocessor, text) -> tuple[list[str], np.ndarray]:
    """How a task's heads attend on one sentence.

    Args:
        task: Any task whose backbone gives `attention_scores`.
        preprocessor: Makes the task's inputs of a text.
        text: The sentence, or a tuple of two for pairs.

    Returns:
        The T word pieces, special tokens included, and float32[K, N, T, T]: the softmax of the scores over the real
        tokens, so that each row adds up to one.
    """
    pieces, inputs = _encode(preprocessor, text)
    return pieces, _attention(task.with_intermediates(), inputs)


def sentence_vectors(task, batches) -> np.ndarray:
    """The vector of every row that the task's head sees: pooled as the task pools.

    Args:
        task: A task that pools, such as `TextClassifier`.
        batches: `Batches`.

    Returns:
        float32[rows, D], in the rows' order.
    """
    pooling = task.settings.get("pooling")

    def vectors(inputs, training=False):
        features = task.backbone(inputs, training=training)
        return {"vector": features["pooled_output"] if pooling is None else pooling({**inputs, **features})}

    return batches.outputs_of(vectors)["vector"]


def write_projector(log_directory, name: str, vectors, metadata: Mapping[str, Sequence]) -> None:
    """Adds vectors to TensorBoard's projector; vectors of the same name are replaced.

    A few thousand rows are what a browser takes. The token table of a backbone, for instance, is
    `backbone.parts["embeddings"].tokens`.

    Args:
        log_directory: Where to log.
        name: What the vectors are, such as "validation rows".
        vectors: float[rows, D].
        metadata: Column -> a value for each row, such as its label and its text, to colour and search by.

    Raises:
        ValueError: There are no rows, or a column has another number of rows.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"vectors must be [rows, D] with at least one row, not {vectors.shape}.")
    for column, values in metadata.items():
        if len(values) != len(vectors):
            raise ValueError(f"column {column!r} has {len(values)} values for {len(vectors)} vectors.")
    log_directory = Path(log_directory)
    stem = "projector/" + re.sub(r"\W+", "-", name).strip("-")
    with atomic_file(log_directory / f"{stem}.vectors.tsv") as partial:
        np.savetxt(partial, vectors, fmt="%.6g", delimiter="\t")

    config = ProjectorConfig()
    config_file = log_directory / _PROJECTOR_FILE
    if config_file.exists():
        text_format.Parse(config_file.read_text(encoding="utf-8"), config)
    kept = [embedding for embedding in config.embeddings if embedding.tensor_name != name]
    del config.embeddings[:]
    config.embeddings.extend(kept)
    embedding = config.embeddings.add(tensor_name=name, tensor_path=f"{stem}.vectors.tsv", tensor_shape=vectors.shape)
    if metadata:
        embedding.metadata_path = f"{stem}.metadata.tsv"
        with atomic_file(log_directory / embedding.metadata_path) as partial:
            partial.write_text(_table(metadata), encoding="utf-8", errors="replace")
    with atomic_file(config_file) as partial:
        partial.write_text(text_format.MessageToString(config), encoding="utf-8")


def _table(metadata: Mapping[str, Sequence]) -> str:
    """Tab-separated lines, as TensorBoard reads them: the names of the columns only where there are several."""
    rows = list(zip(*metadata.values()))
    if len(metadata) > 1:
        rows.insert(0, tuple(metadata))
    # A cell is one line without tabs, and not empty, or TensorBoard would lose count of the rows.
    return "".join("\t".join(" ".join(str(cell).split()) or "(empty)" for cell in row) + "\n" for row in rows)


def _writer(directory: Path, suffix: str):
    return tf.summary.create_file_writer(str(directory), filename_suffix=f".{suffix}")


def _flat(values, prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Nested values by dotted names, each of a type that the plugin takes."""
    for name, value in _named(values).items():
        name = f"{prefix}{name}"
        if _named(value):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (bool, int, float, str)):
            yield name, value
        else:
            yield name, json.dumps(value, default=str)


def _named(value) -> Mapping:
    """What is inside a value by name, or nothing if it is not nested; the parts of a list are counted from 1."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)) and any(_named(item) for item in value):
        return {str(place): item for place, item in enumerate(value, start=1)}
    return value if isinstance(value, Mapping) else {}


def _encode(preprocessor, text) -> tuple[list[str], dict]:
    texts = (text,) if isinstance(text, str) else tuple(text)
    inputs = preprocessor(*(tf.constant([part]) for part in texts))
    token_ids = inputs["token_ids"][0].numpy()[inputs["padding_mask"][0].numpy()]
    return [preprocessor.tokenizer.id_to_token(int(token_id)) for token_id in token_ids], inputs


def _attention(intermediates, inputs) -> np.ndarray:
    """float32[K, N, T, T] of the one row in `inputs`, without its padding."""
    scores = intermediates(inputs, training=False)["attention_scores"]
    real = np.asarray(inputs["padding_mask"])[0]
    scores = np.stack([np.asarray(keras.ops.cast(layer[0], "float32")) for layer in scores])
    scores = scores[:, :, real][:, :, :, real]  # [K, N, T, T]
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def _attention_picture(weights: np.ndarray, pieces: list[str]) -> np.ndarray:
    """uint8[height, width, 4]: a map for each of the N heads of float32[N, T, T]."""
    from matplotlib import font_manager, rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heads, length = len(weights), len(pieces)
    columns = min(heads, 4)
    rows = -(-heads // columns)
    # One mosaic with gaps of NaN, which stay white: an axis for each head takes ten times as long to draw.
    gap = 2
    mosaic = np.full((rows, length + gap, columns, length + gap), np.nan, np.float32)
    for head in range(heads):
        mosaic[head // columns, gap:, head % columns, gap:] = weights[head]
    mosaic = mosaic.reshape(rows * (length + gap), columns * (length + gap))
    starts = [np.arange(count) * (length + gap) + gap for count in (rows, columns)]
    ticks = [(start[:, np.newaxis] + np.arange(length)).ravel() for start in starts]

    known = set(font_manager.get_font_names())
    style = {"font.family": [font for font in _FONTS if font in known], "font.size": 7, "text.parse_math": False}
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        side = max(1.5, 0.13 * length)  # inches
        figure = Figure(figsize=(columns * side + 0.9, rows * side + 0.9), dpi=110, layout="constrained")
        axis = figure.add_subplot()
        axis.imshow(mosaic, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        for head in range(heads):
            place = starts[1][head % columns] + length / 2 - 0.5, starts[0][head // columns] - 0.7
            axis.text(*place, f"head {head + 1}", ha="center", va="bottom")
        axis.set_yticks(ticks[0], pieces * rows)
        axis.set_xticks(ticks[1], pieces * columns, rotation=90)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()
