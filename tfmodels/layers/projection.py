"""A linear map of the last axis."""

import keras
from keras import ops

from tfmodels.layers.base import Layer, truncated_normal


class Projection(Layer):
    """`activation(x W + b)` on the last axis, computed as one matrix product over all leading axes.

    It differs from `keras.layers.Dense` in speed: a product of two matrices is what CPU libraries fuse with the bias
    and the activation, where Dense broadcasts a batched product.

    Args:
        units: The size of the last axis of the output.
        activation: The name of a Keras activation, or None.
        use_bias: Whether to add b.

    Call arguments:
        inputs: float[..., D].

    Returns:
        float[..., units].
    """

    def __init__(self, units, activation=None, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.use_bias = use_bias
        self._activate = keras.activations.get(activation)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=truncated_normal()
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        self.built = True

    def call(self, inputs):
        leading = ops.shape(inputs)[:-1]
        outputs = ops.matmul(ops.reshape(inputs, (-1, inputs.shape[-1])), self.kernel)  # [rows, units]
        if self.bias is not None:
            # A row: TensorFlow 2.16 fuses the activation too, but not where the bias is the variable itself.
            outputs = ops.add(outputs, ops.reshape(self.bias, (1, self.units)))
        return ops.reshape(self._activate(outputs), (*leading, self.units))  # [..., units]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)
