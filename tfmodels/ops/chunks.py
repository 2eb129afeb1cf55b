"""Attention in chunks: a query sees the keys of its own chunk and of its neighbours (Reformer, arXiv:2001.04451).

Unlike a window (`ops.local`), what a query sees depends on where it stands in its chunk: a causal query at the
beginning of one sees fewer keys than one at the end.

Cost: time and memory O(B N T (1 + L) C) for chunks of C tokens and L neighbours.
"""

import numpy as np
from keras import ops

from tfmodels.ops.attention import attend
from tfmodels.ops.blocks import beside, from_blocks, to_blocks


def chunk_attend(
    query,
    key,
    value,
    is_real,
    chunk_length,
    chunks_before=1,
    chunks_after=0,
    is_causal=False,
    is_circular=False,
    dropout=None,
):
    """Every query with the real keys of its chunk and of its neighbours.

    Args:
        query: float[B, T, N, H].
        key: float[B, T, N, H].
        value: float[B, T, N, H].
        is_real: bool[B, T], True at keys that may be attended to.
        chunk_length: C, tokens.
        chunks_before: The number of chunks before its own that a query sees.
        chunks_after: And after.
        is_causal: Whether a query sees none of the keys behind it.
        is_circular: Whether the last chunk stands before the first one; a causal query sees nothing of that.
        dropout: As in `attend`.

    Returns:
        float[B, T, N, H]. A query that sees no real key has a finite value without meaning.

    Example:
    >>> values = np.arange(5, dtype="float32")[None, :, None, None]
    >>> attended = chunk_attend(0 * values, 0 * values, values, np.ones((1, 5), bool), chunk_length=2)
    >>> [round(float(mean), 4) for mean in attended[0, :, 0, 0]]
    [0.5, 0.5, 1.5, 1.5, 3.0]
    """
    batch, length = ops.shape(query)[:2]
    chunks = -(-length // chunk_length)  # M

    def folded(x):
        return ops.reshape(x, (batch * chunks, *x.shape[2:]))  # [B M, ...]

    def around(x):
        """[B M, (1 + L) C, ...] of [B, T, ...]."""
        blocks = to_blocks(x, chunk_length)
        return folded(beside(blocks, chunks_before, chunks_after, is_circular and not is_causal))

    mask = around(is_real)[:, None, None]  # [B M, 1, 1, (1 + L) C]
    if is_causal:
        keys = np.arange((chunks_before + 1 + chunks_after) * chunk_length) - chunks_before * chunk_length
        mask = mask & (keys[None] <= np.arange(chunk_length)[:, None])[None, None]
    attended = attend(folded(to_blocks(query, chunk_length)), around(key), around(value), mask=mask, dropout=dropout)
    attended = ops.reshape(attended, (batch, chunks, *attended.shape[1:]))  # [B, M, C, N, H]
    return from_blocks(attended, length)
