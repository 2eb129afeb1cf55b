"""Attention inside clusters: queries meet the keys that content, not position, has put beside them.

Routing Transformer (Roy et al., arXiv:2003.05997, section 4.1 and algorithm 1).

Cost: `cluster_members` and `routed_attend` time O(B N (K T log T + K W^2 H)) for K clusters of W members, and memory
O(B N K (T + W^2)); `cluster_attend` O(B N T (log T + W H)) and O(B N T W). With W = T / K and K = sqrt(T) that is
O(T^1.5).
"""

from keras import ops

from tfmodels.ops.attention import attend
from tfmodels.ops.local import local_attend


def standardise(x, epsilon=1e-6):
    """Layer normalisation without gain and bias: vectors of length sqrt(H) whose components have the mean 0.

    Args:
        x: float[..., H].
        epsilon: Added to the variance.

    Returns:
        float[..., H], computed in float32.
    """
    values = ops.cast(x, "float32")
    centred = values - ops.mean(values, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return ops.cast(centred * ops.rsqrt(variance + epsilon), x.dtype)


def cluster_members(scores, is_real, cluster_size=None):
    """The W tokens that score highest for each cluster, so that clusters are equally large (algorithm 1).

    Args:
        scores: float[B, N, K, T], how near each token is to each centroid.
        is_real: bool[B, T].
        cluster_size: W, at most; None for T over K, rounded up.

    Returns:
        int32[B, N, K, W], the tokens' places in their rows: real ones, the nearest first, then padding.
    """
    clusters, length = scores.shape[2], ops.shape(scores)[3]
    most = -(-length // clusters)  # W
    if cluster_size is not None:
        most = min(length, cluster_size) if isinstance(length, int) else ops.minimum(length, cluster_size)
    low = ops.where(is_real[:, None, None], scores, float("-inf"))
    return ops.cast(ops.top_k(low, most)[1], "int32")


def routed_attend(query, key, value, queries, keys, is_real, cluster_size=None, dropout=None):
    """Every cluster's queries with its keys; no causal order (algorithm 1).

    A token may be in several clusters, and is then given the mean of what it sees in them, or in none, and is then
    given zeros.

    Args:
        query: float[B, T, N, H].
        key: float[B, T, N, H].
        value: float[B, T, N, H].
        queries: int32[B, N, K, W], from `cluster_members`: which queries meet.
        keys: int32[B, N, K, W], and which keys.
        is_real: bool[B, T].
        cluster_size: As in `cluster_members`; of the W members None takes a row's number of real tokens over K.
        dropout: As in `attend`.

    Returns:
        float[B, T, N, H].
    """
    batch, length, heads, size = ops.shape(query)
    clusters, most = queries.shape[2], ops.shape(queries)[3]
    real = ops.sum(ops.cast(is_real, "int32"), axis=1)  # [B]
    wanted = -(-real // clusters) if cluster_size is None else ops.minimum(real, cluster_size)
    is_member = ops.arange(most, dtype="int32") < wanted[:, None]  # [B, W]
    is_member = ops.broadcast_to(is_member[:, None, None], (batch, heads, clusters, most))

    # Where the rows of every batch and head begin among all vectors.
    first = ops.reshape(ops.arange(batch * heads, dtype="int32") * length, (batch, heads, 1, 1))
    queries, keys = queries + first, keys + first

    def members(x, places):
        rows = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch * heads * length, size))
        return ops.reshape(ops.take(rows, places, axis=0), (batch * heads * clusters, most, 1, size))

    mask = ops.reshape(is_member, (batch * heads * clusters, 1, 1, most))
    attended = attend(
        members(query, queries), members(key, keys), members(value, keys), mask=mask, dropout=dropout
    )  # [B N K, W, 1, H]

    weights = ops.cast(ops.reshape(is_member, (batch * heads * clusters * most, 1)), attended.dtype)
    places = ops.reshape(queries, (batch * heads * clusters * most,))
    total = ops.segment_sum(ops.reshape(attended, (-1, size)) * weights, places, batch * heads * length)
    times = ops.segment_sum(weights, places, batch * heads * length)
    mean = ops.reshape(total / ops.maximum(times, 1), (batch, heads, length, size))
    return ops.transpose(mean, (0, 2, 1, 3))  # [B, T, N, H]


def cluster_attend(query, key, value, clusters, is_real, cluster_size, dropout=None):
    """Every query with the last W members of its cluster, itself among them: exactly causal.

    Args:
        query: float[B, T, N, H].
        key: float[B, T, N, H].
        value: float[B, T, N, H].
        clusters: int32[B, N, T], the cluster of every token.
        is_real: bool[B, T].
        cluster_size: W, at least 1.
        dropout: As in `attend`.

    Returns:
        float[B, T, N, H].
    """
    batch, length, heads, size = ops.shape(query)
    if isinstance(length, int) and length == 0:
        return value
    # By cluster, and in a cluster by position; padding has a cluster of its own, so that it takes no place in a window.
    clusters = ops.where(is_real[:, None], clusters, ops.max(clusters, initial=0) + 1)
    order = ops.argsort(clusters * length + ops.arange(length, dtype="int32"), axis=-1)  # [B, N, T]
    back = ops.cast(ops.argsort(order, axis=-1), "int32")
    first = ops.reshape(ops.arange(batch * heads, dtype="int32") * length, (batch, heads, 1))
    order = ops.cast(order, "int32")

    def sorted_rows(x):
        """[B N, T, ...] of [B N T, ...]."""
        return ops.reshape(ops.take(x, order + first, axis=0), (batch * heads, length, *x.shape[1:]))

    def vectors(x):
        rows = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch * heads * length, size))
        return ops.expand_dims(sorted_rows(rows), axis=2)  # [B N, T, 1, H]

    real = ops.broadcast_to(is_real[:, None], (batch, heads, length))
    attended = local_attend(
        vectors(query),
        vectors(key),
        vectors(value),
        sorted_rows(ops.reshape(real, (-1,))),
        cluster_size - 1,
        is_causal=True,
        dropout=dropout,
        groups=sorted_rows(ops.reshape(clusters, (-1,))),
    )  # [B N, T, 1, H]
    rows = ops.reshape(attended, (batch * heads * length, size))
    attended = ops.take(rows, back + first, axis=0)  # [B, N, T, H]
    return ops.transpose(attended, (0, 2, 1, 3))  # [B, T, N, H]
