"""`from_hf` and `to_hf`: the two directions of one table of names a family."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

from tfmodels.errors import UserError
from tfmodels.files import atomic_file
from tfmodels.interop.weights import load_entries, read_json, read_safetensors, save_entries
from tfmodels.models import Backbone, SpanClassifier, TextClassifier, TokenClassifier
from tfmodels.models.config import nearest

# config.json's model_type -> the module with BACKBONE, ARCHITECTURES, config_from_hf, config_to_hf and entries.
_FAMILIES = {"bert": "tfmodels.interop.bert"}

# Older checkpoints name a normalisation's weights as TensorFlow 1 did.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def from_hf(directory, *, task: type | None = None, dtype=None, **task_settings):
    """Loads a model that transformers saved.

    Args:
        directory: A folder with config.json and model.safetensors.
        task: A task class to load into, or `Backbone`; the default is what config.json's `architectures` names. A
            task's head stays random when the checkpoint has none.
        dtype: A Keras dtype policy.
        **task_settings: Settings of the task's head, such as `num_classes` or `dropout`.

    Returns:
        A `Backbone` or a `Task`.

    Raises:
        UserError: A file is missing, is of another family, or has a tensor missing or of the wrong shape.

    Example:
    >>> from tfmodels import datasets
    >>> from_hf(datasets.minilm()).count_params()  # doctest: +SKIP
    22713216
    """
    directory = Path(directory)
    values = read_json(directory / "config.json")
    family = _family(values.get("model_type"), directory)
    architecture = next(iter(values.get("architectures") or []), None)
    saved_class = family.ARCHITECTURES.get(architecture, family.BACKBONE)
    if architecture is not None and architecture not in family.ARCHITECTURES and task is None:
        raise UserError(
            f"{directory}/config.json names the architecture {architecture!r}: "
            f"{nearest(architecture, family.ARCHITECTURES)} Or give task=Backbone to load the encoder alone."
        )
    tensors = {_new_name(name): value for name, value in read_safetensors(_weights_file(directory)).items()}
    backbone = family.BACKBONE(family.config_from_hf(values), dtype=dtype)

    wanted = saved_class if task is None else task
    if issubclass(wanted, Backbone):
        prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
        has_pooler = f"{prefix}pooler.dense.weight" in tensors
        load_entries(family.backbone_entries(backbone, prefix, has_pooler), tensors, directory)
        return backbone
    if wanted in (TextClassifier, TokenClassifier):
        task_settings.setdefault("num_classes", len(values.get("id2label") or {}) or values.get("num_labels", 2))
        rate = values.get("classifier_dropout")
        task_settings.setdefault("dropout", backbone.config.dropout if rate is None else rate)
    model = wanted(backbone, **task_settings)
    if wanted is saved_class:
        load_entries(family.entries(model), tensors, directory)
    else:
        prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
        has_pooler = f"{prefix}pooler.dense.weight" in tensors
        load_entries(family.backbone_entries(backbone, prefix, has_pooler), tensors, directory)
    return model


def to_hf(model, directory, *, labels=None) -> Path:
    """Saves a model so that transformers loads it.

    Args:
        model: A backbone or a task with a counterpart in transformers.
        directory: A folder, made when absent; config.json and model.safetensors in it are replaced.
        labels: The classes' names, in order.

    Returns:
        The directory.

    Raises:
        UserError: transformers has no such model, or there are not as many labels as classes.
    """
    directory = Path(directory)
    backbone = model if isinstance(model, Backbone) else model.backbone
    for family in map(import_module, _FAMILIES.values()):
        if isinstance(backbone, family.BACKBONE):
            break
    else:
        raise UserError(f"transformers has no counterpart of {type(backbone).__name__}.")
    names = {ours: theirs for theirs, ours in family.ARCHITECTURES.items()}
    if type(model) not in names or getattr(model.head if model is not backbone else None, "pooling", None):
        raise UserError(f"transformers has no counterpart of this {type(model).__name__}: save its backbone instead.")
    values = {**family.config_to_hf(backbone.config), "architectures": [names[type(model)]], "torch_dtype": "float32"}
    if isinstance(model, SpanClassifier):
        values["num_labels"] = 2
    elif isinstance(model, TextClassifier | TokenClassifier):
        count = model.settings["num_classes"]
        labels = list(labels) if labels is not None else [f"LABEL_{index}" for index in range(count)]
        if len(labels) != count:
            raise UserError(f"{len(labels)} labels were given for {count} classes: give one for every class.")
        values["classifier_dropout"] = model.settings["dropout"]
        values["id2label"] = {str(index): label for index, label in enumerate(labels)}
        values["label2id"] = {label: index for index, label in enumerate(labels)}
    directory.mkdir(parents=True, exist_ok=True)
    save_entries(family.entries(model), directory / "model.safetensors")
    with atomic_file(directory / "config.json") as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return directory


def _family(model_type, directory):
    if model_type not in _FAMILIES:
        raise UserError(f"{directory} holds a model of type {model_type!r}; supported: {', '.join(_FAMILIES)}.")
    return import_module(_FAMILIES[model_type])


def _weights_file(directory: Path) -> Path:
    path = directory / "model.safetensors"
    if path.is_file():
        return path
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in directory.glob(pattern))
    if pickled:
        raise UserError(
            f"{directory} holds only pickled weights ({pickled[0]}), which can run code when they are read: convert "
            "them to model.safetensors (save_pretrained with safe_serialization=True)."
        )
    raise UserError(f"{directory} has no model.safetensors: give a directory that transformers saved.")


def _new_name(name):
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name
