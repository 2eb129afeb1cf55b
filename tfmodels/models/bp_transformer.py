"""BP-Transformer: tokens that see near tokens and ever larger spans beyond (Ye et al., arXiv:1911.04070).

It differs from BERT in its attention (`layers.binary_partition`): the blocks work on the tokens and on the spans of
their binary partition, which begin as zeros. The text is read off the smallest span that holds all of it; a language
model sees what is to its left alone, and is read off its tokens. No positions are added to the embeddings.

What differs: there are word pieces where the paper has words and GloVe's vectors. Levels are told apart up to the one
that the authors' released settings name.

Cost: BERT's on twice as many nodes, with attention in time O(B T (k log(T / k) + log T) D) and memory
O(B N T k log(T / k)) a layer.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from tfmodels.layers import BinaryPartitionAttention
from tfmodels.layers.binary_partition import with_spans
from tfmodels.models.attention import AttentionKind, Guide, Nodes
from tfmodels.models.bert import BertConfig, UnpooledBackbone
from tfmodels.models.config import Preset
from tfmodels.ops import Partition, stretch


@dataclasses.dataclass(frozen=True)
class BinaryPartition(AttentionKind):
    """Near tokens and far spans, from fine to coarse; for encoders and language models.

    Attributes:
        density: k, the nodes of a level that a token sees on either side.
        num_levels: Levels of spans that have vectors of their own; what is above has those of the last one.
        causal: Whether a token sees itself and what came before it alone.
    """

    guide: ClassVar[Guide] = Guide(
        paper="BP-Transformer, arXiv:1911.04070",
        time="T k log(T / k) D, k nodes a level on either side",
        memory="N T k log(T / k)",
        power=1.0,
        sees="k tokens on either side exactly, and all others through spans that grow with the distance",
        advice="Long texts whose near words matter most, language models among them: every token hears of every other "
        "in two layers. All layers work on twice as many nodes as there are tokens.",
    )

    density: int = 4
    num_levels: int = 7
    causal: bool = False

    def make(self, config, index, dtype, positions=None):
        return BinaryPartitionAttention(
            config.num_heads,
            config.hidden_dim,
            config.attention_dropout,
            self.density,
            self.num_levels,
            self.causal,
            dtype=dtype,
            name="attention",
        )

    def make_nodes(self, config, dtype):
        return Spans(sums_up=not self.causal, dtype=dtype, name="spans")


class Spans(Nodes):
    """The spans of the binary partition beside the tokens, as zeros; see `Nodes`.

    Args:
        sums_up: Whether the smallest span that holds all real tokens sums up the text.
    """

    def __init__(self, sums_up=True, **kwargs):
        super().__init__(**kwargs)
        self.sums_up = sums_up

    def call(self, tokens, is_real):
        nodes, reals = with_spans(Partition(ops.shape(tokens)[1]), tokens, is_real)
        return {"nodes": nodes, "is_real": reals, "token_mask": is_real}

    def compute_output_spec(self, tokens, is_real):
        batch, _, size = tokens.shape
        return {
            "nodes": keras.KerasTensor((batch, None, size), dtype=self.compute_dtype),
            "is_real": keras.KerasTensor((batch, None), dtype="bool"),
            "token_mask": keras.KerasTensor(is_real.shape, dtype="bool"),
        }

    def tokens(self, nodes, length):
        return stretch(nodes, 0, length)

    def summary(self, nodes, is_real):
        root = Partition(ops.shape(is_real)[1]).root(is_real)  # [B]
        return ops.take_along_axis(nodes, root[:, None, None], axis=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class BPTransformerConfig(BertConfig):
    """The sizes and rates of a BP-Transformer; see `BertConfig`. `max_sequence_length` bounds nothing here."""

    num_layers: int = 5
    num_heads: int = 6
    hidden_dim: int = 300
    intermediate_dim: int = 600
    num_segments: int = 0
    activation: str = "relu"
    attention_dropout: float = 0.3
    layer_norm_epsilon: float = 1e-5
    positions: str = "none"
    attention: AttentionKind | None = BinaryPartition()


class BPTransformerBackbone(UnpooledBackbone):
    """The BP-Transformer; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("bp_transformer", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    756350
    """

    config_class = BPTransformerConfig


def _language_model(vocabulary_size):
    return BPTransformerConfig(
        vocabulary_size=vocabulary_size,
        num_layers=12,
        num_heads=8,
        hidden_dim=512,
        intermediate_dim=2048,
        attention_dropout=0.1,
        attention=BinaryPartition(density=64, causal=True),
    )


_SOURCE = "arXiv:1911.04070, section 4; levels told apart as in github.com/yzh119/BPT"

BACKBONE = BPTransformerBackbone
PRESETS = {
    # Reviews of IMDB, and sentences of SST-5.
    "bp_transformer": Preset(BPTransformerConfig(attention=BinaryPartition(num_levels=6)), 12_785_950, _SOURCE),
    "bp_transformer_sst": Preset(
        BPTransformerConfig(num_layers=4, attention=BinaryPartition(density=2, num_levels=3)), 12_053_000, _SOURCE
    ),
    # Bytes of Wikipedia, and its letters, as stretches of 8,192.
    "bp_transformer_enwik8": Preset(_language_model(204), 38_278_912, _SOURCE),
    "bp_transformer_text8": Preset(_language_model(27), 38_188_288, _SOURCE),
}
