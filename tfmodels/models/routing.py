"""Routing Transformer: language models whose tokens meet in clusters of content (Roy et al., arXiv:2003.05997).

It differs from BERT in its attention (`layers.routing`, which says how that differs from the paper) and in reading from
the left. Layers, heads, widths, clusters and lengths are those of the released configurations, `enwik8_local_cluster8k`
and `wikitext103_local_cluster4k`. The rest of a layer is BERT's: feed-forward networks without the paper's
gates, vectors of absolute positions in place of relative ones, normalisation after each part.

Cost: time O(B T (W + C) D + B T D^2) and memory O(B N T (W + C) + B T D) a layer, for clusters of which a token sees W
members and local windows of C tokens.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfmodels.layers import RoutingAttention
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class Routing(AttentionKind):
    """Routing Transformer's attention (arXiv:2003.05997, section 4.1): local heads and heads of k-means clusters.

    Attributes:
        num_clusters: K, of a head; None for the square root of `max_sequence_length`, so that a cluster of the longest
            row has about as many tokens as there are clusters.
        cluster_size: The most members of a cluster that a token sees; None for T / K, which a causal kind cannot know.
        window: tokens on each side that a local head sees.
        num_local_heads: Of all heads; None for half of them.
        causal: Whether a token sees itself and what came before it alone.
        decay: fraction of a centroid that stays at a step of training.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Routing Transformer, arXiv:2003.05997",
        time="T (W + C) D, W members of a cluster, C local tokens; T^1.5 D for sqrt(T) clusters of sqrt(T) tokens",
        memory="N T (W + C)",
        power=1.5,
        sees="its neighbours, and on half of the heads the tokens that k-means finds to be like it",
        advice="Long texts whose far relations are of content, language models among them. Centroids are learned by "
        "a moving average, so that short training routes badly.",
    )

    num_clusters: int | None = None
    cluster_size: int | None = None
    window: int = 256
    num_local_heads: int | None = None
    causal: bool = False
    decay: float = 0.999

    def make(self, config, index, dtype, positions=None):
        return RoutingAttention(
            config.num_heads,
            config.hidden_dim,
            round(config.max_sequence_length**0.5) if self.num_clusters is None else self.num_clusters,
            self.cluster_size,
            self.window,
            self.num_local_heads,
            config.attention_dropout,
            self.causal,
            self.decay,
            dtype=dtype,
            name="attention",
        )


def _routing(num_clusters, dropout, **sizes):
    attention = Routing(num_clusters, cluster_size=512, window=256, causal=True)
    return BertConfig(
        hidden_dim=1024,
        intermediate_dim=3072,
        num_segments=1,
        dropout=dropout,
        attention_dropout=dropout,
        attention=attention,
        **sizes,
    )


BACKBONE = BertBackbone
PRESETS = {
    "routing_transformer_enwik8": Preset(
        _routing(16, 0.0, vocabulary_size=256, num_layers=12, num_heads=8, max_sequence_length=8192),
        123_183_104,
        "arXiv:2003.05997, released configuration enwik8_local_cluster8k; bytes, and BERT's layer, so that the count "
        "is ours",
    ),
    "routing_transformer_wikitext103": Preset(
        _routing(
            8, 0.4, vocabulary_size=267_735, num_layers=14, num_heads=16, embedding_dim=256, max_sequence_length=4096
        ),
        203_237_888,
        "arXiv:2003.05997, released configuration wikitext103_local_cluster4k; BERT's layer, so that the count is ours",
    ),
}
