"""Configurations to JSON and back, so that a runner can take one from a file and TFX's cache sees every change."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args, get_origin, get_type_hints

from tfmodels.errors import UserError, nearest
from tfmodels.models.config import check_type


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
    if not isinstance(values, dict):
        raise UserError(f"{cls.__name__} is made of fields and not of {values!r}: write them in braces.")
    types = get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise UserError(f"{cls.__name__} has no field {name!r}: {nearest(name, fields)}")
    for name, item in fields.items():
        if base is None and name not in values and item.default is item.default_factory is dataclasses.MISSING:
            raise UserError(f"{cls.__name__} needs a value for {name!r}: give one.")
    # A part starts from the default of its place, which need not be that of its class.
    places = {name: getattr(base, name, item.default) for name, item in fields.items()}
    given = {name: _typed(types[name], value, f"{cls.__name__}.{name}", places[name]) for name, value in values.items()}
    return cls(**given) if base is None else dataclasses.replace(base, **given)


def refuse_fields(settings: dict, *names: str) -> None:
    """Makes sure that a user's settings leave fields to the run.

    Raises:
        UserError: One of them is there.
    """
    for name in names:
        if name in settings:
            raise UserError(f"the run sets {name!r} itself: leave it out of --config.")


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


def _typed(kind, value, place: str, default=None):
    """A plain value as its field's type: nested configurations and tuples.

    Raises:
        UserError: It is of another type; `place` names the field.
    """
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, default if isinstance(default, kind) else None)
    check_type(kind, value, place)
    if not isinstance(value, list | tuple):
        return value
    of_tuple = next((each for each in get_args(kind) if get_origin(each) is tuple), kind)
    inner = get_args(of_tuple)
    if inner[-1] is not Ellipsis and len(value) != len(inner):
        raise UserError(f"{place} is {value!r}: give a list of {len(inner)}.")
    return tuple(_typed(inner[0], item, place) for item in value)
