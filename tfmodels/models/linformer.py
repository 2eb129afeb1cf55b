"""Linformer: RoBERTa with keys and values projected to a fixed number of rows (Wang et al., arXiv:2006.04768).

It differs from RoBERTa in its attention alone (`layers.linformer`, which says what is ours there). The paper trains
models of RoBERTa-base's size on 512 tokens with several k, and sharing from none to one map for all layers; the preset
is the smallest of them at k = 256.

Cost: time O(B T k D + B T D^2) and memory O(B T (D + N k)) a layer.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import ClassVar

from tfmodels.errors import UserError, nearest
from tfmodels.layers import LengthProjection, LinformerAttention
from tfmodels.models.attention import FixedLengthKind, Guide
from tfmodels.models.config import Preset
from tfmodels.models.roberta import RobertaBackbone, RobertaConfig

# Section 4, "Parameter sharing between projections"; each shares what the ones before it share.
_SHARING = ("none", "headwise", "key_value", "layerwise")


@dataclasses.dataclass(frozen=True)
class Linformer(FixedLengthKind):
    """Linformer's attention (arXiv:2006.04768, equation 7), linear in the length; for encoders.

    Attributes:
        projected_length: k, the rows that keys and values are projected to.
        sharing: "none", a map for the keys and one for the values of every head; "headwise", the two for all heads of
            a layer; "key_value", one for both; "layerwise", one for all layers.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Linformer, arXiv:2006.04768",
        time="T k D, k rows that keys and values are projected to",
        memory="T (D + N k), and k T numbers a map",
        power=1.0,
        sees="all tokens, through k learned mixtures of positions",
        advice="Encoders of texts that nearly fill a length known beforehand. What a mixture means is learned by "
        "position, so that much shorter texts than those of training suffer.",
    )

    projected_length: int = 256
    sharing: str = "key_value"

    def check(self, config):
        super().check(config)
        if self.sharing not in _SHARING:
            raise UserError(f"there is no sharing {self.sharing!r}: {nearest(self.sharing, _SHARING)}")

    def make(self, config, index, dtype, positions=None):
        return LinformerAttention(
            config.num_heads,
            config.hidden_dim,
            self._projection_of_layer(config, index, dtype),
            self._projection(config, dtype, "value_projection") if self.sharing in ("none", "headwise") else None,
            config.attention_dropout,
            dtype=dtype,
            name="attention",
        )

    def _projection(self, config, dtype, name):
        maps = config.num_heads if self.sharing == "none" else 1
        return LengthProjection(self.length_of(config), self.projected_length, maps, dtype=dtype, name=name)

    def _projection_of_layer(self, config, index, dtype):
        # A backbone makes its layers one after the other: layer 0 begins a new map, and the others of that backbone
        # join it. It is held by the layers alone.
        known = getattr(self, "_shared", lambda: None)()
        if self.sharing == "layerwise" and index > 0 and known is not None:
            return known
        projection = self._projection(config, dtype, "key_projection")
        object.__setattr__(self, "_shared", weakref.ref(projection))
        return projection


BACKBONE = RobertaBackbone
PRESETS = {
    "linformer_base": Preset(
        RobertaConfig(attention=Linformer(projected_length=256, sharing="layerwise")),
        124_776_704,
        "arXiv:2006.04768: RoBERTa-base, n = 512, k = 256; the count is ours",
    ),
}
