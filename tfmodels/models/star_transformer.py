"""Star-Transformer: tokens on a ring around a relay that sees all of them (Guo et al., arXiv:1902.09113).

It differs from BERT in all but the embeddings (`layers.star`): a layer is a round of algorithm 1, which updates the
satellites, then the relay, which begins as the mean of the embeddings. There is no feed-forward network and no residual
connection. `pooled_output` is the mean of the relay and of the largest number of each feature over the satellites.

What differs: embeddings are normalised as BERT's are. The rounds have weights of their own, as in the authors' code
(github.com/fastnlp/fastNLP), where the ring is open, satellites are normalised before they attend, and the activation
is a leaky one. `Star` puts ring and relay in the place of attention in blocks of BERT's kind.

Cost: time O(B T D^2) and memory O(B T D) a layer.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from tfmodels.layers import StarAttention, StarBlock
from tfmodels.layers.star import with_relay
from tfmodels.models.attention import AttentionKind, Guide, Nodes
from tfmodels.models.bert import BertConfig, UnpooledBackbone
from tfmodels.models.config import Preset
from tfmodels.ops import masked_max


@dataclasses.dataclass(frozen=True)
class Star(AttentionKind):
    """Neighbours, the own embedding and a relay that sees all; linear in the length; for encoders."""

    guide: ClassVar[Guide] = Guide(
        paper="Star-Transformer, arXiv:1902.09113",
        time="T D",
        memory="N T",
        power=1.0,
        sees="its two neighbours exactly, and all others through one relay",
        advice="Little or moderate data, and whole texts to be classified. All that is far goes through one vector, so "
        "that a token cannot ask for another one; no language models.",
    )

    def make(self, config, index, dtype, positions=None):
        return StarAttention(
            config.num_heads, config.hidden_dim, config.attention_dropout, dtype=dtype, name="attention"
        )

    def make_nodes(self, config, dtype):
        return Relay(dtype=dtype, name="relay")


class Relay(Nodes):
    """The relay before the tokens; see `Nodes`. `embeddings` float[B, T, D] are the tokens as they are here."""

    sums_up = True

    def call(self, tokens, is_real):
        reals = ops.pad(is_real, ((0, 0), (1, 0)), constant_values=True)
        return {"nodes": with_relay(tokens, is_real), "is_real": reals, "embeddings": tokens}

    def compute_output_spec(self, tokens, is_real):
        batch, length, size = tokens.shape
        nodes = None if length is None else length + 1
        return {
            "nodes": keras.KerasTensor((batch, nodes, size), dtype=self.compute_dtype),
            "is_real": keras.KerasTensor((batch, nodes), dtype="bool"),
            "embeddings": keras.KerasTensor(tokens.shape, dtype=self.compute_dtype),
        }

    def tokens(self, nodes, length):
        return nodes[:, 1:]

    def summary(self, nodes, is_real):
        return 0.5 * (nodes[:, 0] + masked_max(nodes[:, 1:], is_real))


@dataclasses.dataclass(frozen=True)
class StarTransformerConfig(BertConfig):
    """The sizes and rates of a Star-Transformer; see `BertConfig`.

    Attributes:
        num_layers: K, the rounds of updates.
        intermediate_dim: Not used.
    """

    num_layers: int = 2
    num_heads: int = 6
    hidden_dim: int = 300
    intermediate_dim: int | None = None
    num_segments: int = 0
    activation: str = "relu"
    layer_norm_epsilon: float = 1e-6
    attention: AttentionKind | None = Star()


class StarTransformerBackbone(UnpooledBackbone):
    """The Star-Transformer; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("star_transformer", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    907800
    """

    config_class = StarTransformerConfig

    @classmethod
    def make_block(cls, config, dtype, attention, feed_forward, name):
        return StarBlock(attention, config.dropout, config.layer_norm_epsilon, dtype=dtype, name=name)

    @classmethod
    def make_feed_forward(cls, config, dtype):
        return None


_SOURCE = "arXiv:1902.09113; sizes that could not be checked, and the number of rounds and the count are ours"

BACKBONE = StarTransformerBackbone
PRESETS = {
    # Sentences of SST and 16 sets of reviews; pairs of SNLI, which the paper encodes apart.
    "star_transformer": Preset(StarTransformerConfig(), 10_758_000, _SOURCE),
    "star_transformer_snli": Preset(StarTransformerConfig(hidden_dim=600), 24_396_000, _SOURCE),
}
