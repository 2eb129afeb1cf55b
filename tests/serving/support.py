"""Tiny exports, versions on disk, and a preprocessor with a table."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfmodels
from serving import export_savedmodel, keras_reference
from tfmodels.files import atomic_directory
from tfmodels.models.tasks import TextClassifier
from tfmodels.text import TextPreprocessor, WordPieceTokenizer

VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    *(chr(code) for code in range(33, 127)),
    *(f"##{chr(code)}" for code in range(97, 123)),
    *("good", "bad", "film", "the", "plot", "\ufffd"),
]
LABELS = ["negative", "positive"]


@dataclass(frozen=True)
class Exported:
    """An export beside what it was made of."""

    path: Path
    model: keras.Model
    preprocessor: object
    reference: Callable

    def answers(self, texts) -> dict[str, np.ndarray]:
        """The Keras model's own outputs for single texts."""
        return self.reference({"text": list(texts)})


def tiny_classifier(seed: int, *, dtype: str | None = None) -> TextClassifier:
    """A BERT of one layer whose answers differ from text to text, and from seed to seed."""
    backbone = tfmodels.create_model(
        "bert_tiny",
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        vocabulary_size=len(VOCABULARY),
        dtype=dtype,
    )
    return randomised(TextClassifier(backbone, num_classes=len(LABELS)), seed)


def randomised(model: keras.Model, seed: int) -> keras.Model:
    """A model with weights that are large enough for its answers to differ from text to text."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return model


def tiny_preprocessor(*, pair: bool = False) -> TextPreprocessor:
    """Characters and a few words."""
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), sequence_length=32, pair=pair)


def make_exported(directory: Path, *, seed: int, pair: bool = False, dtype: str | None = None) -> Exported:
    """Exports a new tiny classifier."""
    model, preprocessor = tiny_classifier(seed, dtype=dtype), tiny_preprocessor(pair=pair)
    path = export_savedmodel(model, directory, preprocessor=preprocessor, labels=LABELS, card={"name": "tiny"})
    return Exported(path, model, preprocessor, keras_reference(model, preprocessor))


class TableClassifier(keras.Model):
    """Averages the embeddings of words that a table numbers."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(8, 2)
        self(tf.zeros((1, 1), tf.int32))

    def call(self, inputs, training=False):
        return {"logits": keras.ops.sum(self.embedding(inputs), axis=1)}

    def predictions(self, outputs):
        return outputs


class TablePreprocessor(tf.Module):
    """Words to ids by a lookup table, which only serves if the export tracks it."""

    feature_names = ("text",)

    def __init__(self):
        super().__init__()
        values = tf.lookup.KeyValueTensorInitializer(["good", "bad"], [1, 2])
        self.table = tf.lookup.StaticHashTable(values, default_value=0)

    def __call__(self, texts):
        return tf.ragged.map_flat_values(self.table.lookup, tf.strings.split(texts)).to_tensor()

    def save(self, directory):
        Path(directory).mkdir()
        Path(directory, "words.txt").write_text("good\nbad\n")


def publish(source: Path, base: Path, version: int, *, broken: bool = False) -> Path:
    """Copies an export to `<base>/<version>` in one step, as a pusher does; `broken` cuts its weights off."""
    final = base / str(version)
    with atomic_directory(final) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        if broken:
            next((partial / "variables").glob("*.data-*")).write_bytes(b"")
    return final
