"""A linear map of the last axis."""

from keras import ops

from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.ops import activation as activation_by_name


class Projection(Layer):
    """`activation(x W + b)` on the last axis, computed as one matrix product over all leading axes.

    It differs from `keras.layers.Dense` in speed: a product of two matrices is what CPU libraries fuse with the bias
    and the activation, where Dense broadcasts a batched product. Layers that apply several reshape once and hand on
    matrices, float[rows, D]: a small model spends more time on shapes than on products.

    Args:
        units: The size of the last axis of the output.
        activation: The name of an activation (`ops.activation`), or None.
        use_bias: Whether to add b.
        kernel_dropout: What W goes through, `kernel_dropout(W, training=...)`, such as a `TargetedWeightDropout`.

    Call arguments:
        inputs: float[..., D].
        added: float[..., units], which joins the sum before the activation, or None.

    Returns:
        float[..., units].
    """

    def __init__(self, units, activation=None, use_bias=True, kernel_dropout=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_dropout = kernel_dropout
        self._activate = activation_by_name(activation)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=truncated_normal()
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        self.built = True

    def call(self, inputs, training=None, added=None):
        is_matrix = len(inputs.shape) == 2
        rows = inputs if is_matrix else ops.reshape(inputs, (-1, inputs.shape[-1]))
        kernel = self.kernel
        if self.kernel_dropout is not None:
            kernel = self.kernel_dropout(ops.convert_to_tensor(kernel), training=training)
        outputs = ops.matmul(rows, kernel)  # [rows, units]
        if self.bias is not None:
            # TensorFlow 2.16 fuses the activation too, but not where the bias is the variable itself.
            bias = ops.reshape(self.bias, (1, self.units)) if self.activation else self.bias
            outputs = ops.add(outputs, bias)
        if added is not None:
            outputs = outputs + ops.reshape(added, (-1, self.units))
        outputs = self._activate(outputs)
        return outputs if is_matrix else ops.reshape(outputs, (*ops.shape(inputs)[:-1], self.units))  # [..., units]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)
