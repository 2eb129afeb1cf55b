"""From scores by distance to scores by key, and back, by moving memory alone.

The skewing of Music Transformer (Huang et al., arXiv:1809.04281, section 3.4.1), which Transformer-XL calls its
relative shift, for any query and key lengths. A query at t and a key at s are s - t + T - 1 steps along the axis of
distances, which runs from the key farthest behind the last query to the key farthest ahead of the first one.

Cost: time and memory O(B N T (T + S)), against O(T S H) for a vector for every pair of positions.
"""

from keras import ops

from tfmodels.ops.blocks import stretch


def key_distances(query_length, key_length):
    """How far behind the query a key stands, along the axis that `skew` reads.

    Args:
        query_length: T.
        key_length: S.

    Returns:
        int32[T + S - 1]: from T - 1, behind, down to -(S - 1), ahead.

    Example:
    >>> [int(distance) for distance in key_distances(2, 3)]
    [1, 0, -1, -2]
    """
    return query_length - 1 - ops.arange(query_length + key_length - 1, dtype="int32")


def skew(scores, key_length):
    """Scores by key from scores by distance.

    Args:
        scores: float[B, N, T, L], L <= T + S - 1; what is left out at the end, keys far ahead, counts as zeros.
        key_length: S.

    Returns:
        float[B, N, T, S]: at (t, s) the score at s - t + T - 1.
    """
    batch, heads, length, given = ops.shape(scores)
    distances = length + key_length - 1
    # With one column more than there are distances, a row of the flat array begins one place later than it must.
    flat = ops.pad(scores, [(0, 0), (0, 0), (0, 0), (0, distances + 1 - given)])  # [B, N, T, T + S]
    flat = ops.reshape(flat, (batch, heads, length * (distances + 1)))
    flat = stretch(flat, length - 1, length * distances, axis=2)
    return stretch(ops.reshape(flat, (batch, heads, length, distances)), 0, key_length, axis=3)  # [B, N, T, S]


def toeplitz(values, query_length, key_length):
    """Values by key from values by distance that are the same for every query.

    Args:
        values: float[N, T + S - 1], along the axis of `key_distances`.
        query_length: T.
        key_length: S.

    Returns:
        float[1, N, T, S].

    Example:
    >>> import numpy as np
    >>> rows = toeplitz(np.array([[1.0, 0.0, -1.0, -2.0]]), query_length=2, key_length=3)[0, 0]
    >>> [[float(value) for value in row] for row in rows]
    [[0.0, -1.0, -2.0], [1.0, 0.0, -1.0]]
    """
    # Never taken by an index for every pair: the gradient would be as many additions, one after the other.
    heads, distances = ops.shape(values)
    values = ops.reshape(values, (1, heads, 1, distances))
    return skew(ops.broadcast_to(values, (1, heads, query_length, distances)), key_length)


def unskew(weights):
    """Weights by distance from weights by key, zero where a query has no key at a distance: the inverse of `skew`.

    Args:
        weights: float[B, N, T, S].

    Returns:
        float[B, N, T, T + S - 1].
    """
    batch, heads, length, keys = ops.shape(weights)
    distances = length + keys - 1
    flat = ops.pad(weights, [(0, 0), (0, 0), (0, 0), (0, length - 1)])  # [B, N, T, T + S - 1]
    flat = ops.reshape(flat, (batch, heads, length * distances))
    flat = ops.pad(flat, [(0, 0), (0, 0), (length - 1, 1)])  # [B, N, T (T + S)]
    flat = ops.reshape(flat, (batch, heads, length, distances + 1))
    return stretch(flat, 0, distances, axis=3)  # [B, N, T, T + S - 1]
