"""Configurations to JSON and back, so that a runner can take one from a file and TFX's cache sees every change."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args, get_type_hints

from tfmodels.errors import UserError, nearest
from tfmodels.models.config import plain_value


def to_json(config) -> str:
    """Any configuration, a dataclass of plain values and of others, as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)


def from_json(cls, text: str):
    """The configuration of class `cls` that `to_json` wrote, or the part of it that differs from the defaults.

    Raises:
        UserError: The text is not JSON, a key is unknown (the nearest is named), one without a default is missing,
            or a value is of another type than its field or out of its range.
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


def refuse_fields(settings: dict, *places: str) -> None:
    """Makes sure that a user's settings leave fields to the run.

    Args:
        settings: Plain values.
        places: The fields, such as "paths" or "rows.table".

    Raises:
        UserError: One of them is there.
    """
    for place in places:
        part, _, name = place.rpartition(".")
        given = settings.get(part, {}) if part else settings
        if isinstance(given, dict) and name in given:
            raise UserError(f"the run sets {place} itself: leave it out of --config.")


def check_settings(cls, settings: dict, *of_the_run: str) -> None:
    """Looks at what a user gives of a configuration of class `cls`, before the run adds what it alone knows.

    Args:
        cls: The class.
        settings: The plain values.
        of_the_run: The fields that the run sets, as `refuse_fields` takes them.

    Raises:
        UserError: One of those is given, a key is unknown, or a value does not fit its field.
    """
    refuse_fields(settings, *of_the_run)
    # Parts that the run completes lack what they need.
    completed = {place.split(".")[0] for place in of_the_run if "." in place} & settings.keys()
    _given(cls, {name: value for name, value in settings.items() if name not in completed})
    for name in completed:
        _given(get_type_hints(cls)[name], settings[name])


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
    of_list = get_args(kind)[:1]
    if of_list and dataclasses.is_dataclass(of_list[0]):
        items = plain_value(tuple, value, owner, name)
        return tuple(from_dict(of_list[0], item) for item in items)
    return plain_value(kind, value, owner, name)
