"""Star-Transformer's attention: a ring of tokens around a relay (Guo et al., arXiv:1902.09113, section 3).

A satellite, which is a token, attends to its neighbours, to itself, to its own embedding and to the relay (equations 4
to 6); the relay attends to itself and to all satellites (equations 7 and 8). Two layers suffice for every token to hear
of every other one. The first and the last real token of a row are neighbours, as on a ring; padding is nobody's
neighbour.

Cost: time O(B T D^2) and memory O(B T D) a layer; there are 6 T logits a head.
"""

import keras
from keras import ops

from tfmodels.layers.attention import HeadedAttention, MultiHeadAttention, refuse_another
from tfmodels.layers.base import Layer
from tfmodels.layers.normalization import LayerNorm
from tfmodels.ops import attend, from_blocks, masked_mean, padding, real_keys, to_blocks
from tfmodels.ops.partition import parts

# Tokens in a block: what is computed in vain, C - 3 neighbours and C - 1 embeddings a token, is balanced by fewer
# products.
_BLOCK = 16


class RingAttention(HeadedAttention):
    """Every satellite to its neighbours, itself, its own embedding and the relay (equations 4 and 5).

    Call arguments:
        query: float[B, T, D], the satellites.
        value: float[B, 2 T + 1, D]: the satellites, their embeddings and the relay.
        attention_mask: bool[1 or B, 1, 1, T], True = real, or None.

    Returns:
        float[B, T, D].
    """

    def attend(self, query, key, value, *, mask, dropout):
        is_real = real_keys(mask, query)
        length = ops.shape(query)[1]
        number = ops.cumsum(ops.cast(is_real, "int32"), axis=1)  # [B, T]
        is_first = ops.logical_and(is_real, ops.equal(number, 1))
        is_last = ops.logical_and(is_real, ops.equal(number, number[:, -1:]))
        ends = ops.cast(ops.stack([is_first, is_last], axis=1), self.compute_dtype)  # [B, 2, T]
        blocks = to_blocks(query, _BLOCK)  # [B, M, C, N, H]
        batch, count, _, heads, size = ops.shape(blocks)

        def seen(x):
            """What each block sees: the tokens from one before it to one behind it, its embeddings, the relay, and
            both ends of the ring: float[B M, C + 2 + C + 3, N, H].
            """
            satellites, embeddings, relay = parts(x, [length, length, 1])
            others = ops.concatenate([relay, ops.einsum("bet,btnh->benh", ends, satellites)], axis=1)[:, None]
            others = ops.broadcast_to(others, (batch, count, 3, heads, size))
            around = [_with_neighbours(to_blocks(satellites, _BLOCK)), to_blocks(embeddings, _BLOCK), others]
            return ops.reshape(ops.concatenate(around, axis=2), (batch * count, 2 * _BLOCK + 5, heads, size))

        token = ops.arange(_BLOCK, dtype="int32")[:, None]
        is_near = ops.abs(token + 1 - ops.arange(_BLOCK + 2, dtype="int32")) <= 1  # [C, C + 2]
        real = _with_neighbours(to_blocks(is_real, _BLOCK))[:, :, None]  # [B, M, 1, C + 2]
        shape = (batch, count, _BLOCK, _BLOCK)
        own = ops.broadcast_to(ops.equal(token, ops.arange(_BLOCK, dtype="int32")), shape)
        is_end = [to_blocks(place, _BLOCK)[..., None] for place in (is_last, is_first)]  # [B, M, C, 1]
        allowed = [ops.logical_and(real, is_near), own, ops.ones((*shape[:3], 1), dtype="bool"), *is_end]
        allowed = ops.concatenate(allowed, axis=-1)  # [B, M, C, C + 2 + C + 3]
        attended = attend(
            ops.reshape(blocks, (batch * count, _BLOCK, heads, size)),
            seen(key),
            seen(value),
            mask=ops.reshape(allowed, (batch * count, 1, _BLOCK, 2 * _BLOCK + 5)),
            dropout=dropout,
        )
        return from_blocks(ops.reshape(attended, (batch, count, _BLOCK, heads, size)), length)


def _with_neighbours(blocks):
    """Every block with one place before it and one behind it, zeros beyond the ends: [B, M, C + 2, ...]."""
    nothing = ops.zeros_like(blocks[:, :1, :1])
    before = ops.concatenate([nothing, blocks[:, :-1, -1:]], axis=1)
    behind = ops.concatenate([blocks[:, 1:, :1], nothing], axis=1)
    return ops.concatenate([before, blocks, behind], axis=2)


