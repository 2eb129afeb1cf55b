"""Multi-head attention (Vaswani et al., arXiv:1706.03762, section 3.2.2)."""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.ops import attend


class MultiHeadAttention(Layer):
    """Projects to N heads, attends, and projects back.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.
        positions: A `PositionScheme`, or None for logits that do not know positions.

    Call arguments:
        query: float[B, T, D].
        value: float[B, S, D]; the keys are made from it too. The default is `query`: self-attention.
        attention_mask: bool, broadcastable to [B, N, T, S], True = may attend.
        return_scores: Also return the logits before the mask.

    Returns:
        float[B, T, D]; with `return_scores` a pair of it and float32[B, N, T, S].

    Raises:
        UserError: `num_heads` does not divide `hidden_dim`.
    """

    def __init__(self, num_heads, hidden_dim, dropout=0.0, positions=None, **kwargs):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise UserError(f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}: choose a divisor.")
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.positions = positions
        self.query = Projection(hidden_dim, dtype=self.dtype_policy, name="query")
        self.key = Projection(hidden_dim, dtype=self.dtype_policy, name="key")
        self.value = Projection(hidden_dim, dtype=self.dtype_policy, name="value")
        self.output_projection = Projection(hidden_dim, dtype=self.dtype_policy, name="output_projection")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, query_shape, value_shape=None):
        value_shape = value_shape or query_shape
        self.query.build(query_shape)
        self.key.build(value_shape)
        self.value.build(value_shape)
        self.output_projection.build((*query_shape[:-1], self.hidden_dim))
        # Its hooks are called, never the scheme itself: Keras would not build it.
        if self.positions is not None and not self.positions.built:
            self.positions.build(query_shape)
        self.built = True

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        value = query if value is None else value
        hooks = {}
        if self.positions is not None:
            hooks = {name: getattr(self.positions, name) for name in ("score", "rescale", "value_term")}
            hooks["bias"] = self.positions.bias(ops.shape(query)[1], ops.shape(value)[1])
        queries = ops.reshape(query, (-1, query.shape[-1]))  # [rows, D]
        values = queries if value is query else ops.reshape(value, (-1, value.shape[-1]))
        attended = attend(
            self._split(self.query(queries), query),
            self._split(self.key(values), value),
            self._split(self.value(values), value),
            mask=attention_mask,
            dropout=(lambda weights: self.drop(weights, training=training)) if self.dropout else None,
            return_scores=return_scores,
            **hooks,
        )
        attended, scores = attended if return_scores else (attended, None)
        output = self.output_projection(ops.reshape(attended, (-1, self.hidden_dim)))  # [rows, D]
        output = ops.reshape(output, (*ops.shape(query)[:2], self.hidden_dim))  # [B, T, D]
        return (output, scores) if return_scores else output

    def _split(self, projected, source):
        batch, length = ops.shape(source)[:2]
        return ops.reshape(
            projected, (batch, length, self.num_heads, self.hidden_dim // self.num_heads)
        )  # [B, T, N, H]

    def compute_output_spec(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        output = keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
        if not return_scores:
            return output
        source = query if value is None else value
        shape = (query.shape[0], self.num_heads, query.shape[1], source.shape[1])
        return output, keras.KerasTensor(shape, dtype="float32")
