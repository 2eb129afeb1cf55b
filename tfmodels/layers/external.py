"""External attention: tokens meet a small learned memory, not each other.

Guo et al., "Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks" (arXiv:2105.02358),
equations 5 and 6 and the multi-head form of section 3.3, in which all heads share both memories.

The double normalisation, a softmax over the tokens and then a sum of one over the memory, is computed as one softmax
over the memory, of the logits less the logarithm of each memory's sum over the tokens:
a / sum_j a = softmax_j(log a). It is the same number, without the division by sums that may be zero which the released
code mends by adding 1e-9; `ops.attend` does it. The logits are not scaled, as in the paper. The released multi-head
code first widens the input fourfold, and adds biases to both memories, where the paper has neither. Padding
is no token of the softmax. No causal order: a token's weight depends on all others.

Cost: time O(B T M D), memory O(B N T M) for M places of memory.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.projection import Projection
from tfmodels.ops import attend, double_normalised, real_keys


class ExternalAttention(Layer):
    """F_out = Norm(F M_k^T) M_v in every head; called as `MultiHeadAttention` is, of a sequence with itself.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D.
        memory_size: M, places of memory; the paper's S.
        dropout: fraction of the normalised weights dropped in training.

    Call arguments:
        query: float[B, T, D].
        value: Not taken: the memory stands in its place.
        attention_mask: A mask of padding, bool[1 or B, 1, 1, T].
        return_scores: Not taken: there is no logit for two tokens.

    Returns:
        float[B, T, D].

    Raises:
        UserError: `num_heads` does not divide `hidden_dim`, there is no memory, or a `value` is given.
    """

    has_scores = False
    is_causal = False

    def __init__(self, num_heads, hidden_dim, memory_size=64, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise UserError(f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}: choose a divisor.")
        if memory_size < 1:
            raise UserError(f"memory_size={memory_size}: external attention needs at least one place of memory.")
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.memory_size = memory_size
        self.dropout = dropout
        self.query = Projection(hidden_dim, dtype=self.dtype_policy, name="query")
        self.output_projection = Projection(hidden_dim, dtype=self.dtype_policy, name="output_projection")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, query_shape):
        self.query.build(query_shape)
        self.output_projection.build((*query_shape[:-1], self.hidden_dim))
        shape = (self.memory_size, self.hidden_dim // self.num_heads)
        self.memory_keys = self.add_weight(name="memory_keys", shape=shape, initializer=truncated_normal())
        self.memory_values = self.add_weight(name="memory_values", shape=shape, initializer=truncated_normal())
        self.built = True

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        if value is not None:
            raise UserError("external attention reads its memory, not another sequence: leave `value` out.")
        batch, length = ops.shape(query)[:2]
        size = self.hidden_dim // self.num_heads
        is_real = real_keys(attention_mask, query)
        projected = self.query(ops.reshape(query, (-1, query.shape[-1])))  # [B T, D]
        # The memory is everyone's: all heads of all tokens are the queries of one attention.
        rows = (batch, length, self.num_heads, self.memory_size)
        attended = attend(
            ops.reshape(projected, (1, batch * length * self.num_heads, 1, size)),
            ops.convert_to_tensor(self.memory_keys)[None, :, None],  # [1, M, 1, H]
            ops.convert_to_tensor(self.memory_values)[None, :, None],
            scale=1.0,
            rescale=lambda logits: ops.reshape(
                double_normalised(ops.reshape(logits, rows), is_real), (1, 1, -1, self.memory_size)
            ),
            dropout=(lambda weights: self.drop(weights, training=training)) if self.dropout else None,
        )  # [1, B T N, 1, H]
        output = self.output_projection(ops.reshape(attended, (batch * length, self.hidden_dim)))
        return ops.reshape(output, (batch, length, self.hidden_dim))  # [B, T, D]

    def compute_output_spec(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        return keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
