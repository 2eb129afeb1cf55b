"""Linformer's attention: keys and values projected along the length to k rows, for which the softmax is taken.

Wang et al., "Linformer: Self-Attention with Linear Complexity" (arXiv:2006.04768), equation 7. Which projections are
shared (section 4, "Additional Efficiency Techniques") says who is handed which instance: a `LengthProjection` of one
map or of one a head, the same for keys and values or not, the same in all layers or not.

The paper's rows are full. Here keys and values at padding are zeros before they are projected, so that padding adds
nothing, and a row shorter than the longest uses the first columns of the maps; the k rows are all attended to, whatever
they are made from, so that k = T with identity maps is full attention only where a row is full. A map begins as normals
of variance 1 / max_length, which keeps the scale of what it projects. No causal order: every row mixes all positions.

Cost: time O(B T k D), memory O(B T (D + N k)) a layer, and k max_length numbers a map.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.attention import HeadedAttention
from tfmodels.layers.base import Layer
from tfmodels.layers.positions import check_length
from tfmodels.ops import attend, real_keys


class LengthProjection(Layer):
    """E of arXiv:2006.04768, equation 7: k linear maps of a sequence of vectors to one.

    Args:
        max_length: The most tokens of a row.
        projected_length: k.
        num_maps: 1, shared by all heads, or N, one a head.

    Call arguments:
        vectors: float[B, S, N, H], zeros where nothing is to be added; S is at most `max_length`.

    Returns:
        float[B, k, N, H].

    Raises:
        UserError: There are too many tokens, or no rows to project to.
    """

    def __init__(self, max_length, projected_length, num_maps=1, **kwargs):
        super().__init__(**kwargs)
        if projected_length < 1:
            raise UserError(f"projected_length={projected_length}: project to at least one row.")
        self.max_length = max_length
        self.projected_length = projected_length
        self.num_maps = num_maps

    def build(self, input_shape):
        self.maps = self.add_weight(
            name="maps",
            shape=(self.num_maps, self.max_length, self.projected_length),
            initializer=keras.initializers.RandomNormal(stddev=self.max_length**-0.5),
        )
        self.built = True

    def call(self, vectors):
        check_length(vectors, self.max_length)
        batch, length, heads, size = ops.shape(vectors)
        # One product a map, of all vectors that it projects.
        columns = ops.transpose(vectors, (2, 0, 3, 1))  # [N, B, H, S]
        columns = ops.reshape(columns, (self.num_maps, batch * heads * size // self.num_maps, length))
        projected = ops.matmul(columns, self.maps[:, :length])  # [maps, N B H / maps, k]
        projected = ops.reshape(projected, (heads, batch, size, self.projected_length))
        return ops.transpose(projected, (1, 3, 0, 2))  # [B, k, N, H]


class LinformerAttention(HeadedAttention):
    """softmax(q (E k)^T / sqrt(H)) (F v).

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D.
        key_projection: E, a `LengthProjection`; several layers may share it.
        value_projection: F; None for E.
        dropout: fraction of the attention weights dropped in training.
    """

    def __init__(self, num_heads, hidden_dim, key_projection, value_projection=None, dropout=0.0, **kwargs):
        super().__init__(num_heads, hidden_dim, dropout, **kwargs)
        self.key_projection = key_projection
        self.value_projection = value_projection

    def build(self, query_shape, value_shape=None):
        super().build(query_shape, value_shape)
        batch, length = (value_shape or query_shape)[:2]
        for projection in filter(None, (self.key_projection, self.value_projection)):
            if not projection.built:
                projection.build((batch, length, self.num_heads, self.hidden_dim // self.num_heads))

    def attend(self, query, key, value, *, mask, dropout):
        real = ops.cast(real_keys(mask, key), key.dtype)[..., None, None]  # [B, S, 1, 1]
        keys = self.key_projection(key * real)
        values = (self.value_projection or self.key_projection)(value * real)
        return attend(query, keys, values, dropout=dropout)
