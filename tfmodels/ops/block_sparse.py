"""Which blocks of keys every block of queries sees, and how they are gathered (BigBird, arXiv:2007.14062, section 2).

A row of m blocks begins and ends with a global one. A query block sees both, its neighbours and itself, and R blocks
drawn from what is left; no block is listed twice. Where the blocks are, integers alone decide: the same draws give the
same blocks on every machine and backend, for any number of blocks.

Cost: time and memory O(B N M (5 + R) C H) for M blocks of C keys.
"""

from typing import NamedTuple

import numpy as np
from keras import ops


class BlockPattern(NamedTuple):
    """The blocks that query blocks see.

    Attributes:
        indices: int32[B, N, M, 5 + R], B may be 1: the first block, the last one, those before, at and behind the query
            block, and the random ones.
        is_used: bool[B, N, M, 5 + R], False at places that hold no block.
    """

    indices: object
    is_used: object


def random_numbers(seed, shape):
    """Integers that depend on the seed alone, with no version of NumPy.

    Args:
        seed: An integer, 0 or above.
        shape: The shape of the result.

    Returns:
        A NumPy array, int32, from 0 to 2^31 - 1.

    Example:
    >>> random_numbers(0, (3,)).tolist()
    [1367864807, 579362556, 87989972]
    """
    # The bits of a generator are the same for ever; the draws that NumPy makes of them may change.
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return (bits >> np.uint64(33)).astype("int32").reshape(shape)


def distinct(draws, ends):
    """Different numbers, each below an end, every set of them alike likely.

    Args:
        draws: int32[..., R], random numbers from 0.
        ends: int32[...], broadcastable to the draws' leading axes.

    Returns:
        int32[..., R], of which the first `ends` are right where those are fewer than R.

    Example:
    >>> import numpy as np
    >>> [int(number) for number in distinct(np.array([[6, 6, 6]], "int32"), np.array([3], "int32"))[0]]
    [0, 1, 2]
    """
    chosen = []
    for index in range(draws.shape[-1]):
        # One of the numbers that are left, by its place among them ...
        number = draws[..., index] % ops.maximum(ends - index, 1)
        # ... which is one number farther for each chosen one that is not beyond it.
        for earlier in chosen:
            number = number + ops.cast(ops.greater_equal(number, earlier), "int32")
        for place, earlier in enumerate(chosen):
            chosen[place], number = ops.minimum(earlier, number), ops.maximum(earlier, number)
        chosen.append(number)
    return ops.stack(chosen, axis=-1)


def block_pattern(draws, counts, blocks):
    """The blocks that every query block sees.

    Args:
        draws: int32[N, L, R], random numbers of L query blocks; those behind begin anew.
        counts: int32[B], the number of blocks of each row, from 1.
        blocks: M, the number of query blocks, at least the largest count.

    Returns:
        A `BlockPattern`. A block beyond a row's count sees blocks of its row.
    """
    heads, rows, num_random = draws.shape
    batch = ops.shape(counts)[0]
    block = ops.arange(blocks, dtype="int32")
    last = counts[:, None, None] - 1  # [B, 1, 1]

    near = block[:, None] + np.arange(-1, 2, dtype="int32")  # [M, 3]
    is_near = ops.logical_and(near >= 1, near < last)  # [B, M, 3]
    ends = ops.concatenate([ops.zeros_like(last), last], axis=2)  # [B, 1, 2]
    has_ends = ops.concatenate([last >= 0, last >= 1], axis=2)

    def of_all_heads(values, size):
        return ops.broadcast_to(values[:, None], (batch, heads, blocks, size))

    indices = [of_all_heads(ends, 2), of_all_heads(near[None], 3)]
    is_used = [of_all_heads(has_ends, 2), of_all_heads(is_near, 3)]
    if num_random:
        width = ops.sum(ops.cast(is_near, "int32"), axis=2)[:, None]  # [B, 1, M]
        left = ops.maximum(last - 1 - width, 0)  # [B, 1, M]
        drawn = 1 + distinct(ops.take(draws, block % rows, axis=1)[None], left)  # [B, N, M, R]
        # What is counted from the first block on leaves out the neighbours.
        is_behind = drawn >= ops.maximum(block - 1, 1)[:, None]
        indices.append(drawn + ops.cast(is_behind, "int32") * width[..., None])
        is_used.append(of_all_heads(np.arange(num_random) < left[:, 0, :, None], num_random))
    indices = ops.clip(ops.concatenate(indices, axis=3), 0, blocks - 1)
    return BlockPattern(indices, ops.concatenate(is_used, axis=3))


def take_blocks(blocks, indices):
    """Blocks side by side, others for every head.

    Args:
        blocks: [B, N or 1, M, C, ...].
        indices: int32[1 or B, N, M, S].

    Returns:
        [B, N, M, S C, ...].
    """
    batch, groups, count, size = ops.shape(blocks)[:4]
    further = blocks.shape[4:]
    width = int(np.prod(further))
    # One table of rows, each a block: what is moved is whole blocks.
    table = ops.reshape(blocks, (batch * groups * count, size * width))
    starts = ops.reshape(ops.arange(batch * groups, dtype="int32") * count, (batch, groups, 1, 1))
    taken = ops.take(table, indices + starts, axis=0)  # [B, N, M, S, C ...]
    _, heads, queries, seen = ops.shape(indices)
    return ops.reshape(taken, (batch, heads, queries, seen * size, *further))
