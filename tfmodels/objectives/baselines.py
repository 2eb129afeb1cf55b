"""What a language model has to beat: unigram and bigram models of the training rows, on the same predictions.

The bigram model guesses a token from the one before it, whatever hides there from the model that is judged, and is
interpolated with the unigram model (Jelinek and Mercer, 1980) by the weight that serves it best on the judged rows:
the baseline has every advantage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

_WEIGHTS = np.linspace(0, 0.95, 20)


class NgramBaselines:
    """Unigram and bigram models of rows.

    Args:
        token_ids: int[tokens], the rows' tokens one after the other.
        row_splits: int[rows + 1], where each row begins.
        vocabulary_size: V.
        special_ids: Tokens that are never predicted and not counted.

    Example:
    >>> baselines = NgramBaselines(np.array([1, 2, 1, 2]), np.array([0, 4]), 3)
    >>> losses = baselines.losses(labels=[2, 2], before=[1, 1])
    >>> losses["bigram"] < losses["unigram"]
    True
    """

    def __init__(self, token_ids, row_splits, vocabulary_size: int, special_ids: Iterable[int] = ()):
        tokens = np.asarray(token_ids, "int64")
        counted = ~np.isin(tokens, list(special_ids))
        counts = np.bincount(tokens[counted], minlength=vocabulary_size).astype("float64")
        ordinary = np.setdiff1d(np.arange(vocabulary_size), list(special_ids))
        # One is added to every token that may be predicted, so that none is impossible.
        counts[ordinary] += 1
        self.unigrams = counts / counts.sum()
        self.vocabulary_size = vocabulary_size
        starts = np.zeros(len(tokens) + 1, bool)
        starts[np.asarray(row_splits)] = True
        is_pair = counted[1:] & ~starts[1 : len(tokens)]
        pairs = tokens[:-1][is_pair] * vocabulary_size + tokens[1:][is_pair]
        self._pairs, self._pair_counts = np.unique(pairs, return_counts=True)
        self._before = np.bincount(tokens[:-1][is_pair], minlength=vocabulary_size)

    def losses(self, labels, before) -> Mapping[str, float]:
        """The mean cross-entropy of each baseline, in nats a prediction.

        Args:
            labels: int[n], the predicted tokens.
            before: int[n], the original token before each; -1 where the row begins with the prediction.

        Returns:
            "unigram" and "bigram".
        """
        labels, before = np.asarray(labels, "int64"), np.asarray(before, "int64")
        unigram = self.unigrams[labels]
        keys = np.maximum(before, 0) * self.vocabulary_size + labels
        places = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        found = (self._pairs[places] == keys) & (before >= 0) if len(self._pairs) else np.zeros(len(keys), bool)
        after = np.where(before >= 0, self._before[np.maximum(before, 0)], 0)
        seen = np.where(found, self._pair_counts[places] if len(self._pairs) else 0, 0)
        bigram = seen / np.maximum(after, 1)
        # After a token that was never seen there is the unigram model alone.
        weights = np.where(after > 0, _WEIGHTS[:, None], 0)  # [weights, n]
        mixed = weights * bigram + (1 - weights) * unigram
        bigrams = -np.log(mixed).mean(axis=1)
        return {"unigram": float(-np.log(unigram).mean()), "bigram": float(bigrams.min())}


def predictions_of(batches) -> tuple[np.ndarray, np.ndarray]:
    """The predicted tokens of corrupted batches, and the original token before each.

    Args:
        batches: Pairs of inputs and targets, as a corruption returns them.

    Returns:
        int64[n] labels and int64[n] tokens before them, -1 at a row's begin.
    """
    labels, before = [], []
    for inputs, targets in batches:
        tokens = np.array(inputs["token_ids"])
        real = np.asarray(targets["weights"]) > 0
        rows = np.nonzero(real)[0]
        places, right = np.asarray(targets["positions"])[real], np.asarray(targets["labels"])[real]
        tokens[rows, places] = right  # the row as it was
        labels.append(right)
        before.append(np.where(places > 0, tokens[rows, np.maximum(places - 1, 0)], -1))
    return np.concatenate(labels).astype("int64"), np.concatenate(before).astype("int64")
