"""ETC: global-local attention with relative position labels (Ainslie et al., arXiv:2004.08483, section 3).

Beside the T tokens, the long input, stand G global ones, each of which stands for a stretch of tokens ("fixed blocks":
the paper's structure where the text has none of its own). Global tokens attend to global ones (g2g) and to all tokens
(g2l), under one softmax; a token attends to the global ones (l2g) and to the tokens up to a radius r away (l2l), again
under one softmax. A key's label adds a learned vector to it:

    e_ij = x_i W^Q (x_j W^K + a^K_ij)^T / sqrt(H)

For l2l and g2g the label is the distance, clipped to k; for l2g and g2l it says whether the token belongs to the global
token's stretch. Queries of tokens and global queries have vectors of their own, one a head, as in the released models.
Projections are one set, or one set of each piece: a query and an output for either input, keys and values for each of
l2l, l2g, g2l and g2g.

It differs from the paper in that the stretches are of equal length and documents are not packed into one row. The
released models also add a learned number for every label, which the paper does not have.

Cost: time O(B T (G + r) D) and memory O(B N T (G + r)) a layer: linear in T for a given G. With stretches of p tokens G
is T / p.
"""

import numpy as np
from keras import ops

from tfmodels.layers.attention import HeadedAttention, refuse_another
from tfmodels.layers.base import check_whole, truncated_normal
from tfmodels.layers.projection import Projection
from tfmodels.ops import (
    attend,
    belongs,
    beside,
    by_clipped_distance,
    from_blocks,
    padding,
    real_keys,
    stretch,
    to_blocks,
)


