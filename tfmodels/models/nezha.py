"""NEZHA: BERT with fixed relative positions (Wei et al., arXiv:1909.00204).

It differs from BERT in its positions: no vectors are added to the embeddings; instead sinusoids of the distance between
query and key, clipped, are added to the keys and to the values in every layer (`layers.SinusoidKeysAndValues`), so that
any length can be read. Its other half, whole-word masking, is in `objectives`.

Cost: BERT's, and O(B N T^2 H) time and O(B N T^2) memory a layer for the distances.
"""

from __future__ import annotations

import dataclasses

from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class NezhaConfig(BertConfig):
    """The sizes and rates of a NEZHA encoder; see `BertConfig`. `max_sequence_length` bounds nothing here."""

    vocabulary_size: int = 21_128
    positions: str = "sinusoid_key_value"
    max_distance: int | None = 64


class NezhaBackbone(BertBackbone):
    """The NEZHA encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("nezha_base", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    7758336
    """

    config_class = NezhaConfig


def _nezha(layers, heads, hidden):
    return NezhaConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden)


_SOURCE = "arXiv:1909.00204, section 3.1"

BACKBONE = NezhaBackbone
PRESETS = {
    "nezha_base": Preset(_nezha(12, 12, 768), 101_874_432, _SOURCE),
    "nezha_large": Preset(_nezha(24, 16, 1024), 324_998_144, _SOURCE),
}
