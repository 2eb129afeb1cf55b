"""`from_hf` and `to_hf`: the two directions of one table of names a family."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path

from tfmodels.errors import UserError, nearest
from tfmodels.files import atomic_file
from tfmodels.interop.family import Family
from tfmodels.interop.weights import (
    load_entries,
    read_checkpoint,
    read_json,
    save_entries,
    with_originals,
    without_duplicates,
)
from tfmodels.models import Backbone, SpanClassifier, TextClassifier, TokenClassifier

# config.json's model_type -> the module with FAMILY. A new family adds a line.
_FAMILIES = {
    "albert": "tfmodels.interop.albert",
    "bert": "tfmodels.interop.bert",
    "big_bird": "tfmodels.interop.bigbird",
    "electra": "tfmodels.interop.electra",
    "ernie": "tfmodels.interop.ernie",
    "nezha": "tfmodels.interop.nezha",
    "reformer": "tfmodels.interop.reformer",
    "roberta": "tfmodels.interop.roberta",
    "transfo-xl": "tfmodels.interop.transformer_xl",
    "xlnet": "tfmodels.interop.xlnet",
}

# Older checkpoints name a normalisation's weights as TensorFlow 1 did.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def from_hf(directory, *, task: type | None = None, dtype=None, **task_settings):
    """Loads a model that transformers saved.

    Tensors that the model has no place for are warned of by name, as transformers does. A head's weights are passed
    over in silence where `task` asks for another head or none.

    Args:
        directory: A folder with config.json and model.safetensors, or its shards with model.safetensors.index.json.
        task: A task class to load into, or `Backbone`; the default is what config.json's `architectures` names. A
            task's head stays random where the checkpoint has no such tensors, or has them in other shapes, and where
            its pooling is not the family's.
        dtype: A Keras dtype policy.
        **task_settings: Settings of the task's head, such as `num_classes` or `dropout`.

    Returns:
        A `Backbone` or a `Task`.

    Raises:
        UserError: A file is missing, is of another family, or has a tensor missing, of the wrong shape, or untied where
            the model's are tied.

    Example:
    >>> from tfmodels import datasets
    >>> from_hf(datasets.minilm()).count_params()  # doctest: +SKIP
    22713216
    """
    directory = Path(directory)
    values = read_json(directory / "config.json")
    family = _family(values.get("model_type"), directory)
    architecture = next(iter(values.get("architectures") or []), None)
    saved_class = family.architectures.get(architecture, family.backbone)
    if architecture is not None and architecture not in family.architectures and task is None:
        raise UserError(
            f"{directory}/config.json names the architecture {architecture!r}: "
            f"{nearest(architecture, family.architectures)} Or give task=Backbone to load the encoder alone."
        )
    tensors = {_new_name(name): value for name, value in read_checkpoint(directory).items()}
    tensors = {name: value for name, value in tensors.items() if not name.endswith(family.ignored)}
    backbone = family.backbone(_config_of(family, values, directory), dtype=dtype)

    wanted = saved_class if task is None else task
    is_backbone = issubclass(wanted, Backbone)
    if wanted in (TextClassifier, TokenClassifier):
        task_settings.setdefault("num_classes", len(values.get("id2label") or {}) or values.get("num_labels", 2))
        rate = values.get(family.classifier_dropout)
        task_settings.setdefault("dropout", backbone.config.dropout if rate is None else rate)
    model = backbone if is_backbone else wanted(backbone, **task_settings)

    tensors = with_originals(tensors, family.tied)
    has_counterpart = not is_backbone and _has_counterpart(model, family)
    if wanted is saved_class and has_counterpart:
        entries, scope, has_head = list(family.entries(model)), "", True
    else:
        scope = family.prefix if any(name.startswith(family.prefix) for name in tensors) else ""
        entries = list(family.backbone_entries(backbone, scope))
        head = list(family.head_entries(model)) if has_counterpart else []
        has_head = bool(head) and all(entry.fits(tensors) for entry in head)
        entries += head if has_head else []
    if has_head:
        tensors = without_duplicates(tensors, family.tied, directory)
    left_out = load_entries(entries, tensors, directory)
    if left_out and (is_backbone or wanted in family.with_optional):
        _warn(f"{directory} is without {_some(left_out)}: what they make, such as pooled_output, stays random.")
    # Without a prefix the encoder's tensors cannot be told from a head's.
    if scope or wanted is saved_class:
        unknown = {name for name in tensors if name.startswith(scope)} - {entry.name for entry in entries}
        if unknown:
            _warn(
                f"{directory} has the tensors {_some(unknown)}, which {wanted.__name__} has no place for: "
                "they were not loaded."
            )
    return model


def hf_config(directory):
    """The configuration of a backbone that transformers saved, without its weights.

    Args:
        directory: A folder with config.json.

    Raises:
        UserError: The file is missing, is of a family that is not known, or has a value that does not fit.
    """
    values = read_json(Path(directory) / "config.json")
    return _config_of(_family(values.get("model_type"), directory), values, directory)


def _config_of(family, values, directory):
    try:
        return family.config_from_hf(values)
    except UserError as error:
        raise UserError(f"{directory}/config.json: {error}") from error


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
    family = _family_of(type(backbone))
    names = {ours: theirs for theirs, ours in family.architectures.items()}
    if not isinstance(model, Backbone) and not _has_counterpart(model, family):
        raise UserError(f"transformers has no counterpart of this {type(model).__name__}: save its backbone instead.")
    values = {**family.config_to_hf(backbone.config), "architectures": [names[type(model)]], "torch_dtype": "float32"}
    if isinstance(model, SpanClassifier):
        values["num_labels"] = 2
    elif isinstance(model, TextClassifier | TokenClassifier):
        count = model.settings["num_classes"]
        labels = list(labels) if labels is not None else [f"LABEL_{index}" for index in range(count)]
        if len(labels) != count:
            raise UserError(f"{len(labels)} labels were given for {count} classes: give one for every class.")
        values[family.classifier_dropout] = model.settings["dropout"]
        values["id2label"] = {str(index): label for index, label in enumerate(labels)}
        values["label2id"] = {label: index for index, label in enumerate(labels)}
    directory.mkdir(parents=True, exist_ok=True)
    save_entries(family.entries(model), directory / "model.safetensors")
    with atomic_file(directory / "config.json") as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return directory


def check_configuration(backbone: type[Backbone], config) -> None:
    """Finds out, before anything is trained, whether `to_hf` could save a backbone.

    Args:
        backbone: Its class.
        config: Its configuration.

    Raises:
        UserError: transformers has no such model.
    """
    _family_of(backbone).config_to_hf(config)


def _family_of(backbone: type[Backbone]) -> Family:
    for family in map(_load, _FAMILIES):
        if backbone is family.backbone:
            return family
    raise UserError(f"transformers has no counterpart of {backbone.__name__}.")


def _load(model_type) -> Family:
    return import_module(_FAMILIES[model_type]).FAMILY


def _family(model_type, directory) -> Family:
    if model_type not in _FAMILIES:
        raise UserError(f"{directory} holds a model of type {model_type!r}; supported: {', '.join(_FAMILIES)}.")
    return _load(model_type)


def _has_counterpart(task, family):
    if type(task) not in family.architectures.values() or not family.has_counterpart(task):
        return False
    if not isinstance(task, TextClassifier):
        return True
    own = task.backbone.make_classifier_pooling(task.settings["dropout"])
    return type(task.settings["pooling"]) is type(own)


def _warn(text):
    warnings.warn(text, UserWarning, stacklevel=3)


def _some(names, most=8):
    """Names for a sentence: the first few, and how many more there are."""
    listed = ", ".join(repr(name) for name in sorted(names)[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")


def _new_name(name):
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name
