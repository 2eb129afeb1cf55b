"""The state of a training run in one file, from which the run goes on with the same result."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tfmodels.errors import UserError
from tfmodels.files import atomic_file


def save_variables(variables, path: Path, notes: dict | None = None) -> None:
    """Writes variables and a JSON-able dict of notes to one safetensors file, atomically.

    Raises:
        UserError: The file cannot be written, as on a full disk; the one that was there stays.
    """
    # Not ascontiguousarray, which makes vectors of scalars.
    tensors = {name: np.asarray(variable, order="C") for name, variable in _named(variables)}
    try:
        with atomic_file(path) as partial:
            save_file(tensors, partial, metadata={"notes": json.dumps(notes or {})})
    except (OSError, SafetensorError) as error:
        kept = "; the checkpoint before it is whole" if path.exists() else ""
        raise UserError(f"{path} cannot be written ({error}): make room or choose another directory{kept}.") from error


def restore_variables(variables, path: Path) -> dict:
    """Assigns what `save_variables` wrote and returns the notes; all is checked before the first is assigned.

    Raises:
        UserError: The file is damaged or of another model.
    """
    named = _named(variables)
    remedy = "remove its directory to start afresh."
    try:
        with safe_open(path, framework="numpy") as file:
            if set(file.keys()) != {name for name, _ in named}:
                raise UserError(f"{path} is the checkpoint of another model: {remedy}")
            notes = json.loads(file.metadata()["notes"])
            values = [file.get_tensor(name) for name, _ in named]
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from error
    for (name, variable), value in zip(named, values):
        if value.shape != tuple(variable.shape):
            raise UserError(f"{path} is the checkpoint of another model ({name} has shape {value.shape}): {remedy}")
    for (_, variable), value in zip(named, values):
        variable.assign(value)
    return notes


def _named(variables):
    # Paths alone are not unique: two layers may carry one name. The numbers that Keras appends to names depend on what
    # else the process has built, and the run may go on in another process.
    return [(f"{index:05d}/{re.sub(r'_[0-9]+', '', v.path)}", v) for index, v in enumerate(variables)]
