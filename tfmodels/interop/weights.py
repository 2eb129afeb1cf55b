"""Reading and writing safetensors, and carrying tensors into variables by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
        variable: The Keras variable; or an array, for a tensor that transformers keeps but never uses: it is written
            and not read.
        transpose: Whether the checkpoint holds the transposed matrix, as torch's linear layers do.
        optional: Whether a checkpoint may lack it: optional entries are all read, or none where all are missing.
    """

    name: str
    variable: object
    transpose: bool = False
    optional: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the checkpoint."""
        return tuple(self.variable.shape)[:: -1 if self.transpose else 1]

    def fits(self, tensors: Mapping[str, np.ndarray]) -> bool:
        """Whether the tensor is there, in the right shape."""
        return self.name in tensors and tensors[self.name].shape == self.shape


def linear_entries(name: str, layer, optional: bool = False) -> Iterator[Entry]:
    """A `Projection` as torch's linear layer keeps it."""
    yield Entry(f"{name}.weight", layer.kernel, transpose=True, optional=optional)
    yield Entry(f"{name}.bias", layer.bias, optional=optional)


def norm_entries(name: str, layer) -> Iterator[Entry]:
    """A `LayerNorm` as torch keeps it."""
    yield Entry(f"{name}.weight", layer.gamma)
    yield Entry(f"{name}.bias", layer.beta)


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


def read_checkpoint(directory: Path) -> dict[str, np.ndarray]:
    """The floating-point tensors of a directory that transformers saved, in one file or in shards, as float32 by name.

    Raises:
        UserError: A file is missing or broken, or the index and a shard disagree; the file is named.
    """
    path, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if path.is_file():
        return read_safetensors(path)
    if index.is_file():
        return _read_shards(index)
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in directory.glob(pattern))
    if pickled:
        raise UserError(
            f"{directory} holds only pickled weights ({pickled[0]}), which can run code when they are read: convert "
            "them to model.safetensors (save_pretrained with safe_serialization=True)."
        )
    raise UserError(f"{directory} has no model.safetensors: give a directory that transformers saved.")


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise UserError(f"{index} has no weight_map: fetch or save the checkpoint again.")
    tensors = {}
    for shard in sorted(set(places.values())):
        path = index.parent / shard
        if Path(shard).name != shard or not path.is_file():
            raise UserError(f"{path}, which {index.name} names, does not exist: fetch every shard of the checkpoint.")
        tensors |= read_safetensors(path)
    return tensors


def with_originals(tensors: Mapping[str, np.ndarray], tied: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The tensors, and those of which only the duplicate is there; `tied` is duplicate -> original."""
    found = {original: tensors[duplicate] for duplicate, original in tied.items() if duplicate in tensors}
    return {**found, **tensors}


def without_duplicates(tensors: Mapping[str, np.ndarray], tied: Mapping[str, str], source) -> dict[str, np.ndarray]:
    """The tensors without the duplicates of others; `tied` is duplicate -> original.

    Raises:
        UserError: A duplicate differs from its original: the checkpoint's weights are not tied.
    """
    for duplicate, original in tied.items():
        if duplicate in tensors and not np.array_equal(tensors[duplicate], tensors[original]):
            raise UserError(
                f"{source}: tensor {duplicate!r} differs from {original!r}, but in our model they are one: "
                "a checkpoint with untied weights is not supported."
            )
    return {name: value for name, value in tensors.items() if name not in tied}


def load_entries(entries: Iterable[Entry], tensors: Mapping[str, np.ndarray], source) -> set[str]:
    """Assigns every entry's tensor to its variable; all are checked before the first is assigned.

    Returns:
        The names of the optional entries that were left out.

    Raises:
        UserError: A tensor is missing or has the wrong shape; it is named.
    """
    entries = [entry for entry in entries if not isinstance(entry.variable, np.ndarray)]
    left_out = {entry.name for entry in entries if entry.optional}
    if any(name in tensors for name in left_out):
        left_out = set()
    values = []
    for entry in entries:
        if entry.name in left_out:
            continue
        if entry.name not in tensors:
            raise UserError(f"{source} has no tensor {entry.name!r}: it is not a whole checkpoint of this model.")
        value = tensors[entry.name]
        if not entry.fits(tensors):
            raise UserError(
                f"{source}: tensor {entry.name!r} has shape {value.shape}, but the model needs {entry.shape}: weights "
                "and config.json differ."
            )
        values.append((entry.variable, value.T if entry.transpose else value))
    for variable, value in values:
        variable.assign(value)
    return left_out


def save_entries(entries: Iterable[Entry], path: Path) -> None:
    """Writes every entry's variable as float32, atomically, except the optional ones."""
    tensors = {}
    for name, variable, transpose, optional in entries:
        if not optional:
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