def num_globals(tokens, tokens_per_global):
    """G, the global tokens that T tokens have."""
    return -(-tokens // tokens_per_global)


class GlobalLocalAttention(HeadedAttention):
    """Attention of global tokens to everything, and of tokens to the global ones and to their neighbourhood.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.
        radius: r, the tokens that a token sees on either side of it.
        tokens_per_global: p, the tokens that a global token stands for.
        max_distance: k; beyond it distances share a label.
        is_shared: Whether tokens and global tokens have the same projections.
        hard_global_to_long: Whether a global token sees, of the tokens, its own stretch alone.

    Call arguments:
        query: float[B, G + T, D], the global tokens first; G is T / p, rounded up. Self-attention alone.
        attention_mask: bool[1 or B, 1, 1, G + T], True = real, or None.

    Returns:
        float[B, G + T, D].

    Raises:
        UserError: A setting is out of its range, or the mask tells queries apart.
    """

    def __init__(
        self,
        num_heads,
        hidden_dim,
        dropout=0.0,
        radius=84,
        tokens_per_global=16,
        max_distance=12,
        is_shared=False,
        hard_global_to_long=False,
        **kwargs,
    ):
        super().__init__(num_heads, hidden_dim, dropout, **kwargs)
        check_whole(1, radius=radius, tokens_per_global=tokens_per_global)
        check_whole(0, max_distance=max_distance)
        self.radius = radius
        self.tokens_per_global = tokens_per_global
        self.max_distance = max_distance
        self.is_shared = is_shared
        self.hard_global_to_long = hard_global_to_long

        def projections(shared, *names):
            made = {name: Projection(hidden_dim, dtype=self.dtype_policy, name=name) for name in names}
            return [shared if is_shared else made[name] for name in names]

        # `query`, `key` and `value` are those of tokens for tokens.
        (self.global_query,) = projections(self.query, "global_query")
        self.further_keys = projections(self.key, "key_l2g", "key_g2l", "key_g2g")
        self.further_values = projections(self.value, "value_l2g", "value_g2l", "value_g2g")
        (self.global_output,) = projections(self.output_projection, "global_output")

    def build(self, query_shape, value_shape=None):
        if not self.is_shared:
            for part in (self.global_query, *self.further_keys, *self.further_values):
                part.build(query_shape)
            self.global_output.build((*query_shape[:-1], self.hidden_dim))
        # Clipped distances from k behind to k ahead, then: not of the stretch, of the stretch.
        labels = (self.num_heads, self.hidden_dim // self.num_heads, 2 * self.max_distance + 3)
        self.labels = self.add_weight(name="labels", shape=labels, initializer=truncated_normal())
        self.global_labels = self.add_weight(name="global_labels", shape=labels, initializer=truncated_normal())
        super().build(query_shape)

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        refuse_another(self, query, value)
        batch, length = ops.shape(query)[:2]
        # T tokens and T / p global ones, rounded up, have one global token among every p + 1.
        count = num_globals(length, self.tokens_per_global + 1)
        above, tokens = stretch(query, 0, count), stretch(query, count, length - count)
        is_real = real_keys(attention_mask, query)
        settings = {"dropout": (lambda weights: self.drop(weights, training=training)) if self.dropout else None}

        def heads(projection, x):
            rows = ops.reshape(x, (-1, x.shape[-1]))  # [rows, D]
            shape = (batch, ops.shape(x)[1], self.num_heads, self.hidden_dim // self.num_heads)
            return ops.reshape(projection(rows), shape)  # [B, T or G, N, H]

        def joined(projection, x):
            rows = ops.reshape(x, (-1, self.hidden_dim))  # [rows, D]
            return ops.reshape(projection(rows), (batch, ops.shape(x)[1], self.hidden_dim))  # [B, T or G, D]

        def pieces(projection, further):
            """Heads of tokens for tokens, of global tokens for tokens, of tokens for global ones, of both global."""
            if self.is_shared:
                of_tokens, of_globals = heads(projection, tokens), heads(projection, above)
                return of_tokens, of_globals, of_tokens, of_globals
            sources = (tokens, above, tokens, above)
            return [heads(part, x) for part, x in zip((projection, *further), sources)]

        keys, values = pieces(self.key, self.further_keys), pieces(self.value, self.further_values)
        of_tokens = self._local(heads(self.query, tokens), keys[:2], values[:2], is_real, settings)
        of_globals = self._global(heads(self.global_query, above), keys[2:], values[2:], is_real, settings)
        outputs = [joined(self.global_output, of_globals), joined(self.output_projection, of_tokens)]
        return ops.concatenate(outputs, axis=1)

    def _global(self, query, keys, values, is_real, settings):
        """float[B, G, N, H]: g2g and g2l."""
        count, tokens = ops.shape(query)[1], ops.shape(keys[0])[1]
        is_own = ops.transpose(belongs(tokens, count, self.tokens_per_global))  # [G, T]

        def score(query, key):
            by_label = ops.matmul(query, ops.cast(self.global_labels, query.dtype))  # [B, N, G, 2 k + 3]
            by_distance, by_stretch = self._parted(by_label, is_own)
            return self._logits(query, key, [by_clipped_distance(by_distance, count), by_stretch])

        mask = padding(is_real)
        if self.hard_global_to_long:
            seen = ops.concatenate([ops.ones((count, count), dtype="bool"), is_own], axis=1)  # [G, G + T]
            mask = ops.logical_and(mask, seen)
        key, value = (ops.concatenate([x[1], x[0]], axis=1) for x in (keys, values))  # [B, G + T, N, H]
        return attend(query, key, value, mask=mask, score=score, **settings)

    def _local(self, query, keys, values, is_real, settings):
        """float[B, T, N, H]: l2g and l2l, by blocks of r tokens, which see their neighbours."""
        size, head_dim = self.radius, query.shape[-1]
        length, count = ops.shape(query)[1], ops.shape(keys[1])[1]
        queries = to_blocks(query, size)  # [B, M, r, N, H]
        batch, blocks = ops.shape(queries)[:2]
        is_own = belongs(blocks * size, count, self.tokens_per_global)  # [M r, G]
        is_own = ops.reshape(is_own, (1, blocks, 1, size, count))

        def folded(x):
            return ops.reshape(x, (batch * blocks, *ops.shape(x)[2:]))

        def around(x):
            """[B M, G + 3 r, N, H]: the global tokens, and a block between its neighbours."""
            of_tokens, of_globals = beside(to_blocks(x[0], size), 1, 1), x[1]
            of_globals = ops.expand_dims(of_globals, axis=1)
            of_globals = ops.broadcast_to(of_globals, (batch, blocks, count, self.num_heads, head_dim))
            return folded(ops.concatenate([of_globals, of_tokens], axis=2))

        def score(query, key):
            by_label = ops.matmul(query, ops.cast(self.labels, query.dtype))  # [B M, N, r, 2 k + 3]
            is_own_of_all = ops.broadcast_to(is_own, (batch, blocks, 1, size, count))
            by_distance, by_stretch = self._parted(by_label, folded(is_own_of_all))
            near = by_clipped_distance(by_distance, 3 * size, before=size)  # [B M, N, r, 3 r]
            return self._logits(query, key, [by_stretch, near])

        distances = np.arange(3 * size)[None] - size - np.arange(size)[:, None]
        real = beside(to_blocks(is_real[:, count:], size), 1, 1)  # [B, M, 3 r]
        near = ops.logical_and(real[:, :, None], np.abs(distances) <= self.radius)  # [B, M, r, 3 r]
        above = ops.broadcast_to(is_real[:, None, None, :count], (batch, blocks, size, count))
        mask = folded(ops.concatenate([above, near], axis=3))[:, None]  # [B M, 1, r, G + 3 r]
        attended = attend(folded(queries), around(keys), around(values), mask=mask, score=score, **settings)
        return from_blocks(ops.reshape(attended, (batch, blocks, size, self.num_heads, head_dim)), length)

    def _parted(self, by_label, is_own):
        """The scores of the labels of distances, and by key those of the last two labels, whichever holds."""
        labels = by_label.shape[-1]
        by_distance, other, own = ops.split(by_label, [labels - 2, labels - 1], axis=-1)
        return by_distance, other + ops.cast(is_own, by_label.dtype) * (own - other)

    def _logits(self, query, key, of_labels):
        """The logits q (k + a)^T, on scaled queries."""
        return ops.matmul(query, ops.swapaxes(key, -1, -2)) + ops.concatenate(of_labels, axis=-1)
