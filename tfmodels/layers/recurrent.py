"""LSTMs, and the dropouts that regularise them (Merity et al., AWD-LSTM, arXiv:1708.02182).

What AWD-LSTM adds to the LSTM of Hochreiter and Schmidhuber (with the forget gate of Gers et al.) is dropout alone:
DropConnect on the recurrent matrix (section 3.1), masks that all steps share (section 4.2, Keras's `SpatialDropout1D`)
and whole words left out (section 4.3).

Cost: time O(B T F (D + F)), the recurrent half of it one step after the other; memory O(B T F). The loop is Keras's
`scan` on every device: cuDNN's fused LSTM is not used.
"""

import keras
from keras import ops

from tfmodels.layers.base import Layer


class WeightDropLSTM(Layer):
    """An LSTM whose recurrent weights are dropped out, by one mask for all rows and steps of a batch.

        i, f, g, o = x_t W + h_{t-1} (m * U) + b        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)                      (arXiv:1708.02182, section 3.1; m is 0 or 1 / (1 - rate))

    The weights are named and laid out as those of `keras.layers.LSTM`. Padding is no step: the state goes past it.

    Args:
        units: F.
        weight_dropout: fraction of U dropped in training.

    Call arguments:
        inputs: float[B, T, D].
        padding_mask: bool[B, T], True at real tokens; the default is all.
        state: float[B, 2 F], h and c side by side before the first token; the default is zeros.

    Returns:
        float[B, T, 2 F]: h and c side by side after every token. The gates and c are computed in float32.
    """

    def __init__(self, units, weight_dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.weight_dropout = weight_dropout
        self.drop = keras.layers.Dropout(weight_dropout, dtype=self.dtype_policy, name="drop")

    def build(self, inputs_shape, padding_mask_shape=None, state_shape=None):
        gates = 4 * self.units
        self.kernel = self.add_weight(name="kernel", shape=(inputs_shape[-1], gates), initializer="glorot_uniform")
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, gates), initializer="orthogonal"
        )
        self.bias = self.add_weight(name="bias", shape=(gates,), initializer=_forget_bias)
        self.built = True

    def call(self, inputs, padding_mask=None, state=None, training=None):
        rows, length = ops.shape(inputs)[:2]
        projected = ops.matmul(inputs, self.kernel) + self.bias  # [B, T, 4 F], of all steps at once
        recurrent = self.drop(ops.convert_to_tensor(self.recurrent_kernel), training=training)
        if padding_mask is None:
            padding_mask = ops.ones((rows, length), dtype="bool")
        if state is None:
            state = ops.zeros((rows, 2 * self.units))

        def step(before, at):
            h, c = before
            x, is_real = at[:, :-1], at[:, -1:] > 0
            gates = x + ops.matmul(ops.cast(h, self.compute_dtype), recurrent)
            i, f, g, o = ops.split(ops.cast(gates, "float32"), 4, axis=-1)
            new_c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            new_h = ops.sigmoid(o) * ops.tanh(new_c)
            after = ops.where(is_real, new_h, h), ops.where(is_real, new_c, c)
            return after, after

        # One tensor, since Keras's scan (3.12) takes no two of an unknown length.
        steps = ops.concatenate([projected, ops.cast(padding_mask, projected.dtype)[..., None]], axis=-1)
        steps = ops.transpose(steps, (1, 0, 2))  # [T, B, 4 F + 1]
        _, states = ops.scan(step, tuple(ops.split(ops.cast(state, "float32"), 2, axis=-1)), steps)
        states = ops.transpose(ops.concatenate(states, axis=-1), (1, 0, 2))  # [B, T, 2 F]
        return ops.cast(states, self.compute_dtype)

    def compute_output_spec(self, inputs, padding_mask=None, state=None, training=None):
        return keras.KerasTensor((*inputs.shape[:2], 2 * self.units), dtype=self.compute_dtype)


def _forget_bias(shape, dtype=None):
    """Zeros, and ones for the forget gate, as Keras's LSTM begins."""
    units = shape[0] // 4
    return ops.concatenate([ops.zeros(units, dtype), ops.ones(units, dtype), ops.zeros(2 * units, dtype)])


class WordDropout(Layer):
    """Leaves whole words out of a batch, wherever they occur in it (arXiv:1708.02182, section 4.3; arXiv:1512.05287).

    Args:
        vocabulary_size: V.
        rate: fraction of the words left out in training; the others are scaled by 1 / (1 - rate).

    Call arguments:
        inputs: float[B, T, D], the words' vectors.
        token_ids: int[B, T].

    Returns:
        float[B, T, D].
    """

    def __init__(self, vocabulary_size, rate, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.rate = rate
        self.drop = keras.layers.Dropout(rate, dtype=self.dtype_policy, name="drop")

    def call(self, inputs, token_ids, training=None):
        if not training or not self.rate:
            return inputs
        factors = self.drop(ops.ones((self.vocabulary_size, 1), dtype=self.compute_dtype), training=True)
        return inputs * ops.take(factors, token_ids, axis=0)  # [B, T, D] * [B, T, 1]

    def compute_output_spec(self, inputs, token_ids, training=None):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)


class RecurrentPooling(Layer):
    """A pooling of what an LSTM of its own makes of the vectors: SiATL's task layers (arXiv:1902.10547, figure 1).

    Args:
        lstm: A `WeightDropLSTM`.
        pooling: A layer from features to float[B, D]; it is handed the LSTM's outputs as `sequence_output`.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        What the pooling returns.
    """

    def __init__(self, lstm, pooling, **kwargs):
        super().__init__(**kwargs)
        self.lstm = lstm
        self.pooling = pooling

    @property
    def units(self):
        """The size of the result."""
        return getattr(self.pooling, "units", self.lstm.units)

    def build(self, features_shape):
        if not self.lstm.built:
            self.lstm.build(features_shape["sequence_output"])
        self.built = True

    def call(self, features, training=None):
        states = self.lstm(features["sequence_output"], features["padding_mask"], training=training)
        return self.pooling({**features, "sequence_output": states[..., : self.lstm.units]})
