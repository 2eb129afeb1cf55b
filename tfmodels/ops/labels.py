"""Scores of relative positions from scores of their labels (ETC, arXiv:2004.08483, section 3).

A label is a distance, clipped, or says whether a token belongs to a stretch. Scores are taken of labels, a few for each
query, and spread over the keys by moving memory alone.

Cost: time and memory O(B N T (T + S)) for T queries and S keys, against O(T S H) for a vector for every pair.
"""

from keras import ops

from tfmodels.ops.blocks import stretch
from tfmodels.ops.relative import skew


def by_clipped_distance(scores, key_length, before=0):
    """Scores by key from scores by clipped distance.

    Args:
        scores: float[B, N, T, 2 k + 1], for keys k behind the query, k - 1 behind, ..., k ahead.
        key_length: S.
        before: The place of the query at 0 among the keys.

    Returns:
        float[B, N, T, S]: of the key at s for the query at t the score of s - before - t, clipped to k on either side.
    """
    *leading, length, labels = ops.shape(scores)
    if isinstance(length, int) and length == 0:
        return ops.zeros((*leading, 0, key_length), dtype=scores.dtype)
    # How far keys can be behind and ahead: more of the first label and of the last than there are such keys.
    behind, ahead = length - 1 + before, key_length - 1 - before

    def repeated(column, times):
        return ops.broadcast_to(column, (*leading, length, times))

    first, last = (stretch(scores, place, 1, axis=-1) for place in (0, labels - 1))
    spread = ops.concatenate([repeated(first, behind), scores, repeated(last, ahead)], axis=-1)
    return skew(stretch(spread, (labels - 1) // 2, behind + 1 + ahead, axis=-1), key_length)


def belongs(tokens, stretches, size):
    """Which stretch of tokens a token belongs to.

    Args:
        tokens: T.
        stretches: G.
        size: Tokens of a stretch.

    Returns:
        bool[T, G].
    """
    return ops.equal(ops.arange(tokens)[:, None] // size, ops.arange(stretches)[None])
