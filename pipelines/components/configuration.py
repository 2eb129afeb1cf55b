"""Configurations to JSON and back, so that a runner can take one from a file and TFX's cache sees every change."""

from __future__ import annotations

import dataclasses
import json
from typing import get_type_hints

from tfmodels.errors import UserError
from tfmodels.models.config import nearest


def to_json(config) -> str:
    """Any configuration, a dataclass of plain values and of others, as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)


def from_json(cls, text: str):
    """The configuration of class `cls` that `to_json` wrote, or the part of it that differs from the defaults.

    Raises:
        UserError: The text is not JSON, a key is unknown (the nearest is named), or one without a default is missing.
    """
    try:
        return from_dict(cls, json.loads(text))
    except json.JSONDecodeError as error:
        raise UserError(f"the configuration is not JSON ({error}): mend it.") from error


def from_dict(cls, values: dict):
    """The configuration of class `cls` from plain values, nested ones included; see `from_json`."""
    types = get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise UserError(f"{cls.__name__} has no field {name!r}: {nearest(name, fields)}")
    for name, item in fields.items():
        if name not in values and item.default is item.default_factory is dataclasses.MISSING:
            raise UserError(f"{cls.__name__} needs a value for {name!r}: give one.")
    return cls(**{name: _typed(types[name], value) for name, value in values.items()})


def _typed(kind, value):
    """A plain value as its field's type: nested configurations and tuples."""
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value)
    if isinstance(value, list | tuple):
        inner = getattr(kind, "__args__", (None,))[0]
        return tuple(_typed(inner, item) for item in value)
    return value
