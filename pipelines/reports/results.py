"""What a run of a classification pipeline found: the input of the report, and its form on disk.

A field that stays empty leaves its part of the report out; `labels`, `y_true` and one model are enough. Arrays may be
given as lists. The form on disk is `results.json`, which people can read, with `results.npz` for the arrays.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

_JSON_FILE, _ARRAYS_FILE = "results.json", "results.npz"


@dataclasses.dataclass(frozen=True)
class ModelResults:
    """One model and what was measured of it.

    Attributes:
        name: How the report calls it, such as "teacher".
        probabilities: float[rows, C] of the evaluated rows, in the order of `RunResults.y_true`.
        description: A few words, such as "MiniLM, fine-tuned".
        parameters: The number of its parameters.
        bytes: Its size on disk.
        latency: Batch size -> `median_ms`, `p99_ms` and `rows_per_second`, as the serving gate's report has it.
        history: Stage of training -> Keras's history: figure -> one value an epoch.
        fit_seconds: How long training took.
    """

    name: str
    probabilities: np.ndarray
    description: str = ""
    parameters: int | None = None
    bytes: int | None = None
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    fit_seconds: float | None = None

    def __post_init__(self):
        _set(self, probabilities=np.asarray(self.probabilities, np.float64))
        if self.probabilities.ndim != 2:
            raise ValueError(f"probabilities of {self.name!r} must be [rows, C], not {self.probabilities.shape}.")
        if not np.all(np.isfinite(self.probabilities)):
            raise ValueError(f"probabilities of {self.name!r} hold NaN or infinity.")
        _set(self, latency={str(size): dict(figures) for size, figures in self.latency.items()})


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of one model on one sentence.

    Attributes:
        model: The model's name.
        pieces: The T word pieces, special tokens included, without padding.
        weights: float[K, N, T, T], after the softmax; K layers of N heads.
    """

    model: str
    pieces: Sequence[str]
    weights: np.ndarray

    def __post_init__(self):
        _set(self, pieces=tuple(self.pieces), weights=np.asarray(self.weights, np.float32))
        length = len(self.pieces)
        if self.weights.ndim != 4 or self.weights.shape[2:] != (length, length):
            raise ValueError(f"attention weights must be [K, N, {length}, {length}], not {self.weights.shape}.")


