"""Multi-head attention (Vaswani et al., arXiv:1706.03762, section 3.2.2), and what all kinds of attention share.

A kind of attention is a layer that is called as `MultiHeadAttention` is: a block takes any of them. Those that project
to heads derive from `HeadedAttention` and write `attend` alone.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.ops import attend, causal


class HeadedAttention(Layer):
    """Projects to N heads, attends in a way that a subclass states in `attend`, joins the heads and projects back.

    Args:
        num_heads: N; it divides `hidden_dim` where there is no `head_dim`.
        hidden_dim: D, of the output.
        dropout: fraction of the attention weights dropped in training.
        is_causal: Whether a position sees itself and what came before it alone.
        head_dim: H; None for D / N.
        use_bias: Whether the projections have biases.

    Call arguments:
        query: float[B, T, D].
        value: float[B, S, D]; the keys are made from it too. The default is `query`: self-attention.
        attention_mask: bool, True = may attend. Full attention takes what is broadcastable to [B, N, T, S], other kinds
            a mask of padding, bool[1 or B, 1, 1, S].
        return_scores: Also return the logits before the mask; only kinds that have them, `has_scores`, can.

    Returns:
        float[B, T, D]; with `return_scores` a pair of it and float32[B, N, T, S].

    Raises:
        UserError: `num_heads` does not divide `hidden_dim`, or a kind that `is_of_itself` is given a `value`.
    """

    # Whether there is a logit for every pair of positions.
    has_scores = False
    # Whether the queries are the keys too: there is no projection to keys then.
    shares_keys = False
    # Whether it is of a sequence to itself alone: there is no `value` then.
    is_of_itself = False
    # Whether `attend` also takes `training`, because it computes otherwise then.
    attends_by_training = False

    def __init__(self, num_heads, hidden_dim, dropout=0.0, is_causal=False, head_dim=None, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        if head_dim is None and hidden_dim % num_heads:
            raise UserError(f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}: choose a divisor.")
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.is_causal = is_causal
        self.head_dim = head_dim
        self.use_bias = use_bias
        self._width = num_heads * head_dim if head_dim else hidden_dim  # N H
        settings = {"use_bias": use_bias, "dtype": self.dtype_policy}
        self.query = Projection(self._width, name="query", **settings)
        self.key = None if self.shares_keys else Projection(self._width, name="key", **settings)
        self.value = Projection(self._width, name="value", **settings)
        self.output_projection = Projection(hidden_dim, name="output_projection", **settings)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def attend(self, query, key, value, *, mask, dropout, **further):
        """Attention of the heads.

        Args:
            query: float[B, T, N, H].
            key: float[B, S, N, H].
            value: float[B, S, N, H].
            mask: The call's `attention_mask`; `ops.real_keys` reads one of padding.
            dropout: `dropout(weights) -> weights`, or None: for `ops.attend`, or wherever weights are formed.
            **further: `return_scores=True` where it was asked for; `training` where `attends_by_training`.

        Returns:
            float[B, T, N, H], or a pair of it and float32[B, N, T, S].
        """
        raise NotImplementedError

    def build(self, query_shape, value_shape=None):
        value_shape = value_shape or query_shape
        self.query.build(query_shape)
        if not self.shares_keys:
            self.key.build(value_shape)
        self.value.build(value_shape)
        self.output_projection.build((*query_shape[:-1], self._width))
        self.built = True

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        if self.is_of_itself:
            refuse_another(self, query, value)
        value = query if value is None else value
        queries = ops.reshape(query, (-1, query.shape[-1]))  # [rows, D]
        values = queries if value is query else ops.reshape(value, (-1, value.shape[-1]))
        projected = self._split(self.query(queries), query)
        attended = self.attend(
            projected,
            projected if self.shares_keys else self._split(self.key(values), value),
            self._split(self.value(values), value),
            mask=attention_mask,
            dropout=(lambda weights: self.drop(weights, training=training)) if self.dropout else None,
            **({"return_scores": True} if return_scores else {}),
            **({"training": training} if self.attends_by_training else {}),
        )
        attended, scores = attended if return_scores else (attended, None)
        output = self.output_projection(ops.reshape(attended, (-1, self._width)))  # [rows, D]
        output = ops.reshape(output, (*ops.shape(query)[:2], self.hidden_dim))  # [B, T, D]
        return (output, scores) if return_scores else output

    def _split(self, projected, source):
        batch, length = ops.shape(source)[:2]
        return ops.reshape(projected, (batch, length, self.num_heads, self._width // self.num_heads))  # [B, T, N, H]

    def compute_output_spec(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        output = keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
        if not return_scores:
            return output
        source = query if value is None else value
        shape = (query.shape[0], self.num_heads, query.shape[1], source.shape[1])
        return output, keras.KerasTensor(shape, dtype="float32")


class MultiHeadAttention(HeadedAttention):
    """Full attention: every query with every key that its mask allows.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.
        positions: A `PositionScheme`, or None for logits that do not know positions.
        is_causal: Whether a position sees itself and what came before it alone; queries and keys are the same then.
    """

    has_scores = True

    @property
    def is_of_itself(self):
        """Two sequences have no order between them."""
        return self.is_causal

    def __init__(self, num_heads, hidden_dim, dropout=0.0, positions=None, is_causal=False, **kwargs):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, **kwargs)
        self.positions = positions

    def build(self, query_shape, value_shape=None):
        super().build(query_shape, value_shape)
        # Its hooks are called, never the scheme itself: Keras would not build it.
        if self.positions is not None and not self.positions.built:
            self.positions.build(query_shape)

    def attend(self, query, key, value, *, mask, dropout, return_scores=False):
        hooks = {}
        if self.positions is not None:
            hooks = {name: getattr(self.positions, name) for name in ("score", "rescale", "value_term")}
            hooks["bias"] = self.positions.bias(ops.shape(query)[1], ops.shape(key)[1])
        if self.is_causal:
            past = causal(ops.shape(query)[1])
            mask = past if mask is None else ops.logical_and(mask, past)
        return attend(query, key, value, mask=mask, dropout=dropout, return_scores=return_scores, **hooks)


def refuse_another(layer, query, value):
    """Refuses a `value` beside the query, for attention of a sequence to itself."""
    if value is not None and value is not query:
        raise UserError(
            f"{type(layer).__name__} is of a sequence to itself: leave `value` out, or use full attention between two."
        )
