"""An encoder of texts with external attention (Guo et al., arXiv:2105.02358).

It differs from BERT in its attention alone (`layers.external`). The paper's models read images; this one has
BERT-base's sizes, and the paper's 64 places of memory.

Cost: time O(B T M D + B T D^2) and memory O(B N T M + B T D) a layer for M places of memory.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfmodels.layers import ExternalAttention
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class External(AttentionKind):
    """External attention (arXiv:2105.02358, equations 5 and 6), linear in the length; for encoders.

    Attributes:
        memory_size: M, the places of memory that all heads share.
    """

    guide: ClassVar[Guide] = Guide(
        paper="External attention, arXiv:2105.02358",
        time="T M D, M places of memory",
        memory="N T M",
        power=1.0,
        sees="M learned vectors, and of the other tokens only how much they take of each",
        advice="When speed is all: tokens do not read each other, so that relations between words are lost.",
    )

    memory_size: int = 64

    def make(self, config, index, dtype, positions=None):
        return ExternalAttention(
            config.num_heads,
            config.hidden_dim,
            self.memory_size,
            config.attention_dropout,
            dtype=dtype,
            name="attention",
        )


BACKBONE = BertBackbone
PRESETS = {
    "external_transformer": Preset(
        BertConfig(attention=External()),
        95_406_336,
        "arXiv:2105.02358; BERT-base's sizes and 64 places of memory, the count is ours",
    ),
}
