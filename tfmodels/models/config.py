"""Configurations: frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Mapping
from typing import NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from tfmodels.errors import UserError, nearest

# What values of a plain type may be, and what they are called.
_PLAIN = {
    bool: ((bool, np.bool_), "truth value"),
    int: (numbers.Integral, "whole number"),
    float: (numbers.Real, "number"),
    str: (str, "text"),
    tuple: ((list, tuple, range, np.ndarray), "list"),
    dict: (Mapping, "object with fields"),
}
_AT_LEAST_1 = ("num_layers", "num_heads", "vocabulary_size")


def check_value(kind, value, owner: str, name: str) -> None:
    """Makes sure that a field's value has the field's type, is finite, and in the range of sizes and rates.

    Args:
        kind: The field's type hint: a plain type, a tuple or dict, whose inside is not looked at, or one of them or
            None. Others are not checked.
        value: The value.
        owner: What has the field.
        name: The field's name: sizes and rates are known by it.

    Raises:
        UserError: It has another type, or is out of its range.
    """
    inner = [each for each in get_args(kind) if each is not type(None)]
    if type(None) in get_args(kind) and len(inner) == 1:
        if value is None:
            return
        (kind,) = inner
    kind = get_origin(kind) or kind
    if kind not in _PLAIN:
        return
    taken, called = _PLAIN[kind]
    # True is a number to Python alone.
    if not isinstance(value, taken) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{owner}.{name}={value!r} is no {called}: give one.")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{owner}.{name}={value!r} is not finite: give a number that is.")
    if kind is int:
        least = 1 if name in _AT_LEAST_1 or name.endswith("_dim") else 0 if name.startswith(("num_", "max_")) else value
        if value < least:
            raise UserError(f"{owner}.{name}={value!r} is no whole number from {least} on: give one.")
    if kind is float and name.endswith("dropout") and not 0 <= value <= 1:
        raise UserError(f"{owner}.{name}={value!r}: give a fraction, from 0 to 1.")


@functools.cache
def _hints(cls) -> Mapping:
    """The types of a class's fields, by name; none where hints name what is imported for type checkers alone."""
    try:
        return get_type_hints(cls)
    except NameError:
        return {}


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of every family's configuration.

    Raises:
        UserError: A value is of another type than its field, as those from JSON may be, or a size or rate is out of its
            range; subclasses look at what else there is.
    """

    def __post_init__(self):
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            check_value(hints.get(field.name), getattr(self, field.name), type(self).__name__, field.name)

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """A configuration from `to_dict`'s dictionary.

        Raises:
            UserError: A key is not a field; the nearest field is named.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise UserError(f"{cls.__name__} has no field {name!r}: {nearest(name, fields)}")
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
