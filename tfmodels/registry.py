"""Names to models: every family's presets in one place."""

import fnmatch
from importlib import import_module

from tfmodels.errors import UserError, nearest
from tfmodels.models.config import Preset

# A family's module offers BACKBONE, the class, and PRESETS, by name. A new family adds a line.
_FAMILIES = (
    "tfmodels.models.albert",
    "tfmodels.models.awd_lstm",
    "tfmodels.models.bert",
    "tfmodels.models.bigbird",
    "tfmodels.models.bilstm",
    "tfmodels.models.bp_transformer",
    "tfmodels.models.da_transformer",
    "tfmodels.models.electra",
    "tfmodels.models.ernie",
    "tfmodels.models.etc",
    "tfmodels.models.external",
    "tfmodels.models.feed_forward_only",
    "tfmodels.models.linformer",
    "tfmodels.models.low_rank",
    "tfmodels.models.multi_scale",
    "tfmodels.models.nezha",
    "tfmodels.models.reformer",
    "tfmodels.models.roberta",
    "tfmodels.models.routing",
    "tfmodels.models.set_transformer",
    "tfmodels.models.star_transformer",
    "tfmodels.models.transformer_xl",
    "tfmodels.models.xlnet",
)


def _presets() -> dict[str, tuple[type, Preset]]:
    families = [import_module(name) for name in _FAMILIES]
    return {name: (family.BACKBONE, preset) for family in families for name, preset in family.PRESETS.items()}


def list_models(pattern: str = "*") -> list[str]:
    """The registered names that match a shell pattern.

    >>> list_models("xlnet*")
    ['xlnet_base', 'xlnet_large']
    """
    return sorted(fnmatch.filter(_presets(), pattern))


def describe_model(name: str) -> tuple[type, Preset]:
    """The backbone class and the preset behind a name.

    Raises:
        UserError: No model has that name; the nearest one is named.
    """
    presets = _presets()
    if name not in presets:
        raise UserError(f"there is no model {name!r}: {nearest(name, presets)}")
    return presets[name]


def create_model(name: str, *, dtype=None, **overrides):
    """A backbone with random weights.

    Args:
        name: A name from `list_models()`.
        dtype: A Keras dtype policy, such as "mixed_bfloat16".
        **overrides: Fields of the configuration to change.

    Returns:
        A `Backbone`.

    Raises:
        UserError: The name or a field is unknown; the nearest valid one is named.
    """
    backbone, preset = describe_model(name)
    return backbone(preset.config.replace(**overrides), dtype=dtype, name=name)
