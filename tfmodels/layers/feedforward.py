"""The position-wise feed-forward network (arXiv:1706.03762, equation 2)."""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.ops import from_blocks, to_blocks


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
        return self.from_hidden(self.hidden(inputs, training=training), inputs, training=training)

    def hidden(self, inputs, added=None, training=None):
        """The vectors between the two maps.

        Args:
            inputs: float[..., D].
            added: float[..., F], which joins the sum before the activation, or None.
            training: Whether dropout is on.

        Returns:
            float[rows, F], one row for each position.
        """
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))  # [rows, D]
        hidden = self.intermediate(rows, training=training, added=added)  # [rows, F]
        return self.drop(hidden, training=training) if self.dropout else hidden

    def from_hidden(self, hidden, inputs, training=None):
        """The output, float[..., D], of what `hidden` made of the inputs."""
        return ops.reshape(self.output_projection(hidden, training=training), ops.shape(inputs))  # [..., D]

    def compute_output_shape(self, input_shape):
        return input_shape


class ChunkedFeedForward(Layer):
    """A feed-forward network, applied to one chunk of the positions after the other (arXiv:2001.04451, section 3).

    The result is the same. What the network computes inside, float[B, T, F], exists for one chunk at a time, in the
    backward pass too, which computes it again.

    Args:
        feed_forward: A `FeedForward` without dropout.
        chunk_length: C, tokens.

    Call arguments:
        inputs: float[B, T, D].

    Returns:
        float[B, T, D].

    Raises:
        UserError: The chunks are empty, or the network has dropout.
    """

    def __init__(self, feed_forward, chunk_length, **kwargs):
        super().__init__(**kwargs)
        if chunk_length < 1:
            raise UserError(f"chunk_length={chunk_length}: a chunk has at least one token.")
        if feed_forward.dropout:
            raise UserError("a feed-forward network in chunks has no dropout inside: set it to 0.")
        self.feed_forward = feed_forward
        self.chunk_length = chunk_length

    def build(self, input_shape):
        if not self.feed_forward.built:
            self.feed_forward.build(input_shape)
        self.built = True

    def call(self, inputs, training=None):
        blocks = ops.swapaxes(to_blocks(inputs, self.chunk_length), 0, 1)  # [M, B, C, D]
        # Weights are arguments, and tensors: what is computed again knows the gradients of its arguments alone, and on
        # TensorFlow would count a variable among them twice.
        weights = [ops.reshape(variable, variable.shape) for variable in self.feed_forward.trainable_variables]
        apply = keras.remat(lambda block, *weights: self.feed_forward.stateless_call(weights, [], block)[0])
        outputs = ops.swapaxes(ops.map(lambda block: apply(block, *weights), blocks), 0, 1)
        return from_blocks(outputs, ops.shape(inputs)[1])

    def compute_output_shape(self, input_shape):
        return input_shape
