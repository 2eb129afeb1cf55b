"""The layout of a trained model's artifacts, beside the SavedModel that TFX expects.

MODEL/Format-Serving/     the export
MODEL/Keras/              model.keras and the preprocessor's files: what a student's Trainer and the gate load
MODEL/Encoder/            of a pre-trained model: the encoder in Hugging Face's layout, with its tokeniser
MODEL_RUN/                history.json, predictions.npz and whatever else a report reads
"""

from __future__ import annotations

from pathlib import Path

import keras

from pipelines.components.files import local_copy, local_output

KERAS_FOLDER = "Keras"
ENCODER_FOLDER = "Encoder"
_MODEL_FILE = "model.keras"


def keras_uri(serving_model: str) -> str:
    """The folder with the Keras model that belongs to an export, given its Format-Serving folder."""
    return _beside(serving_model, KERAS_FOLDER)


def encoder_uri(serving_model: str) -> str:
    """The folder with the encoder that belongs to an export, given its Format-Serving folder."""
    return _beside(serving_model, ENCODER_FOLDER)


def _beside(serving_model: str, folder: str) -> str:
    return f"{str(serving_model).rstrip('/').rpartition('/')[0]}/{folder}"


def save_keras(model: keras.Model, preprocessor, uri: str) -> None:
    """Writes a task and its preprocessor."""
    with local_output(uri) as folder:
        model.save(Path(folder) / _MODEL_FILE)
        preprocessor.save(folder)


def load_keras(uri: str):
    """The (task, preprocessor) that `save_keras` wrote."""
    import tfmodels.models  # noqa: F401 (registers the classes that the file names)
    from tfmodels.text import TextPreprocessor

    with local_copy(uri) as folder:
        return keras.saving.load_model(Path(folder) / _MODEL_FILE, compile=False), TextPreprocessor.load(folder)
