"""From the vectors of a sequence to one vector."""

import keras
from keras import ops

from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.ops import masked_max, masked_mean


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


class ConcatPooling(Layer):
    """The last real token's vector, the largest number of each feature and the mean, side by side.

    ULMFiT (arXiv:1801.06146, section 3.3): what matters may be a word that is far from the end.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, 3 D].
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = LastTokenPooling(dtype=self.dtype_policy, name="last")

    def call(self, features):
        vectors, is_real = features["sequence_output"], features["padding_mask"]
        return ops.concatenate(
            [self.last(features), masked_max(vectors, is_real), masked_mean(vectors, is_real)], axis=-1
        )


class AttentionPooling(Layer):
    """A weighted mean of the real tokens' vectors, whose weights are learned of the vectors themselves.

        e_t = tanh(h_t W + b) v        a = softmax(e)        r = sum_t a_t h_t

    (arXiv:1902.10547, section 3.1, after the hierarchical attention of Yang et al.)

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def build(self, features_shape):
        size = features_shape["sequence_output"][-1]
        self.hidden = Projection(size, "tanh", dtype=self.dtype_policy, name="hidden")
        self.score = Projection(1, use_bias=False, dtype=self.dtype_policy, name="score")
        for part in (self.hidden, self.score):
            part.build((None, None, size))
        self.built = True

    def call(self, features):
        vectors, is_real = features["sequence_output"], features["padding_mask"][:, :, None]  # [B, T, 1]
        scores = ops.cast(self.score(self.hidden(vectors)), "float32")
        # A row of padding alone has the same weight everywhere.
        weights = ops.softmax(ops.where(is_real, scores, -1e9), axis=1)
        return ops.sum(vectors * ops.cast(weights, vectors.dtype), axis=1)  # [B, D]