@dataclasses.dataclass(frozen=True)
class RunResults:
    """One run.

    Attributes:
        labels: The C classes in the order of the models' outputs.
        y_true: int[rows], the classes of the evaluated rows.
        models: The first is what the others are compared with: the teacher, then the student.
        title: The report's title.
        verdict: One sentence on what became of the last model, such as "Passed its bounds; pushed as version 7".
        split: The name of the evaluated split.
        texts: The evaluated rows' texts, or tuples of two for pairs.
        slices: The evaluated rows' slices, such as "1-10 words"; made from the texts' words when absent.
        class_counts: Split -> class -> rows.
        token_lengths: Split -> int[rows], tokens with special ones, best before cutting.
        sequence_length: tokens; what is longer is cut.
        attention: One sentence's attention, of any of the models.
        sentences: What the served model was asked, as `texts`.
        answers: float[sentences, C], the probabilities that it gave.
        data: Facts about the table, such as {"source": "reviews.csv", "duplicate rows": 12}.
        warnings: What a user should know about the table, one sentence each.
        config: The run's configuration, nested.
        versions: Package -> version.
        component_seconds: Component of the pipeline -> seconds, in order.
        facts: Anything else on how it was made, such as {"command": ..., "machine": ..., "created": ...}.
    """

    labels: Sequence[str]
    y_true: np.ndarray
    models: Sequence[ModelResults]
    title: str = "Text classification"
    verdict: str = ""
    split: str = "test"
    texts: Sequence[str | tuple[str, ...]] = ()
    slices: Sequence[str] = ()
    class_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    token_lengths: Mapping[str, np.ndarray] = field(default_factory=dict)
    sequence_length: int | None = None
    attention: Sequence[Attention] = ()
    sentences: Sequence[str | tuple[str, ...]] = ()
    answers: np.ndarray | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    config: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    component_seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self):
        _set(
            self,
            labels=tuple(str(label) for label in self.labels),
            y_true=np.asarray(self.y_true, np.int64),
            models=tuple(self.models),
            texts=_texts(self.texts),
            slices=tuple(self.slices),
            token_lengths={split: np.asarray(values, np.int64) for split, values in self.token_lengths.items()},
            attention=tuple(self.attention),
            sentences=_texts(self.sentences),
            answers=None if self.answers is None else np.asarray(self.answers, np.float64),
            warnings=tuple(self.warnings),
        )
        rows, classes = len(self.y_true), len(self.labels)
        if not rows or not self.models:
            raise ValueError("a report needs at least one evaluated row and one model.")
        if self.y_true.min() < 0 or self.y_true.max() >= classes:
            raise ValueError(f"y_true must be between 0 and {classes - 1}, the last of {classes} labels.")
        for model in self.models:
            if model.probabilities.shape != (rows, classes):
                raise ValueError(
                    f"probabilities of {model.name!r} must be [{rows}, {classes}], not {model.probabilities.shape}."
                )
        if self.answers is not None and self.answers.shape != (len(self.sentences), classes):
            raise ValueError(f"answers must be [{len(self.sentences)}, {classes}], not {self.answers.shape}.")
        for name in ("texts", "slices"):
            if getattr(self, name) and len(getattr(self, name)) != rows:
                raise ValueError(f"{name} must have a value for each of the {rows} rows, or none.")

    def to_dict(self) -> dict:
        """The results as nested dicts, lists and arrays; `from_dict` takes them back."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for name in ("models", "attention"):
            values[name] = [{f.name: getattr(part, f.name) for f in dataclasses.fields(part)} for part in values[name]]
        return values

    @classmethod
    def from_dict(cls, values: Mapping) -> RunResults:
        """The results from nested dicts and lists.

        Raises:
            ValueError: A key is unknown or missing, or shapes disagree.
        """
        values = dict(values)
        try:
            values["models"] = [_of(ModelResults, part) for part in values.get("models", ())]
            values["attention"] = [_of(Attention, part) for part in values.get("attention", ())]
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"these are no results of a run: {error}.") from error

    def to_json(self) -> tuple[str, dict[str, np.ndarray]]:
        """The results as a JSON object that names its arrays, and the arrays by name."""
        arrays = {}

        def plain(value, path=""):
            if isinstance(value, np.ndarray):
                arrays[path] = value
                return {"array": path}
            if isinstance(value, Mapping):
                return {str(key): plain(item, f"{path}/{key}" if path else str(key)) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(item, f"{path}/{place}") for place, item in enumerate(value)]
            return value.item() if isinstance(value, np.generic) else value

        tree = plain(self.to_dict())
        return json.dumps(tree, indent=2, ensure_ascii=False, default=str), arrays

    @classmethod
    def from_json(cls, text: str, arrays: Mapping[str, np.ndarray]) -> RunResults:
        """The results from what `to_json` returned."""

        def filled(value):
            if isinstance(value, dict):
                return arrays[value["array"]] if set(value) == {"array"} else {k: filled(v) for k, v in value.items()}
            return [filled(item) for item in value] if isinstance(value, list) else value

        return cls.from_dict(filled(json.loads(text)))

    def save(self, directory: str | os.PathLike) -> Path:
        """Writes `results.json` and `results.npz` into a new folder, atomically; one that exists is replaced."""
        text, arrays = self.to_json()
        with atomic_directory(directory, overwrite=True) as folder:
            (folder / _JSON_FILE).write_text(text + "\n", encoding="utf-8", errors="replace")
            np.savez_compressed(folder / _ARRAYS_FILE, **arrays)
        return Path(directory)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> RunResults:
        """The results that `save` wrote.

        Raises:
            UserError: The folder holds none, or damaged ones.
        """
        directory = Path(directory)
        try:
            text = (directory / _JSON_FILE).read_text(encoding="utf-8")
            # Arrays of Python objects would be pickles, which run code.
            with np.load(directory / _ARRAYS_FILE, allow_pickle=False) as arrays:
                return cls.from_json(text, dict(arrays))
        except OSError as error:
            raise UserError(
                f"{directory} holds no results of a run ({error.strerror}): give another folder."
            ) from error
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"the results in {directory} are damaged ({error}): run the pipeline again.") from error


def _texts(values) -> tuple[str | tuple[str, ...], ...]:
    return tuple(text if isinstance(text, str) else tuple(text) for text in values)


def _of(cls, value):
    return value if isinstance(value, cls) else cls(**value)


def _set(instance, **values) -> None:
    """Sets fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)