class StarAttention(Layer):
    """Ring and relay at once, as a kind of attention of any block: each attends to the nodes as they come in.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.

    Call arguments:
        query: float[B, 1 + T, D], the relay, then the satellites; self-attention alone.
        attention_mask: bool[1 or B, 1, 1, 1 + T], True = real, or None.
        embeddings: float[B, T, D], what the satellites were before the first layer. Without them the query is the
            satellites alone, their own embeddings, with their mean for a relay, and only they come back.

    Returns:
        float[B, 1 + T, D].

    Raises:
        UserError: The mask tells queries apart, or keys are of another sequence.
    """

    has_scores = False
    is_causal = False

    def __init__(self, num_heads, hidden_dim, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.ring = RingAttention(num_heads, hidden_dim, dropout, dtype=self.dtype_policy, name="ring")
        self.relay = MultiHeadAttention(num_heads, hidden_dim, dropout, dtype=self.dtype_policy, name="relay")

    def build(self, query_shape, value_shape=None, embeddings_shape=None):
        self.ring.build(query_shape)
        self.relay.build(query_shape)
        self.built = True

    def satellites(self, relay, satellites, embeddings, is_real, training):
        """What the satellites attend to: float[B, T, D]."""
        value = ops.concatenate([satellites, embeddings, relay], axis=1)  # [B, 2 T + 1, D]
        return self.ring(satellites, value, attention_mask=padding(is_real), training=training)

    def hub(self, relay, satellites, is_real, training):
        """What the relay attends to: float[B, 1, D]."""
        value = ops.concatenate([relay, satellites], axis=1)  # [B, 1 + T, D]
        mask = ops.pad(padding(is_real), ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=True)
        return self.relay(relay, value, attention_mask=mask, training=training)

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None, embeddings=None):
        refuse_another(self, query, value)
        is_real = real_keys(attention_mask, query)
        if embeddings is None:
            nodes = with_relay(query, is_real)
            return parts(self._attended(nodes, query, is_real, training), [1, ops.shape(query)[1]])[1]
        return self._attended(query, embeddings, is_real[:, 1:], training)

    def _attended(self, nodes, embeddings, is_real, training):
        relay, satellites = parts(nodes, [1, ops.shape(embeddings)[1]])
        hub = self.hub(relay, satellites, is_real, training)
        return ops.concatenate([hub, self.satellites(relay, satellites, embeddings, is_real, training)], axis=1)

    def compute_output_spec(
        self, query, value=None, attention_mask=None, return_scores=False, training=None, embeddings=None
    ):
        return keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)


class StarBlock(Layer):
    """One round of algorithm 1: the satellites, then the relay, which reads them as they are now.

    Neither a residual connection nor a feed-forward network: h = norm(relu(attention)).

    Args:
        attention: A `StarAttention`.
        dropout: fraction of what is attended to dropped in training.
        layer_norm_epsilon: Added to the variance.

    Call arguments:
        inputs: float[B, 1 + T, D], the relay, then the satellites.
        attention_mask: bool[B, 1, 1, 1 + T], True = real.
        attention_inputs: A dict of `embeddings` float[B, T, D].

    Returns:
        float[B, 1 + T, D].
    """

    def __init__(self, attention, dropout=0.0, layer_norm_epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.relay_norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="relay_norm")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def build(self, input_shape):
        for part in (self.attention, self.norm, self.relay_norm):
            if not part.built:
                part.build(input_shape)
        self.built = True

    def call(self, inputs, attention_mask=None, attention_inputs=None, training=None):
        embeddings = attention_inputs["embeddings"]
        is_real = real_keys(attention_mask, inputs)[:, 1:]
        relay, satellites = parts(inputs, [1, ops.shape(embeddings)[1]])
        x = self.attention.satellites(relay, satellites, embeddings, is_real, training)
        satellites = self.norm(ops.relu(self.drop(x, training=training)))  # equation 6
        x = self.attention.hub(relay, satellites, is_real, training)
        relay = self.relay_norm(ops.relu(self.drop(x, training=training)))  # equation 8
        return ops.concatenate([relay, satellites], axis=1)

    def compute_output_spec(self, inputs, attention_mask=None, attention_inputs=None, training=None):
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)


def with_relay(tokens, is_real):
    """The nodes before the first layer: the mean of the real tokens, zeros where there are none, then the tokens.

    Args:
        tokens: float[B, T, D].
        is_real: bool[B, T].

    Returns:
        float[B, 1 + T, D].
    """
    return ops.concatenate([masked_mean(tokens, is_real)[:, None], tokens], axis=1)
