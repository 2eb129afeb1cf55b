"""Attention to neighbours alone, in blocks: exactly what full attention under a mask of a band gives.

Cost: time and memory O(B N T (C + W)) for windows of W tokens and blocks of C = max(W, 32), never O(T^2).
"""

from keras import ops

from tfmodels.errors import UserError
from tfmodels.ops.attention import attend
from tfmodels.ops.blocks import beside, from_blocks, stretch, to_blocks

# For short windows: smaller blocks do fewer products, larger ones do them faster, and from 16 to 128 places there is
# hardly a difference on a CPU.
_SMALLEST_BLOCK = 32


def local_attend(query, key, value, is_real, window, is_causal=False, dropout=None, groups=None, reach=None):
    """Every query with the real keys that are at most `window` positions from it.

    Args:
        query: float[B, T, N, H].
        key: float[B, T, N, H].
        value: float[B, T, N, H].
        is_real: bool[B, T], True at keys that may be attended to.
        window: W, tokens on each side of a query, a number or a scalar tensor; 0 for itself alone.
        is_causal: Whether a query sees none of the keys behind it.
        dropout: As in `attend`.
        groups: int[B, T], or None; a query sees the keys of its own group alone.
        reach: int[B], or None; tokens on each side that the queries of a row see, at most W.

    Returns:
        float[B, T, N, H]. A query that sees no real key has a finite value without meaning.

    Raises:
        UserError: The window is negative, or there are not as many keys as queries.

    Example:
    >>> import numpy as np
    >>> values = np.arange(5, dtype="float32")[None, :, None, None]
    >>> attended = local_attend(0 * values, 0 * values, values, np.ones((1, 5), bool), window=1)
    >>> [round(float(mean), 4) for mean in attended[0, :, 0, 0]]
    [0.5, 1.0, 2.0, 3.0, 3.5]
    """
    if isinstance(window, int) and window < 0:
        raise UserError(f"window={window} is no number of tokens on each side: choose 0 or more.")
    (batch, length), keys = ops.shape(query)[:2], ops.shape(key)[1]
    if isinstance(length, int) and isinstance(keys, int) and length != keys:
        raise UserError(f"local attention of {length} queries needs as many keys, not {keys}: leave `value` out.")
    smallest, largest = (min, max) if isinstance(length, int) else (ops.minimum, ops.maximum)
    window = smallest(window, length)
    size = largest(smallest(largest(window, _SMALLEST_BLOCK), length), 1)  # C; a row shorter than that is one block

    def around(x):
        """What a block may see: [B M, W + C + W, ...] of [B, T, ...], without what comes after it if causal."""
        blocks = beside(to_blocks(x, size), before=1, after=0 if is_causal else 1)
        return _folded(stretch(blocks, size - window, size + window + (0 if is_causal else window), axis=2))

    mask = around(is_real)[:, None, None] & _band(size, window, is_causal)  # [B M, 1, C, W + C + W]
    if groups is not None:
        own = _folded(to_blocks(groups, size))
        mask = mask & (own[:, None, :, None] == around(groups)[:, None, None])
    if reach is not None:
        rows = ops.broadcast_to(reach[:, None], (batch, -(-length // size)))  # [B, M]
        mask = mask & (_distance(size, window, is_causal) <= ops.reshape(rows, (-1, 1, 1, 1)))
    attended = attend(
        _folded(to_blocks(query, size)), around(key), around(value), mask=mask, dropout=dropout
    )  # [B M, C, N, H]
    blocks = -(-length // size)  # M
    attended = ops.reshape(attended, (batch, blocks, *ops.shape(attended)[1:]))  # [B, M, C, N, H]
    return from_blocks(attended, length)


def _folded(blocks):
    """Blocks as rows of a batch: [B M, C, ...] of [B, M, C, ...]."""
    batch, count, *rest = ops.shape(blocks)
    return ops.reshape(blocks, (batch * count, *rest))


def _band(size, window, is_causal):
    """bool[1, 1, C, W + C + W]: what the queries of a block may see of the keys around it."""
    return _distance(size, window, is_causal) <= window


def _distance(size, window, is_causal):
    """int32[1, 1, C, W + C + W]: how far keys are from queries; out of sight where they are behind and must not be."""
    queries = ops.arange(size, dtype="int32")[:, None]
    keys = ops.arange(window + size + (0 if is_causal else window), dtype="int32")[None] - window
    distance = queries - keys
    distance = ops.where(distance < 0, window + 1, distance) if is_causal else ops.abs(distance)
    return distance[None, None]
