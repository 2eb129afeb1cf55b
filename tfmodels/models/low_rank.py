"""An encoder with low-rank and locality constrained attention (Guo et al., IEEE/ACM TASLP 27(12), 2019).

It differs from BERT in its attention alone (`layers.low_rank`, which says what of it is the paper's). The paper trains
models of its own on moderate sets; their sizes could not be had, and this one's are ours, BERT-small's.

Cost: time O(B T (r + W) D + B T D^2) and memory O(B N T (r + W) + B T D) a layer.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfmodels.layers import LowRankAttention
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class LowRank(AttentionKind):
    """A matrix of low rank for what is far and a band for what is near, linear in the length; for encoders.

    Attributes:
        rank: r, of the part that sees everything.
        window: W, tokens on each side that the band sees.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Low-rank and locality constrained attention, TASLP 2019, told of in arXiv:2106.04554",
        time="T (r + W) D, rank r and a band of W tokens on each side",
        memory="N T (r + W)",
        power=1.0,
        sees="its neighbours exactly, and r summaries of all tokens",
        advice="Little data, and long texts whose far relations are of many tokens to a few. A single far token is "
        "seen through a summary only.",
    )

    rank: int = 16
    window: int = 8

    def make(self, config, index, dtype, positions=None):
        return LowRankAttention(
            config.num_heads,
            config.hidden_dim,
            self.rank,
            self.window,
            config.attention_dropout,
            dtype=dtype,
            name="attention",
        )


BACKBONE = BertBackbone
PRESETS = {
    "low_rank_transformer": Preset(
        BertConfig(num_layers=4, num_heads=8, hidden_dim=512, intermediate_dim=2048, attention=LowRank()),
        28_829_184,
        "IEEE/ACM TASLP 27(12), 2019; the sizes are ours, those of bert_small",
    ),
}
