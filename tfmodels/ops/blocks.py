"""Sequences in blocks: what local and sparse attention is computed on, in time and memory linear in the length.

>>> import numpy as np
>>> blocks = to_blocks(np.arange(5)[None], 2)
>>> [[int(number) for number in block] for block in blocks[0]]
[[0, 1], [2, 3], [4, 0]]
>>> [[int(number) for number in block] for block in beside(blocks, before=1, after=0)[0]]
[[0, 0, 0, 1], [0, 1, 2, 3], [2, 3, 4, 0]]
"""

from keras import ops


def to_blocks(x, size):
    """A sequence in blocks, the last one filled up with zeros (False in a mask).

    Args:
        x: [B, T, ...], of any dtype; T may be 0.
        size: C, places in a block.

    Returns:
        [B, ceil(T / C), C, ...].
    """
    batch, length = ops.shape(x)[:2]
    missing = -length % size
    filled = ops.concatenate([x, ops.zeros((batch, missing, *x.shape[2:]), dtype=x.dtype)], axis=1)
    return ops.reshape(filled, (batch, (length + missing) // size, size, *x.shape[2:]))


def from_blocks(blocks, length):
    """The sequence behind `to_blocks`, without what was filled in.

    Args:
        blocks: [B, M, C, ...].
        length: T, at most M C.

    Returns:
        [B, T, ...].
    """
    batch, count, size = ops.shape(blocks)[:3]
    return stretch(ops.reshape(blocks, (batch, count * size, *blocks.shape[3:])), 0, length)


def beside(blocks, before, after, is_circular=False):
    """Every block with its neighbours, in their order; beyond the ends stand zeros (False in a mask).

    Args:
        blocks: [B, M, C, ...].
        before: The number of blocks before each that join it.
        after: The number of blocks after it.
        is_circular: Whether the last block stands before the first one instead, and the first behind the last.

    Returns:
        [B, M, (before + 1 + after) C, ...].
    """
    if is_circular:
        return ops.concatenate([ops.roll(blocks, -shift, axis=1) for shift in range(-before, after + 1)], axis=2)
    batch, count, *rest = ops.shape(blocks)  # A block's size may be known only when the graph runs.

    def empty(number):
        return ops.zeros((batch, number, *rest), dtype=blocks.dtype)

    padded = ops.concatenate([empty(before), blocks, empty(after)], axis=1)  # [B, before + M + after, C, ...]
    return ops.concatenate([stretch(padded, shift, count) for shift in range(before + 1 + after)], axis=2)


def stretch(x, start, count, axis=1):
    """Consecutive places along an axis, as `x[:, start : start + count]` has them.

    On a CPU the gradient of an index is slow in TensorFlow, four times as slow as that of a slice: the real path has
    this, and `ops.expand_dims` for `None`.

    Args:
        x: A tensor of any dtype.
        start: The first place.
        count: The number of places; start + count is at most as long as the axis.
        axis: Which.

    Returns:
        A tensor of the same rank.

    Example:
    >>> import numpy as np
    >>> [int(number) for number in stretch(np.arange(5)[None], 1, 2)[0]]
    [1, 2]
    """
    sizes = list(ops.shape(x))
    starts = [0] * len(sizes)
    starts[axis], sizes[axis] = start, count
    return ops.slice(x, starts, sizes)
