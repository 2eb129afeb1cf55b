"""Configurations: frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tfmodels.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of every family's configuration."""

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
