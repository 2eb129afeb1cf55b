"""An encoder of feed-forward networks alone: "Do You Even Need Attention?" (Melas-Kyriazi, arXiv:2105.02723).

It differs from BERT in what stands in attention's place (`layers.length_feedforward`). The paper's models read images;
this one has the sizes of its base model, ViT-Base's, which are BERT-base's, for 512 tokens instead of 197.

Cost: time O(B T F D + B T D^2) and memory O(B (T + F) D) a layer for F units over the tokens.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfmodels.layers import LengthFeedForward
from tfmodels.models.attention import FixedLengthKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class FeedForwardOnly(FixedLengthKind):
    """A feed-forward network over the tokens (arXiv:2105.02723); for encoders.

    Attributes:
        units: F; None for the paper's four times the longest row, which makes the cost quadratic in it.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Do You Even Need Attention?, arXiv:2105.02723",
        time="T F D, F units over the tokens",
        memory="(T + F) D, and 2 F T numbers of weights",
        power=1.0,
        sees="all tokens, by their positions and never by what they say",
        advice="Inputs whose places have a fixed meaning, as patches of an image have; a baseline for the others. The "
        "paper's F of four times the length costs more than full attention.",
    )

    units: int | None = None

    def make(self, config, index, dtype, positions=None):
        length = self.length_of(config)
        return LengthFeedForward(
            length,
            4 * length if self.units is None else self.units,
            config.activation,
            config.attention_dropout,
            dtype=dtype,
            name="attention",
        )


BACKBONE = BertBackbone
PRESETS = {
    "feed_forward_only": Preset(
        BertConfig(attention=FeedForwardOnly()),
        106_330_368,
        "arXiv:2105.02723, section 3: ViT-Base's sizes, F = 4 T; 512 tokens of BERT's vocabulary, the count is ours",
    ),
}
