"""A feed-forward network over the tokens, in place of attention.

Melas-Kyriazi, "Do You Even Need Attention? A Stack of Feed-Forward Layers Does Surprisingly Well on ImageNet"
(arXiv:2105.02723): at every feature, the tokens' values go through two linear maps with an activation between.

The paper's images have one length. Here the maps have a row for every position up to `max_length`; a shorter text uses
the first of them, and tokens at padding are zeros on the way in, so that padding adds nothing and what is computed for
it is nobody's input. The paper puts this network after that over the features, and normalises over the tokens
before it; a `TransformerBlock` puts it first and normalises over the features, as for any attention. No causal order.

Cost: time O(B T F D), memory O(B (T + F) D) and 2 F max_length numbers for F units; the paper's F of four times the
length makes that O(T^2), so that long texts want an F of their own.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.positions import check_length
from tfmodels.ops import activation as activation_by_name
from tfmodels.ops import project, real_keys


class LengthFeedForward(Layer):
    """`activation(x^T W1 + b1) W2 + b2` at every feature; called as `MultiHeadAttention` is.

    Args:
        max_length: The most tokens of a row.
        units: F.
        activation: The name of an activation (`ops.activation`).
        dropout: fraction of the F intermediate numbers dropped in training.

    Call arguments:
        query: float[B, T, D].
        value: float[B, S, D], what the network reads; the default is `query`, and of that the length alone counts else.
        attention_mask: A mask of padding, bool[1 or B, 1, 1, S].
        return_scores: Not taken: there is no logit for two tokens.

    Returns:
        float[B, T, D].

    Raises:
        UserError: There are too many tokens, or no units.
    """

    has_scores = False
    is_causal = False

    def __init__(self, max_length, units, activation="gelu", dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if units < 1:
            raise UserError(f"units={units}: a feed-forward network needs at least one.")
        self.max_length = max_length
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self._activate = activation_by_name(activation)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, query_shape, value_shape=None):
        def add(name, *shape, initializer="zeros"):
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.read_kernel = add("read_kernel", self.max_length, self.units, initializer=truncated_normal())
        self.read_bias = add("read_bias", self.units)
        self.write_kernel = add("write_kernel", self.units, self.max_length, initializer=truncated_normal())
        self.write_bias = add("write_bias", self.max_length)
        self.built = True

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        value = query if value is None else value
        check_length(query, self.max_length)
        check_length(value, self.max_length)
        if query.shape[1] == 0:  # JAX does not reshape a tensor without numbers.
            return query
        length, source = ops.shape(query)[1], ops.shape(value)[1]
        real = ops.cast(real_keys(attention_mask, value), value.dtype)[..., None]  # [B, S, 1]
        features = ops.transpose(value * real, (0, 2, 1))  # [B, D, S]
        hidden = self._activate(project(features, self.read_kernel[:source]) + self.read_bias)  # [B, D, F]
        if self.dropout:
            hidden = self.drop(hidden, training=training)
        written = project(hidden, self.write_kernel[:, :length]) + self.write_bias[:length]  # [B, D, T]
        return ops.transpose(written, (0, 2, 1))

    def compute_output_spec(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype)
