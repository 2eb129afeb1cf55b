"""Configurations to JSON and back, so that a runner can take one from a file and TFX's cache sees every change."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args, get_origin, get_type_hints

from tfmodels.errors import UserError, nearest
from tfmodels.models.config import check_value


def to_json(config) -> str:
    """Any configuration, a dataclass of plain values and of others, as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)


def from_json(cls, text: str):
    """The configuration of class `cls` that `to_json` wrote, or the part of it that differs from the defaults.

    Raises:
        UserError: The text is not JSON, a key is unknown (the nearest is named), one without a default is missing,
            or a value is of another type than its field.
    """
    try:
        return from_dict(cls, json.loads(text))
    except json.JSONDecodeError as error:
        raise UserError(f"the configuration is not JSON ({error}): mend it.") from error


def from_dict(cls, values: dict, base=None):
    """The configuration of class `cls` from plain values, nested ones included; see `from_json`.

    Args:
        cls: The class.
        values: The plain values.
        base: A configuration that has what is left out; None takes the defaults.
    """
    given = _given(cls, values, base)
    for item in dataclasses.fields(cls):
        if base is None and item.name not in given and item.default is item.default_factory is dataclasses.MISSING:
            raise UserError(f"{cls.__name__} needs a value for {item.name!r}: give one.")
    return cls(**given) if base is None else dataclasses.replace(base, **given)


def check_settings(cls, values: dict, *of_the_run: str) -> None:
    """Looks at what a user gives of a configuration of class `cls`, before the run adds what it alone knows.

    Args:
        cls: The class.
        values: The plain values.
        of_the_run: The fields that the run sets, such as "paths" or "rows.table".

    Raises:
        UserError: One of those is given, a key is unknown, or a value is of another type than its field.
    """
    for place in of_the_run:
        *parts, name = place.split(".")
        part = values
        for each in parts:
            part = part.get(each, {}) if isinstance(part, dict) else {}
        if isinstance(part, dict) and name in part:
            raise UserError(f"the run sets {place} itself: leave it out of --config.")
    own = {place.split(".")[0] for place in of_the_run if "." in place}
    _given(cls, {name: value for name, value in values.items() if name not in own})
    for name in own & values.keys():
        _given(get_type_hints(cls)[name], values[name])


def _given(cls, values: dict, base=None) -> dict:
    """The fields of a class that plain values give, as their types."""
    if not isinstance(values, dict):
        raise UserError(f"{cls.__name__} is made of fields and not of {values!r}: write them in braces.")
    types = get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise UserError(f"{cls.__name__} has no field {name!r}: {nearest(name, fields)}")
    # A part starts from the default of its place, which need not be that of its class.
    places = {name: getattr(base, name, item.default) for name, item in fields.items()}
    return {name: _typed(types[name], value, cls.__name__, name, places[name]) for name, value in values.items()}


def check_stages(stages) -> None:
    """Checks that there are stages of a student, and that one student can go through them.

    Raises:
        UserError: It cannot.
    """
    if not stages:
        raise UserError("the student has no stages: give at least one.")
    for field in ("precision", "strategy"):
        values = [getattr(stage.fit, field) for stage in stages]
        if len(set(values)) > 1:
            raise UserError(
                f"the student's stages have {', '.join(values)} as their {field}, but the student is built once: give "
                "all of them the same."
            )


def _typed(kind, value, owner: str, name: str, default=None):
    """A plain value as its field's type: nested configurations and tuples.

    Raises:
        UserError: It is of another type, or out of its range.
    """
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, default if isinstance(default, kind) else None)
    check_value(kind, value, owner, name)
    of_tuple = next((each for each in (kind, *get_args(kind)) if get_origin(each) is tuple), None)
    if of_tuple is None or value is None:
        return value
    inner = get_args(of_tuple)
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        raise UserError(f"{owner}.{name}={value!r}: give a list of {len(kinds)}.")
    return tuple(_typed(each, item, owner, name) for each, item in zip(kinds, value))
