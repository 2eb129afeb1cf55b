"""BigBird: BERT on long texts, with attention to a window, to global blocks and to random ones (arXiv:2007.14062).

It differs from BERT in its attention (`layers.bigbird`, which says how transformers differs), in its vocabulary and in
its 4,096 positions; a text is classified by a layer of its own on the first token. The sizes are those of the released
models, google/bigbird-roberta-base and -large, in the internal construction (ITC).

Cost: time O(B T C (5 + R) D + B T D^2) and memory O(B N T C (5 + R) + B T D) a layer, for blocks of C tokens and R
random blocks.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfmodels.layers import DenseFirstToken
from tfmodels.layers.bigbird import BlockSparseAttention
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class BigBirdAttention(AttentionKind):
    """BigBird's block-sparse attention (arXiv:2007.14062, section 2), linear in the length; for encoders.

    Attributes:
        block_size: tokens of a block.
        num_random_blocks: Blocks drawn at random for every block, by head and layer.
        seed: What the random blocks follow from; each layer draws its own.
        as_transformers: Whether to compute what transformers' BigBird does, which minds how a batch is padded and has
            no random blocks at inference; `layers.bigbird` lists it all.
    """

    guide: ClassVar[Guide] = Guide(
        paper="BigBird, arXiv:2007.14062",
        time="T C (5 + R) D, blocks of C tokens, R of them random",
        memory="N T C (5 + R)",
        power=1.0,
        sees="its block and the two beside it, the first and the last block, R random blocks",
        advice="Long texts whose beginning and end matter, and checkpoints of BigBird. Up to (4 + R) C tokens it "
        "is full attention.",
    )

    block_size: int = 64
    num_random_blocks: int = 3
    seed: int = 0
    as_transformers: bool = False

    def make(self, config, index, dtype, positions=None):
        return BlockSparseAttention(
            config.num_heads,
            config.hidden_dim,
            config.attention_dropout,
            self.block_size,
            self.num_random_blocks,
            self.seed + index,
            self.as_transformers,
            dtype=dtype,
            name="attention",
        )


@dataclasses.dataclass(frozen=True)
class BigBirdConfig(BertConfig):
    """The sizes and rates of a BigBird encoder; see `BertConfig`. `attention=None` is full attention."""

    vocabulary_size: int = 50_358
    max_sequence_length: int = 4096
    activation: str = "gelu_new"
    attention: AttentionKind | None = BigBirdAttention()


class BigBirdBackbone(BertBackbone):
    """The BigBird encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("bigbird_base", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    10904064
    """

    config_class = BigBirdConfig

    def make_classifier_pooling(self, dropout):
        config = self.config
        return DenseFirstToken(config.hidden_dim, config.activation, dropout, dtype=self.dtype_policy, name="pooling")


def _bigbird(layers, heads, hidden):
    return BigBirdConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden)


_SOURCE = "google/bigbird-roberta-{}; arXiv:2007.14062"

BACKBONE = BigBirdBackbone
PRESETS = {
    "bigbird_base": Preset(_bigbird(12, 12, 768), 127_468_800, _SOURCE.format("base")),
    "bigbird_large": Preset(_bigbird(24, 16, 1024), 359_123_968, _SOURCE.format("large")),
}
