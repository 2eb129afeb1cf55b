"""RoBERTa: BERT, trained longer and better (Liu et al., arXiv:1907.11692).

It differs from BERT in its positions, which count real tokens from past the padding's id, in having one segment, in
what a text classifier puts on the first token (a dense layer of its own instead of the pooler), and in the activation
of its prediction head, which is always gelu. What the paper is about, the objective, is in `objectives`.

The padding mask tells padding: transformers looks for the padding's id instead, which is the same for any batch whose
padding is that id. Segment ids are taken and ignored where there is one segment.

Cost: BERT's.
"""

from __future__ import annotations

import dataclasses

from tfmodels.layers import CountedPositions, DenseFirstToken
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """The sizes and rates of a RoBERTa encoder; see `BertConfig`.

    Attributes:
        padding_id: The id of padding, after which the positions of tokens begin.
    """

    vocabulary_size: int = 50_265
    num_segments: int = 1
    layer_norm_epsilon: float = 1e-5
    padding_id: int = 1

    @property
    def num_positions(self):
        """The rows of the table: those of tokens come after the padding's."""
        return self.max_sequence_length + self.padding_id + 1


class RobertaBackbone(BertBackbone):
    """The RoBERTa encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("roberta_base", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    8152320
    """

    config_class = RobertaConfig
    prediction_activation = "gelu"

    @classmethod
    def make_positions(cls, config, dtype):
        return CountedPositions(config.max_sequence_length, config.padding_id, dtype=dtype, name="positions")

    def make_classifier_pooling(self, dropout):
        return DenseFirstToken(self.config.hidden_dim, "tanh", dropout, dtype=self.dtype_policy, name="pooling")


def _roberta(layers, heads, hidden):
    return RobertaConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden)


_SOURCE = "arXiv:1907.11692, section 3.1 and table 4"

BACKBONE = RobertaBackbone
PRESETS = {
    "roberta_base": Preset(_roberta(12, 12, 768), 124_645_632, _SOURCE),
    "roberta_large": Preset(_roberta(24, 16, 1024), 355_359_744, _SOURCE),
}
