"""Proposes lengths that sequences are grouped by, so that little of a batch is padding."""

import itertools
from collections.abc import Iterable

from tfmodels.errors import UserError


def bucket_lengths(lengths: Iterable[int], max_buckets: int = 8, length_multiple: int = 8) -> list[int]:
    """Proposes the bucket lengths that pad a collection of sequences the least.

    A sequence goes into the first bucket that it fits and is padded to that bucket's length. The proposal is the best
    there is (dynamic programming over the distinct rounded lengths, `O(max_buckets * n^2)` time for n of them).

    Args:
        lengths: The length of every sequence, in tokens.
        max_buckets: The most buckets to propose.
        length_multiple: Bucket lengths are multiples of this.

    Returns:
        The longest length of every bucket, rising. The last fits the longest sequence.

    Raises:
        UserError: There are no lengths, or an argument is not positive.

    Example:
    `tf.data` wants the first length that no longer fits, for all buckets but the last:

    >>> lengths = bucket_lengths([5, 6, 7, 7, 30, 31, 32, 64], max_buckets=3)
    >>> lengths
    [8, 32, 64]
    >>> boundaries = [length + 1 for length in lengths[:-1]]
    """
    if max_buckets < 1 or length_multiple < 1:
        raise UserError("max_buckets and length_multiple must be at least 1.")
    rounded = sorted(max(1, -(-int(length) // length_multiple)) * length_multiple for length in lengths)
    if not rounded:
        raise UserError("There are no lengths to make buckets for: give at least one sequence.")
    counts = [(length, len(list(group))) for length, group in itertools.groupby(rounded)]
    before = [0, *itertools.accumulate(count for _, count in counts)]  # before[i]: sequences shorter than counts[i]

    # best[i]: the fewest padded tokens, and the buckets that reach it, for the sequences before counts[i].
    best = {0: (0, [])}
    for _ in range(max_buckets):
        longer = dict(best)
        for end in range(1, len(counts) + 1):
            length = counts[end - 1][0]
            tries = [
                (tokens + length * (before[end] - before[start]), [*buckets, length])
                for start, (tokens, buckets) in best.items()
                if start < end
            ]
            if tries:
                longer[end] = min([*tries, best[end]] if end in best else tries)
        best = longer
    return best[len(counts)][1]
