"""Configurations: frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Mapping
from typing import NamedTuple, get_args, get_origin, get_type_hints

from tfmodels.errors import UserError, nearest

# The types of plain values: what is taken for each, and what it is called in a file.
_PLAIN = {
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text in quotes"),
    tuple: ((list, tuple), "a list in brackets"),
    dict: (Mapping, "fields in braces"),
}


def check_type(kind, value, place: str) -> None:
    """Makes sure that a plain value has the type of its field; of lists and dicts the inside is not looked at.

    Args:
        kind: A type hint. What is neither a plain type nor such a type or None is not checked.
        value: The value.
        place: What the field is called.

    Raises:
        UserError: It has another.
    """
    optional = [each for each in get_args(kind) if each is not type(None)]
    if len(optional) == 1 and type(None) in get_args(kind):
        if value is None:
            return
        (kind,) = optional
    kind = get_origin(kind) or kind
    if kind in _PLAIN:
        taken, words = _PLAIN[kind]
        # True is a number to Python alone.
        if not isinstance(value, taken) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"{place} is {value!r}: give {words}.")


@functools.cache
def _hints(cls) -> Mapping:
    return get_type_hints(cls)


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of every family's configuration."""

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """A configuration from `to_dict`'s dictionary.

        Raises:
            UserError: A key is not a field, and the nearest field is named; or a value is of another type than its
                field, or out of the range of sizes and rates.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in fields:
                raise UserError(f"{cls.__name__} has no field {name!r}: {nearest(name, fields)}")
            check_type(_hints(cls)[name], value, f"{cls.__name__}.{name}")
            is_size = name.endswith("_dim") or name in ("num_layers", "num_heads", "vocabulary_size")
            if is_size and value is not None and value < 1:
                raise UserError(f"{cls.__name__}.{name}={value}: give at least 1.")
            if name.endswith("dropout") and value is not None and not 0 <= value < 1:
                raise UserError(f"{cls.__name__}.{name}={value}: give a fraction, at least 0 and below 1.")
        return cls(**values)

    def replace(self, **changes) -> Config:
        """A copy with some fields changed."""
        return self.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """The fields as plain values, ready for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value.to_dict() if isinstance(value, Config) else value for name, value in values.items()}


class Preset(NamedTuple):
    """A published model: its configuration and the paper's parameter count.

    Attributes:
        config: The family's configuration.
        parameters: The number of parameters that the built backbone must have.
        source: The paper's table, or whatever defines the model.
    """

    config: Config
    parameters: int
    source: str
