"""Distillation losses by name, as a configuration states them.

    {"logit_regression": {}, "hidden_states": {"weight": 0.5, "layer_map": {"2": 3, "-1": -1}}}

A new loss joins `LOSSES` by a line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tfmodels.distillation import (
    AttentionScores,
    CosineHiddenStates,
    DistillationLoss,
    Embeddings,
    HiddenStates,
    LogitRegression,
    SoftLabels,
)
from tfmodels.errors import UserError, nearest


class LossEntry(NamedTuple):
    """A loss that a configuration may name.

    Attributes:
        make: The loss's class, or a function with its settings.
        first_layer: What the loss's own layer map calls the first layer; a configuration calls it 1.
    """

    make: Callable[..., DistillationLoss]
    first_layer: int = 1


LOSSES: dict[str, LossEntry] = {
    "soft_labels": LossEntry(SoftLabels),
    "logit_regression": LossEntry(LogitRegression),
    "embeddings": LossEntry(Embeddings),
    "hidden_states": LossEntry(HiddenStates),
    "cosine_hidden_states": LossEntry(CosineHiddenStates),
    "attention_scores": LossEntry(AttentionScores, first_layer=0),
}


def make_losses(chosen: Mapping[str, Mapping], student_layers: int, teacher_layers: int) -> list[DistillationLoss]:
    """The losses that a configuration names.

    Args:
        chosen: Name -> settings: `weight`, and whatever else the loss's class takes. A `layer_map` counts the layers of
            both models from 1, or from -1 backwards.
        student_layers: K of the student.
        teacher_layers: K of the teacher.

    Returns:
        The losses, in the order of `chosen`, named as there; those of weight zero are left out.

    Raises:
        UserError: There is no such loss, setting or layer, or a setting has no possible value.
    """
    losses = []
    for name, settings in chosen.items():
        if name not in LOSSES:
            raise UserError(f"there is no distillation loss {name!r}: {nearest(name, LOSSES)}")
        entry, settings = LOSSES[name], dict(settings)
        known = _settings(entry.make)
        for setting in settings:
            if setting not in known:
                raise UserError(f"the loss {name!r} has no setting {setting!r}: {nearest(setting, known)}")
        if not settings.get("weight", 1.0):
            continue
        if "layer_map" in settings:
            pairs = layer_pairs(settings["layer_map"], student_layers, teacher_layers)
            shift = entry.first_layer - 1
            settings["layer_map"] = {ours + shift: theirs + shift for ours, theirs in pairs.items()}
        elif "layer_map" in known:
            raise UserError(f'the loss {name!r} needs a layer_map, such as {{"-1": -1}}, from last to last: give one.')
        try:
            losses.append(entry.make(**settings, name=name))
        except ValueError as error:
            raise UserError(f"the loss {name!r} cannot be made: {error}") from error
    return losses


def _settings(make: Callable) -> set[str]:
    # Keras gives classes a `__new__` of any arguments, which `signature` would look at.
    parameters = inspect.signature(make.__init__ if isinstance(make, type) else make).parameters
    return set(parameters) - {"self", "kwargs", "name"}


def teacher_outputs(losses: list[DistillationLoss]) -> list[str]:
    """The teacher's outputs that losses read and that can be stored, in order; the logits always.

    Attention scores are T times T numbers a head: with them, the teacher runs in every step.
    """
    names = dict.fromkeys(name for loss in losses for name in loss.teacher_names)
    return sorted({"logits", *(name for name in names if not name.startswith("attention_scores/"))})


def layer_pairs(layer_map: Mapping[str, int], student_layers: int, teacher_layers: int) -> dict[int, int]:
    """A layer map with both sides counted from 1.

    Raises:
        UserError: A model has no such layer.
    """

    def counted(layer, total):
        layer = int(layer)
        return layer + total + 1 if layer < 0 else layer

    pairs = {}
    for ours, theirs in layer_map.items():
        pair = counted(ours, student_layers), counted(theirs, teacher_layers)
        if not (1 <= pair[0] <= student_layers and 1 <= pair[1] <= teacher_layers):
            raise UserError(
                f"the layer map takes layer {ours} of the student to layer {theirs} of the teacher, but they have "
                f"{student_layers} and {teacher_layers}: change the student's stages."
            )
        pairs[pair[0]] = pair[1]
    return pairs
