"""Attention as the sum of a matrix of low rank, for what is far, and a band, for what is near.

Guo et al., "Low-Rank and Locality Constrained Self-Attention for Sequence Modeling" (IEEE/ACM Transactions on Audio,
Speech, and Language Processing 27(12), 2019): self-attention as a decomposition of its matrix, because the relations
that are left when the local ones are taken away are mostly of many tokens to one.

The paper has no open text, so that this is built on its abstract and on what others tell of it: two modules, a low-rank
attention of small dimension for long relations and a band attention for local ones. What that leaves open is
ours: the factors of the low-rank matrix are each a softmax, A = softmax(Q R^T) softmax(P K^T) with r learned vectors R
and P a head, so that its rank is at most r and no T x T matrix is ever formed; both parts read the same queries, keys
and values; and what they attend to is added: (A + B) V. No causal order in the low-rank part.

Cost: time O(B T (r + W) D), memory O(B N T (r + W)) for rank r and bands of W tokens on each side.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.attention import HeadedAttention
from tfmodels.ops import attend, local_attend, padding, real_keys


class LowRankAttention(HeadedAttention):
    """(softmax(q R^T / sqrt(H)) softmax(P k^T / sqrt(H)) + band(q, k)) v; of a sequence with itself.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D.
        rank: r, of the part that sees everything.
        window: W, tokens on each side that the band sees.
        dropout: fraction of the attention weights dropped in training, of either factor and of the band.

    Raises:
        UserError: The rank is less than 1, or the window negative.
    """

    is_of_itself = True

    def __init__(self, num_heads, hidden_dim, rank, window, dropout=0.0, **kwargs):
        super().__init__(num_heads, hidden_dim, dropout, **kwargs)
        if rank < 1:
            raise UserError(f"rank={rank}: low-rank attention needs at least rank 1.")
        if window < 0:
            raise UserError(f"window={window} is no number of tokens on each side: choose 0 or more.")
        self.rank = rank
        self.window = window

    def build(self, query_shape, value_shape=None):
        super().build(query_shape, value_shape)
        shape = (self.rank, self.num_heads, self.hidden_dim // self.num_heads)
        # Standard normals: from the beginning the r vectors attend to different things.
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.readers = self.add_weight(name="readers", shape=shape, initializer=normal)  # P
        self.topics = self.add_weight(name="topics", shape=shape, initializer=normal)  # R

    def attend(self, query, key, value, *, mask, dropout):
        is_real = real_keys(mask, key)

        def of_all_rows(vectors):
            return ops.broadcast_to(ops.convert_to_tensor(vectors)[None], (ops.shape(key)[0], *vectors.shape))

        summaries = attend(
            of_all_rows(self.readers), key, value, mask=padding(is_real), dropout=dropout
        )  # [B, r, N, H]
        far = attend(query, of_all_rows(self.topics), summaries, dropout=dropout)  # [B, T, N, H]
        return far + local_attend(query, key, value, is_real, self.window, dropout=dropout)
