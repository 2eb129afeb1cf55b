"""From the vectors of a sequence to one vector."""

import keras
from keras import ops

from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.ops import masked_mean


class FirstTokenPooling(Layer):
    """The first token's vector, [CLS] in BERT.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def call(self, features):
        return features["sequence_output"][:, 0]


class LastTokenPooling(Layer):
    """The last real token's vector, which a left-to-right model makes of the whole text; the first where none is real.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def call(self, features):
        is_real = features["padding_mask"]
        numbers = ops.arange(ops.shape(is_real)[1], dtype="int32")
        last = ops.max(ops.where(is_real, numbers, 0), axis=1, keepdims=True)  # [B, 1]
        return masked_mean(features["sequence_output"], ops.equal(numbers, last))


class DenseFirstToken(Layer):
    """`activation(dropout(x) W + b)` of the first token's vector, as RoBERTa and ELECTRA classify.

    Args:
        units: The size of the result.
        activation: The name of an activation.
        dropout: fraction of the first token's vector dropped in training.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, units].
    """

    def __init__(self, units, activation="tanh", dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self.dense = Projection(units, activation, dtype=self.dtype_policy, name="dense")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, features_shape):
        self.dense.build(features_shape["sequence_output"][-1:])
        self.built = True

    def call(self, features, training=None):
        return self.dense(self.drop(features["sequence_output"][:, 0], training=training))


class DenseLastToken(DenseFirstToken):
    """`activation(dropout(x) W + b)` of the last real token's vector, as XLNet classifies; see `DenseFirstToken`."""

    def __init__(self, units, activation="tanh", dropout=0.0, **kwargs):
        super().__init__(units, activation, dropout, **kwargs)
        self.last = LastTokenPooling(dtype=self.dtype_policy, name="last")

    def call(self, features, training=None):
        return super().call({"sequence_output": self.last(features)[:, None]}, training=training)


class MeanPooling(Layer):
    """The mean of the real tokens' vectors, as sentence embedders take it (arXiv:1908.10084).

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def call(self, features):
        return masked_mean(features["sequence_output"], features["padding_mask"])
