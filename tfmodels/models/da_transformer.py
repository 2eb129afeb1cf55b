"""DA-Transformer: attention that is rescaled by real distances (Wu et al., arXiv:2010.06925).

It differs from BERT in its positions: no vectors are added to the embeddings; instead every head multiplies what a
query and a key have in common with a learned sigmoid of their distance (`layers.DistanceRescaling`), so that any length
can be read. The word vectors, 300 numbers as GloVe's, are mapped to the heads' joint size. Any encoder of BERT's family
takes the scheme: `positions="distance_aware"`. The preset is a classifier of the paper's kind; its sizes could not be
checked against the paper's text, and that of the feed-forward network, four times D, is ours.

Cost: BERT's, and O(N T^2) time and memory a layer for the distances.
"""

from __future__ import annotations

import dataclasses

from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class DATransformerConfig(BertConfig):
    """The sizes and rates of a DA-Transformer; see `BertConfig`. `max_sequence_length` bounds nothing here."""

    num_layers: int = 1
    num_heads: int = 16
    hidden_dim: int = 256
    intermediate_dim: int = 1024
    embedding_dim: int | None = 300
    num_segments: int = 0
    dropout: float = 0.2
    positions: str = "distance_aware"


class DATransformerBackbone(BertBackbone):
    """The DA-Transformer with BERT's pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("da_transformer", vocabulary_size=100)
    >>> tuple(backbone.parts["blocks"][0].attention.positions.offsets.shape)
    (16,)
    """

    config_class = DATransformerConfig


BACKBONE = DATransformerBackbone
PRESETS = {
    "da_transformer": Preset(
        DATransformerConfig(),
        10_089_840,
        "arXiv:2010.06925; one layer of 16 heads of 16: sizes that could not be checked, the count is ours",
    ),
}
