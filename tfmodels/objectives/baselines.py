"""What a language model has to beat: unigram and bigram models of the training rows, on the same predictions.

The bigram model guesses a token from the one before it, even where that is hidden from the model that is judged
(`predictions_of` tells where), and is interpolated with the unigram model (Jelinek and Mercer, 1980) by the weight that
serves it best on the judged rows: the baseline has every advantage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

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
        unigram, bigram, weighed = self._probabilities(labels, before)
        bigrams = [-np.log(_mixed(weight * weighed, bigram, unigram)).mean() for weight in _WEIGHTS]
        return {"unigram": float(-np.log(unigram).mean()), "bigram": float(min(bigrams))}

    def detection_losses(self, token_ids, is_real, is_replaced) -> Mapping[str, float]:
        """The mean cross-entropy of telling replaced tokens from originals, in nats a token.

        The baselines are logistic regressions on the tokens' log-probabilities, fitted to the very tokens that they are
        judged by.

        Args:
            token_ids: int[B, T], replaced tokens among them.
            is_real: bool[B, T], False at padding.
            is_replaced: bool[B, T].

        Returns:
            "unigram", from a token's own probability, and "bigram", also from those of it and of the next one after
            their predecessors.
        """
        token_ids, is_real = np.asarray(token_ids, "int64"), np.asarray(is_real, bool)
        before = np.pad(token_ids[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        # A weight that serves the bigram model well; the regression does the rest.
        unigram, bigram, weighed = self._probabilities(token_ids.ravel(), before.ravel())
        mixed = _mixed(_WEIGHTS[14] * weighed, bigram, unigram)
        with np.errstate(divide="ignore"):
            # Special tokens are impossible: the regression is told so by a number that no other token has.
            unigram, bigram = (np.maximum(np.log(x), -30).reshape(token_ids.shape) for x in (unigram, mixed))
        behind = np.pad(bigram[:, 1:], ((0, 0), (0, 1)))
        columns = [x[is_real] for x in (np.ones_like(unigram), unigram, bigram, behind)]
        truth = np.asarray(is_replaced)[is_real]
        return {
            "unigram": _logistic_loss(np.stack(columns[:2], axis=1), truth),
            "bigram": _logistic_loss(np.stack(columns, axis=1), truth),
        }

    def _probabilities(self, labels, before):
        """float64[n]: those of the unigram model, and of the bigram model where `weighed`, bool[n], it knows some."""
        labels, before = np.asarray(labels, "int64"), np.asarray(before, "int64")
        unigram = self.unigrams[labels]
        keys = np.maximum(before, 0) * self.vocabulary_size + labels
        places = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        found = (self._pairs[places] == keys) & (before >= 0) if len(self._pairs) else np.zeros(len(keys), bool)
        after = np.where(before >= 0, self._before[np.maximum(before, 0)], 0)
        seen = np.where(found, self._pair_counts[places] if len(self._pairs) else 0, 0)
        # After a token that was never seen there is the unigram model alone.
        return unigram, seen / np.maximum(after, 1), after > 0


def _mixed(weights, bigram, unigram):
    return weights * bigram + (1 - weights) * unigram


def _logistic_loss(features, truth, steps=30) -> float:
    """The loss of a logistic regression on what it was fitted to, by Newton's method."""
    scale = np.maximum(np.abs(features).max(axis=0), 1e-9)
    features, truth = features / scale, truth.astype("float64")
    weights = np.zeros(features.shape[1])
    for _ in range(steps):
        guess = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        curvature = (features * (guess * (1 - guess))[:, None]).T @ features + 1e-6 * np.eye(len(weights))
        weights += np.linalg.solve(curvature, features.T @ (truth - guess) - 1e-6 * weights)
    logits = features @ weights
    return float((np.logaddexp(0, logits) - truth * logits).mean())


def next_tokens_of(batches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `predictions_of` tells of `TextStreams`, where every token is predicted from those before it.

    Args:
        batches: Pairs of inputs and targets.

    Returns:
        int64[n] labels, int64[n] tokens before them, and bool[n], True: all of them are seen.
    """
    labels, before = [], []
    for inputs, targets in batches:
        real = np.asarray(targets["weights"]) > 0
        labels.append(np.asarray(targets["labels"])[real])
        before.append(np.asarray(inputs["token_ids"])[real])
    labels, before = (np.concatenate(parts).astype("int64") for parts in (labels, before))
    return labels, before, np.ones(len(labels), bool)


def predictions_of(
    batches, originals, step: int | None = None, attention_mask: Callable | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The predicted tokens of corrupted batches, the original token before each, and whether the model sees it there.

    It does not where that token is predicted too, or something else stands in its place, or a mask hides it. Of an
    XLNet the `permutation_mask` says all: a token that comes earlier in the order is seen though it is predicted.

    Args:
        batches: Pairs of inputs and targets, as a corruption returns them.
        originals: The same batches before they were corrupted.
        step: Of `TextStreams`, tokens from one stretch's beginning to the next one's, so that a stretch begins behind
            what memory holds; None where rows are texts of their own.
        attention_mask: Who sees whom, as `Pretrainer` takes it; None for all but padding.

    Returns:
        int64[n] labels, int64[n] tokens before them, -1 at a text's begin, and bool[n], whether the model sees the
        token before; True at a text's begin, where nothing is hidden.
    """
    labels, before, is_seen = [], [], []
    past = -1
    for (inputs, targets), (original, _) in zip(batches, originals):
        tokens = np.asarray(original["token_ids"])
        past = np.full(len(tokens), -1) if step is None else np.where(original["is_start"], -1, past)
        real = np.asarray(targets["weights"]) > 0
        rows = np.nonzero(real)[0]
        places = np.asarray(targets["positions"])[real]
        previous = np.maximum(places - 1, 0)
        if "permutation_mask" in inputs:
            seen = np.asarray(inputs["permutation_mask"])[rows, places, previous]
        else:
            hidden = np.asarray(inputs["token_ids"]) != tokens
            hidden[rows, places] = True
            seen = ~hidden[rows, previous]
        if attention_mask is not None:
            # The same for every head.
            seen &= np.asarray(attention_mask(inputs))[rows, 0, places, previous]
        labels.append(np.asarray(targets["labels"])[real])
        before.append(np.where(places > 0, tokens[rows, previous], past[rows]))
        if step is not None:
            past = tokens[:, step - 1]
        is_seen.append((places == 0) | seen)
    return np.concatenate(labels).astype("int64"), np.concatenate(before).astype("int64"), np.concatenate(is_seen)
