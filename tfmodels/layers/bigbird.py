"""BigBird's attention: a window, global blocks and random ones (Zaheer et al., arXiv:2007.14062, section 2).

The internal construction, ITC, as the released models have it: the sequence in blocks of C tokens, of which the first
and the last are global. Tokens of a global block attend to all others; tokens of any other block attend to the global
ones, to their own block, the one before and the one behind, and to R blocks that are drawn at random, other ones for
every head and layer. The draws follow from a seed, which is part of the layer's configuration: a model that is saved
and loaded sees the same blocks.

A key counts once, wherever it is listed. A row's blocks are those up to its last real token: how far a batch is padded
changes nothing, and a row of up to 4 + R blocks attends fully. Lengths that are no multiple of C are filled up with
padding.

transformers 4.35.2 differs, and `as_transformers` computes what it does:

- The last block of the padded batch is the global one, also where a row ends before it.
- Up to 5 + 2 R blocks of C tokens the whole batch attends fully. (There a model stays at full attention after the first
  such batch; here every batch is looked at.)
- Blocks are drawn in training alone. At inference, the first block stands in place of each random one, so that its keys
  count R + 1 times.
- It draws otherwise: with NumPy's global generator, seeded with the layer's number; at 1,024, 3,072 and 4,096 tokens
  from the first 1,024 tokens alone, where at 1,024 the last block may be drawn although it is global, and elsewhere
  from the first 5 + 2 R blocks. Here all blocks are alike likely, in either mode, and none counts twice in training.
- It puts zeros in place of what padded queries attend to. Nobody reads them.

Cost: time and memory O(B T C (5 + R) D) and O(B N T C (5 + R)) a layer, linear in T.
"""

import numpy as np
from keras import ops

from tfmodels.layers.attention import HeadedAttention
from tfmodels.layers.base import check_whole
from tfmodels.ops import (
    attend,
    block_pattern,
    dot_products,
    from_blocks,
    padding,
    random_numbers,
    real_keys,
    take_blocks,
    to_blocks,
)

# Query blocks with random numbers of their own; those behind begin anew, among other blocks.
_ROWS = 256


class BlockSparseAttention(HeadedAttention):
    """Attention to a window, to the first and the last block, and to random blocks.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.
        block_size: C, in tokens.
        num_random_blocks: R; where a row has fewer blocks, all are seen.
        seed: What the random blocks follow from, 0 or above.
        as_transformers: Whether to compute what transformers' BigBird does; see the module.

    Call arguments:
        query: float[B, T, D]; self-attention alone.
        attention_mask: bool[1 or B, 1, 1, T], True = real, or None.

    Returns:
        float[B, T, D].

    Raises:
        UserError: A setting is out of its range, the mask tells queries apart, or keys are of another sequence.
    """

    attends_by_training = True
    is_of_itself = True

    def __init__(
        self,
        num_heads,
        hidden_dim,
        dropout=0.0,
        block_size=64,
        num_random_blocks=3,
        seed=0,
        as_transformers=False,
        **kwargs,
    ):
        super().__init__(num_heads, hidden_dim, dropout, **kwargs)
        check_whole(1, block_size=block_size)
        check_whole(0, num_random_blocks=num_random_blocks, seed=seed)
        self.block_size = block_size
        self.num_random_blocks = num_random_blocks
        self.seed = seed
        self.as_transformers = as_transformers
        self._draws = random_numbers(seed, (num_heads, _ROWS, num_random_blocks))

    @property
    def full_length(self):
        """The most tokens of a batch that all attend to each other."""
        return self.block_size * (
            5 + 2 * self.num_random_blocks if self.as_transformers else 4 + self.num_random_blocks
        )

    def pattern(self, counts, blocks, training=False):
        """The blocks that every query block sees.

        Args:
            counts: int32[B], the number of blocks of each row.
            blocks: M, the number of query blocks.
            training: Whether in training; it matters under `as_transformers` alone.

        Returns:
            A `BlockPattern` of int32 and bool[B, N, M, 5 + R], [B, N, M, 5] without random blocks.
        """
        drawn = self.num_random_blocks if training or not self.as_transformers else 0
        return block_pattern(self._draws[:, :, :drawn], counts, blocks)

    def attend(self, query, key, value, *, mask, dropout, training=None):
        is_real = real_keys(mask, key)

        def full():
            return attend(query, key, value, mask=mask, dropout=dropout)

        def sparse():
            return self._sparse(query, key, value, is_real, dropout, bool(training))

        length = ops.shape(query)[1]
        if isinstance(length, int):
            return full() if length <= self.full_length else sparse()
        return ops.cond(length <= self.full_length, full, sparse)

    def _sparse(self, query, key, value, is_real, dropout, training):
        """float[B, T, N, H]: attention of all blocks to those of the pattern, and of the global ones to everything."""
        size, head_dim = self.block_size, query.shape[-1]
        queries, real = to_blocks(query, size), to_blocks(is_real, size)  # [B, M, C, N, H], [B, M, C]
        batch, blocks = ops.shape(real)[:2]
        block = ops.arange(blocks, dtype="int32")
        if self.as_transformers:
            counts = ops.broadcast_to(ops.convert_to_tensor(blocks, dtype="int32"), (batch,))
        else:
            counts = ops.max(ops.where(ops.any(real, axis=2), block + 1, 1), axis=1)  # [B]

        pattern = self.pattern(counts, blocks, training)
        slots = pattern.indices.shape[-1]
        seen = ops.logical_and(take_blocks(real[:, None], pattern.indices), ops.repeat(pattern.is_used, size, axis=3))
        bias = None
        if slots < 5 + self.num_random_blocks:
            # exp(l + log(R + 1)) is R + 1 times exp(l): the keys of the first block count for the random ones.
            bias = np.log1p(self.num_random_blocks * (np.arange(slots * size) < size)).astype("float32")

        def of_heads(x):
            return ops.transpose(to_blocks(x, size), (0, 3, 1, 2, 4))  # [B, N, M, C, H]

        def alone(x, length):
            return ops.reshape(x, (-1, length, 1, head_dim))  # [B N M, length, 1, H]

        near = attend(
            alone(of_heads(query), size),
            alone(take_blocks(of_heads(key), pattern.indices), slots * size),
            alone(take_blocks(of_heads(value), pattern.indices), slots * size),
            mask=ops.reshape(seen, (-1, 1, 1, slots * size)),
            bias=bias,
            score=dot_products,
            dropout=dropout,
        )
        near = ops.reshape(near, (batch, self.num_heads, blocks, size, head_dim))  # [B, N, M, C, H]
        near = ops.transpose(near, (0, 2, 3, 1, 4))  # [B, M, C, N, H]

        is_first, is_last = block == 0, ops.equal(block, counts[:, None] - 1)  # [M], [B, M]
        last = ops.take_along_axis(queries, (counts - 1)[:, None, None, None, None], axis=1)  # [B, 1, C, N, H]
        ends = ops.concatenate([queries[:, :1], last], axis=1)  # [B, 2, C, N, H]
        ends = ops.reshape(ends, (batch, 2 * size, self.num_heads, head_dim))
        ends = attend(ends, key, value, mask=padding(is_real), dropout=dropout)  # [B, 2 C, N, H]
        ends = ops.reshape(ends, (batch, 2, size, self.num_heads, head_dim))

        output = ops.where(is_last[:, :, None, None, None], ends[:, 1:], near)
        output = ops.where(is_first[None, :, None, None, None], ends[:, :1], output)
        return from_blocks(output, ops.shape(query)[1])
