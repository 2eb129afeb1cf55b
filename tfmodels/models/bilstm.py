"""A bidirectional LSTM: the student of Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural
Networks" (arXiv:1903.12136, section 3.1), on the LSTM of Hochreiter and Schmidhuber (1997) with forget gates.

One layer reads the row from both ends, the next reads what it made. `pooled_output` is the last state of either
direction, side by side; a text classifier puts a layer of ReLUs on it, as the paper does. What differs: tokens are the
teacher's word pieces with one table of trained vectors, where the paper has two channels of word2vec, one of them
frozen; a pair of texts is one row, where the paper encodes each text alone and compares the two. Segment ids are not
used.

Cost: time O(B T (D E + D^2)) a layer, in T steps that wait for each other; memory O(B T D).
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers import DenseFirstToken, WordVectors
from tfmodels.models.backbone import Backbone
from tfmodels.models.config import Config, Preset


@dataclasses.dataclass(frozen=True)
class BilstmConfig(Config):
    """The sizes and rates of a bidirectional LSTM.

    Attributes:
        vocabulary_size: V.
        num_layers: K.
        hidden_dim: D, an even number: each direction has half of it.
        embedding_dim: E, the size of the embedding vectors.
        dense_dim: The size of the layer between the last states and a text classifier's logits.
        activation: That layer's activation.
        dropout: fraction dropped of what each LSTM reads.
    """

    vocabulary_size: int = 30_522
    num_layers: int = 1
    hidden_dim: int = 300
    embedding_dim: int = 600
    dense_dim: int = 200
    activation: str = "relu"
    dropout: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.hidden_dim % 2:
            raise UserError(f"hidden_dim={self.hidden_dim} is odd: choose an even number, half for each direction.")


class BilstmBackbone(Backbone):
    """Bidirectional LSTMs over word pieces; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> tfmodels.create_model("bilstm", num_layers=2, hidden_dim=32, vocabulary_size=100).output["pooled_output"].shape
    (None, 32)
    """

    config_class = BilstmConfig

    @classmethod
    def make_parts(cls, config, dtype):
        def layer(index):
            # The two directions are distinct layers: the wrapper makes the second one of the first one's settings.
            forward = keras.layers.LSTM(config.hidden_dim // 2, return_sequences=True, return_state=True, dtype=dtype)
            return keras.layers.Bidirectional(forward, merge_mode=None, dtype=dtype, name=f"layer_{index}")

        return {
            "embeddings": WordVectors(config.vocabulary_size, config.embedding_dim, dtype=dtype, name="embeddings"),
            "drop": keras.layers.Dropout(config.dropout, dtype=dtype, name="drop"),
            "layers": [layer(index) for index in range(config.num_layers)],
        }

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        x = parts["embeddings"](inputs["token_ids"], inputs["segment_ids"])
        hidden_states = [x]
        for layer in parts["layers"]:
            # At padding a state stays what it was, so that the backward direction starts at the last real token.
            *states, forward, _, backward, _ = layer(parts["drop"](x), mask=inputs["padding_mask"])
            # Joined here, and not by the layer: Keras would hand its mask on to layers that take none.
            x = ops.concatenate(states, axis=-1)
            hidden_states.append(x)
        outputs = {"sequence_output": x, "pooled_output": ops.concatenate([forward, backward], axis=-1)}
        return {**outputs, "hidden_states": tuple(hidden_states), "attention_scores": ()} if intermediates else outputs

    @property
    def hidden_dims(self):
        return (self.config.embedding_dim, *super().hidden_dims[1:])

    @property
    def attention_heads(self):
        return ()

    def make_classifier_pooling(self, dropout):
        config = self.config
        return DenseLastStates(config.dense_dim, config.activation, dropout, dtype=self.dtype_policy, name="pooling")


class DenseLastStates(DenseFirstToken):
    """`activation(dropout(x) W + b)` of `pooled_output`, the last states of both directions; see `DenseFirstToken`."""

    def call(self, features, training=None):
        return super().call({"sequence_output": features["pooled_output"][:, None]}, training=training)


BACKBONE = BilstmBackbone
PRESETS = {
    # The paper's 0.96 millions are those of the LSTMs and the classifier, without the table: 150 units a direction on
    # two channels of 300 numbers, 200 ReLUs.
    "bilstm": Preset(BilstmConfig(), 19_214_400, "arXiv:1903.12136, section 4.2 and table 4"),
}
