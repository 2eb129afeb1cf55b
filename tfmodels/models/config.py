"""Configurations: frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import numbers
import sys
import types
from collections.abc import Mapping
from typing import NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from tfmodels.errors import UserError, nearest

# What values of a plain type may be, and what is said of others.
_PLAIN = {
    bool: (bool, "is no truth value: give true or false"),
    int: (numbers.Integral, "is no whole number: give one, without a point or quotes"),
    float: (numbers.Real, "is no number: give one, without quotes"),
    str: (str, "is no text: give one, in quotes"),
    tuple: ((list, tuple, range), "is no list: give one, in brackets"),
    dict: (Mapping, "has no fields: give some, in braces"),
}
_FROM_1 = ("num_layers", "num_heads", "vocabulary_size", "max_sequence_length")


def plain_value(kind, value, owner: str, name: str):
    """A field's value as plain Python has it: NumPy's numbers become Python's, and lists tuples.

    Args:
        kind: The field's type hint: a plain type, a tuple of them, a dict, whose inside is not looked at, or one of
            these or None. Values of other types are handed on.
        value: The value.
        owner: What has the field.
        name: The field's name: sizes and rates are known by it.

    Raises:
        UserError: The value has another type than the field, or is out of the range of sizes and rates.
    """
    inner = [each for each in get_args(kind) if each is not type(None)]
    if type(None) in get_args(kind) and len(inner) == 1:
        return None if value is None else plain_value(inner[0], value, owner, name)
    plain = get_origin(kind) or kind
    if plain not in _PLAIN:
        return value
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    taken, otherwise = _PLAIN[plain]
    # True is a number to Python alone.
    if not isinstance(value, taken) or (isinstance(value, bool) and plain is not bool):
        raise UserError(f"{owner}.{name}={value!r} {otherwise}.")
    if plain is tuple:
        kinds = inner[:1] * len(value) if Ellipsis in inner else inner
        if inner and len(kinds) != len(value):
            raise UserError(f"{owner}.{name}={value!r} is no list of {len(kinds)}: give as many.")
        items = zip(kinds or [None] * len(value), value)
        return tuple(plain_value(each, item, owner, f"{name}[{place}]") for place, (each, item) in enumerate(items))
    wrong = _out_of_range(plain, value, name)
    if wrong:
        raise UserError(f"{owner}.{name}={value!r} {wrong}.")
    return value


def _out_of_range(plain: type, value, name: str) -> str | None:
    """What is wrong with a number, where its field's name says that it is a size or a rate."""
    if plain is int and (name in _FROM_1 or name.endswith("_dim")) and value < 1:
        return "is no whole number from 1 on: give one"
    if plain is int and name.startswith(("num_", "max_")) and value < 0:
        return "is no whole number from 0 on: give one"
    # Infinity is a bound that there is not; NaN is nothing, and Python's whole numbers know no end.
    if plain is float and not (abs(value) <= sys.float_info.max or abs(value) == math.inf):
        return "is no number that a computer has: give one"
    if plain is float and name.endswith("dropout") and not 0 <= value < 1:
        return "is no rate: give a fraction, at least 0 and below 1"
    if plain is float and name.endswith("epsilon") and not 0 <= value < 1:
        return "is no small number: give one, such as 1e-12"
    return None


@functools.cache
def _hints(cls) -> Mapping:
    """The types of a class's fields, by name, but for those that name what is imported for type checkers alone."""
    hints = {}
    for field in dataclasses.fields(cls):
        owner = next(base for base in cls.__mro__ if field.name in vars(base).get("__annotations__", {}))
        own = types.SimpleNamespace(__annotations__={field.name: field.type})
        with contextlib.suppress(NameError):
            hints |= get_type_hints(own, vars(sys.modules[owner.__module__]))
    return hints


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of every family's configuration.

    NumPy's numbers become Python's, and lists tuples, so that every configuration goes to JSON.

    Raises:
        UserError: A value is of another type than its field, as those from JSON may be, or a size or rate is out of its
            range; subclasses look at what else there is.
    """

    def __post_init__(self):
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value = plain_value(hints.get(field.name), getattr(self, field.name), type(self).__name__, field.name)
            object.__setattr__(self, field.name, value)

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """A configuration from `to_dict`'s dictionary.

        Raises:
            UserError: A key is not a field, and the nearest field is named; or a value does not fit.
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
