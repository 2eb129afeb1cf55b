"""Random numbers that depend on the seed, the epoch and the row alone: a resumed run draws what it would have drawn."""

from __future__ import annotations

import tensorflow as tf


class Draw:
    """Uniform numbers for every row of a batch, new ones at every call.

    A row's numbers depend neither on its neighbours nor on its place in the batch, and more numbers begin with the
    same ones: padding changes nothing. The n-th call of a trace is the n-th stream, so that the order of calls must be
    fixed.

    Args:
        seed: 31 bits.
        epoch: int, a number or a scalar tensor, below 2^24.
        rows: int64[B], what tells the rows apart, such as their numbers in the data.

    Call arguments:
        count: Numbers a row.

    Returns:
        float32[B, count] in [0, 1).

    Example:
    >>> draw = Draw(0, 0, [3, 4])
    >>> [tuple(draw(count).shape) for count in (2, 5)]
    [(2, 2), (2, 5)]
    """

    def __init__(self, seed, epoch, rows):
        self.base = tf.cast(seed, tf.int64) * 2**32 + tf.cast(epoch, tf.int64) * 2**8
        self.rows = tf.cast(rows, tf.int64)
        self._stream = 0

    def __call__(self, count):
        key = self.base + self._stream
        self._stream += 1
        # One row too many: `map_fn` does not know the shape of nothing.
        rows = tf.pad(self.rows, [[0, 1]])
        seeds = tf.stack([tf.fill(tf.shape(rows), key), rows], axis=1)  # [B + 1, 2]
        return tf.map_fn(
            lambda seed: tf.random.stateless_uniform([count], seed, alg="philox"),
            seeds,
            fn_output_signature=tf.TensorSpec([count if isinstance(count, int) else None], tf.float32),
        )[:-1]
