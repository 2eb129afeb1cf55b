"""Routing Transformer's attention: clusters of content on half of the heads, neighbours on the others.

Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers" (arXiv:2003.05997), section 4.1 and
algorithm 1: queries and keys are standardised, and online k-means, whose centroids follow a moving average in training,
decides which of them meet.

It differs from the paper in four things. A causal head does not take a cluster's W best tokens out of the whole
sequence: whether a token is among them depends on what comes after it, which tells of the future. Every token joins the
cluster of its nearest centroid instead, and sees the last W members; clusters need not be balanced then. A token in
several clusters gets the mean over them, as in the released code, where the paper leaves it open. The centroids
move to the mean of their members, not to the sum, which grows with the batch; one without members stays. Local heads
see a sliding window where the paper has blocks, and the logits are scaled by H^-0.5 as everywhere.

Cost: as in `ops.routing` and `ops.local`, O(T^1.5) in time for sqrt(T) clusters of sqrt(T) tokens.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.attention import HeadedAttention
from tfmodels.layers.base import Layer
from tfmodels.ops import cluster_attend, cluster_members, local_attend, real_keys, routed_attend, standardise


class Centroids(Layer):
    """Online k-means: how near vectors are to K centroids a head, which follow them in training.

    In training a call ends by moving every centroid to `decay mu + (1 - decay) m`, m the mean of the real vectors of
    the batch that it is nearest to (arXiv:2003.05997, algorithm 1); what is returned was computed before. The move has
    no randomness and no gradient. Where a step's parts are computed one after the other (micro-batches) there is a move
    for each; where activations are computed again for the backward pass, `training.recomputation` gives the second
    time the centroids of the first and keeps one move; replicas move to the mean of their moves.

    Args:
        num_clusters: K.
        decay: fraction of a centroid that stays at a step.

    Call arguments:
        vectors: float[B, T, N, H].
        is_real: bool[B, T], False at vectors that the centroids do not follow.

    Returns:
        float32[B, N, K, T], the products with the centroids.

    Raises:
        UserError: There is no cluster, or `decay` is no fraction.
    """

    def __init__(self, num_clusters, decay=0.999, **kwargs):
        super().__init__(**kwargs)
        if num_clusters < 1:
            raise UserError(f"num_clusters={num_clusters}: routing needs at least one cluster.")
        if not 0 <= decay <= 1:
            raise UserError(f"decay={decay} is no fraction: choose a number from 0 to 1, such as 0.999.")
        self.num_clusters = num_clusters
        self.decay = decay

    def build(self, input_shape):
        # Standard normals are about as long as what is standardised.
        self.means = self.add_weight(
            name="means",
            shape=(input_shape[2], self.num_clusters, input_shape[3]),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            autocast=False,
            aggregation="mean",
        )
        self.built = True

    def call(self, vectors, is_real, training=None):
        batch, length, heads, size = ops.shape(vectors)
        points = ops.transpose(ops.cast(ops.stop_gradient(vectors), "float32"), (2, 0, 1, 3))
        points = ops.reshape(points, (heads, batch * length, size))
        means = ops.convert_to_tensor(self.means)
        products = ops.matmul(points, ops.swapaxes(means, 1, 2))  # [N, B T, K]
        if training:
            nearest = ops.one_hot(ops.argmax(products, axis=-1), self.num_clusters, dtype="float32")
            members = nearest * ops.cast(ops.reshape(is_real, (batch * length, 1)), "float32")  # [N, B T, K]
            counts = ops.sum(members, axis=1)[..., None]  # [N, K, 1]
            followed = ops.matmul(ops.swapaxes(members, 1, 2), points) / ops.maximum(counts, 1.0)
            moved = self.decay * means + (1 - self.decay) * followed
            self.means.assign(ops.where(counts > 0, moved, means))
        scores = ops.reshape(products, (heads, batch, length, self.num_clusters))
        return ops.transpose(scores, (1, 0, 3, 2))  # [B, N, K, T]


class RoutingAttention(HeadedAttention):
    """Local heads, then routed ones; of a sequence with itself, and causal heads use the queries as keys.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D.
        num_clusters: K, of every routed head.
        cluster_size: W, the most members of a cluster that see each other, or that a causal query sees; None for a
            row's number of tokens over K, which a causal head cannot know.
        window: tokens on each side that local heads see.
        num_local_heads: Of the N heads; None for half of them, rounded down.
        dropout: fraction of the attention weights dropped in training.
        is_causal: Whether a position sees itself and what came before it alone.
        decay: fraction of a centroid that stays at a step of training.

    Raises:
        UserError: The numbers do not fit.
    """

    attends_by_training = True
    is_of_itself = True
    # As the buckets of `LSHSelfAttention`: what was computed back must not choose anew.
    kept = ("members",)

    def __init__(
        self,
        num_heads,
        hidden_dim,
        num_clusters,
        cluster_size=None,
        window=256,
        num_local_heads=None,
        dropout=0.0,
        is_causal=False,
        decay=0.999,
        **kwargs,
    ):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, **kwargs)
        if is_causal and cluster_size is None:
            raise UserError("causal routing needs a cluster_size, the number of tokens that one sees, such as 512.")
        if cluster_size is not None and cluster_size < 1:
            raise UserError(f"cluster_size={cluster_size}: a cluster needs at least one member.")
        if window < 0:
            raise UserError(f"window={window} is no number of tokens on each side: choose 0 or more.")
        if num_local_heads is not None and not 0 <= num_local_heads <= num_heads:
            raise UserError(f"num_local_heads={num_local_heads} is not among 0 to num_heads={num_heads}.")
        self.num_clusters = num_clusters
        self.cluster_size = cluster_size
        self.window = window
        self.num_local_heads = num_local_heads
        self.decay = decay
        self.centroids = Centroids(num_clusters, decay, dtype=self.dtype_policy, name="centroids")

    @property
    def shares_keys(self):
        """Section 4.1: causal heads route queries and keys alike."""
        return self.is_causal

    @property
    def local_heads(self):
        """The number of heads that see neighbours."""
        return self.num_heads // 2 if self.num_local_heads is None else self.num_local_heads

    def build(self, query_shape, value_shape=None):
        super().build(query_shape, value_shape)
        routed = self.num_heads - self.local_heads
        if routed:
            self.centroids.build((*query_shape[:2], routed, self.hidden_dim // self.num_heads))

    def attend(self, query, key, value, *, mask, dropout, training=None):
        is_real, local = real_keys(mask, key), self.local_heads
        near, far = zip(*(ops.split(x, [local], axis=2) for x in (query, key, value)))
        parts = []
        if local:
            parts.append(local_attend(*near, is_real, self.window, self.is_causal, dropout))
        if local < self.num_heads:
            parts.append(self._route(*far, is_real, dropout, training))
        return ops.concatenate(parts, axis=2)  # [B, T, N, H]

    def members(self, query, key, is_real, training=None):
        """Which tokens meet, of standardised float[B, T, N, H]; a causal head looks at its queries alone.

        Returns:
            int32[B, N, T], the cluster of every token, of a causal head; else the queries and the keys of every
            cluster, a pair of int32[B, N, K, W].
        """
        if self.is_causal:
            scores = self.centroids(query, is_real, training=training)
            return ops.cast(ops.argmax(scores, axis=2), "int32")
        length = ops.shape(key)[1]
        both = ops.concatenate([query, key], axis=1)  # [B, 2 T, N, H]
        scores = self.centroids(both, ops.concatenate([is_real, is_real], axis=1), training=training)
        return tuple(
            cluster_members(some, is_real, self.cluster_size) for some in (scores[..., :length], scores[..., length:])
        )

    def _route(self, query, key, value, is_real, dropout, training):
        query = standardise(query)
        key = query if self.is_causal else standardise(key)
        members = self.members(query, key, is_real, training)
        if self.is_causal:
            return cluster_attend(query, query, value, members, is_real, self.cluster_size, dropout)
        return routed_attend(query, key, value, *members, is_real, self.cluster_size, dropout)
