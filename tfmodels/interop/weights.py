"""Reading and writing safetensors, and carrying tensors into variables by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from tfmodels.errors import UserError
from tfmodels.files import atomic_file

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": ml_dtypes.bfloat16}


class Entry(NamedTuple):
    """Where one variable's value lies in a checkpoint.

    Attributes:
        name: The tensor's name in the checkpoint.
        variable: The Keras variable.
        transpose: Whether the checkpoint holds the transposed matrix, as torch's linear layers do.
    """

    name: str
    variable: object
    transpose: bool = False


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The floating-point tensors of a safetensors file, as float32 by name; integer buffers are left out.

    Raises:
        UserError: The file is not a whole safetensors file.
    """
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): fetch or save it again.") from error
    return {
        name: np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"]).astype("float32")
        for name, tensor in tensors
        if tensor["dtype"] in _DTYPES
    }


def load_entries(entries: Iterable[Entry], tensors: Mapping[str, np.ndarray], source) -> None:
    """Assigns every entry's tensor to its variable; all are checked before the first is assigned.

    Raises:
        UserError: A tensor is missing or has the wrong shape; it is named.
    """
    values = []
    for name, variable, transpose in entries:
        if name not in tensors:
            raise UserError(f"{source} has no tensor {name!r}: it is not a whole checkpoint of this model.")
        value = tensors[name].T if transpose else tensors[name]
        if value.shape != tuple(variable.shape):
            raise UserError(
                f"{source}: tensor {name!r} has shape {tensors[name].shape}, but the model needs "
                f"{tuple(variable.shape)[:: -1 if transpose else 1]}: weights and config.json differ."
            )
        values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


def save_entries(entries: Iterable[Entry], path: Path) -> None:
    """Writes every entry's variable as float32, atomically."""
    tensors = {}
    for name, variable, transpose in entries:
        value = np.asarray(variable, "float32")
        tensors[name] = np.ascontiguousarray(value.T if transpose else value)
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


def read_json(path: Path) -> dict:
    """A JSON object from a file.

    Raises:
        UserError: The file is missing or is not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a directory that holds {path.name}.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object.")
    return value
