"""The position-wise feed-forward network (arXiv:1706.03762, equation 2)."""

import keras
from keras import ops

from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection


class FeedForward(Layer):
    """`activation(x W1 + b1) W2 + b2` at every position.

    Args:
        intermediate_dim: F.
        activation: The name of a Keras activation.
        dropout: fraction of the intermediate vector dropped in training.
        kernel_dropout: What both matrices go through in training, see `Projection`.

    Call arguments:
        inputs: float[..., D].

    Returns:
        float[..., D].
    """

    def __init__(self, intermediate_dim, activation="gelu", dropout=0.0, kernel_dropout=None, **kwargs):
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.dropout = dropout
        self.kernel_dropout = kernel_dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, input_shape):
        settings = {"kernel_dropout": self.kernel_dropout, "dtype": self.dtype_policy}
        self.intermediate = Projection(self.intermediate_dim, self.activation, name="intermediate", **settings)
        self.output_projection = Projection(input_shape[-1], name="output_projection", **settings)
        self.intermediate.build(input_shape)
        self.output_projection.build((*input_shape[:-1], self.intermediate_dim))
        self.built = True

    def call(self, inputs, training=None):
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))  # [rows, D]
        hidden = self.intermediate(rows, training=training)  # [rows, F]
        if self.dropout:
            hidden = self.drop(hidden, training=training)
        return ops.reshape(self.output_projection(hidden, training=training), ops.shape(inputs))  # [..., D]

    def compute_output_shape(self, input_shape):
        return input_shape
