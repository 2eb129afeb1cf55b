"""NEZHA's configuration and weight names in Hugging Face checkpoints: what differs from BERT's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfmodels.errors import UserError
from tfmodels.interop import bert
from tfmodels.interop.weights import Entry
from tfmodels.models import NezhaBackbone, NezhaConfig

_SINUSOIDS = "sinusoid_key_value"


def config_from_hf(values: Mapping) -> NezhaConfig:
    """A `NezhaConfig` from the contents of config.json."""
    # config.json may carry a position_embedding_type, which transformers' NEZHA does not look at.
    values = {name: value for name, value in values.items() if name != "position_embedding_type"}
    return bert.config_from_hf(values, NezhaConfig, max_distance=values.get("max_relative_position", 64))


def config_to_hf(config: NezhaConfig) -> dict:
    """The contents of config.json for a `NezhaConfig`."""
    if config.positions != _SINUSOIDS or config.max_distance is None:
        raise UserError(f"Hugging Face's NEZHA has positions {_SINUSOIDS!r} and a max_distance: give both to save it.")
    values = bert.shared_config_to_hf(config.replace(positions="absolute"), "nezha")
    del values["position_embedding_type"]
    return {**values, "max_relative_position": config.max_distance}


def backbone_entries(backbone: NezhaBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie: where BERT's do, without a table of positions."""
    for entry in bert.backbone_entries(backbone, prefix):
        if not entry.name.endswith(".position_embeddings.weight"):
            yield entry


FAMILY = bert.bert_family(
    "Nezha",
    NezhaBackbone,
    "nezha.",
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    ignored=(".position_ids", ".token_type_ids", ".positions_encoding"),
)
