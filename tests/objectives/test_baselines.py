"""The n-gram models against counts by hand, and what they are asked about."""

import math
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.rows import MASK, rows_of
from tfmodels.objectives import (
    CorruptedBatches,
    Draw,
    MaskedText,
    MaskReplacement,
    NgramBaselines,
    PartialPrediction,
    PermutedText,
    TextStreams,
    TokenMasking,
    WithNgram,
    attention,
    next_tokens_of,
    predictions_of,
    unilm,
)
from tfmodels.objectives.corruption import permutation_mask

# Two rows; 0 and 1 are special, and 5 never occurs.
ROWS = [[0, 2, 3, 2, 3, 1], [0, 3, 2, 1]]
TOKENS, SPLITS, V, SPECIAL = np.concatenate(ROWS), np.array([0, 6, 10]), 6, (0, 1)


def unigram(token):
    counts = {number: 1 + sum(row.count(number) for row in ROWS) for number in range(2, V)}
    return counts[token] / sum(counts.values())


def bigram(before, token):
    pairs = [pair for row in ROWS for pair in pairwise(row) if pair[1] not in SPECIAL]
    after = [second for first, second in pairs if first == before]
    return after.count(token) / len(after) if after else None


def test_both_losses_are_those_of_the_counts():
    asked = [(0, 2), (2, 3), (3, 2), (3, 3), (5, 2), (-1, 3)]
    expected = []
    for weight in np.linspace(0, 0.95, 20):
        mixed = []
        for before, token in asked:
            found = bigram(before, token)
            mixed.append(unigram(token) if found is None else weight * found + (1 - weight) * unigram(token))
        expected.append(-sum(map(math.log, mixed)) / len(mixed))
    losses = NgramBaselines(TOKENS, SPLITS, V, SPECIAL).losses([t for _, t in asked], [b for b, _ in asked])
    assert losses["unigram"] == pytest.approx(-sum(math.log(unigram(t)) for _, t in asked) / len(asked))
    assert losses["bigram"] == pytest.approx(min(expected))


def test_no_pair_reaches_over_the_end_of_a_row():
    # 1 ends the first row and 7 begins the second: only across the border would 7 follow 1.
    baselines = NgramBaselines(np.array([2, 1, 7, 2]), np.array([0, 2, 4]), 8)
    losses = baselines.losses([7], [1])
    assert losses["bigram"] == pytest.approx(losses["unigram"])


def test_predictions_are_read_from_the_row_as_it_was():
    # 9 is a mask: tokens 4 and 5 were hidden side by side, the first token of the second row, and 8, which no one asks
    # for, before 3.
    inputs = {"token_ids": np.array([[3, 9, 9, 7], [9, 7, 9, 9]])}
    originals = {"token_ids": np.array([[3, 4, 5, 7], [6, 7, 8, 3]])}
    targets = {
        "positions": np.array([[1, 2], [0, 3]]),
        "labels": np.array([[4, 5], [6, 3]]),
        "weights": np.array([[1.0, 1.0], [1.0, 1.0]]),
    }
    labels, before, is_seen = predictions_of([(inputs, targets)], [(originals, {})])
    # No one asks for 8, and it is not there to be seen.
    assert is_seen.tolist() == [True, False, True, False]
    assert labels.tolist() == [4, 5, 6, 3] and before.tolist() == [3, 4, -1, 8]


@pytest.mark.parametrize("step", [3, 2])
def test_the_token_before_a_stretch_is_the_one_that_memory_holds(step):
    texts = tf.ragged.constant([list(range(10, 24)), list(range(40, 50))], dtype=tf.int32)
    streams = TextStreams(texts, batch_size=2, length=3, step=step)
    corruption = PermutedText(PartialPrediction(inverse_rate=2, max_predictions=2))
    batches = CorruptedBatches(streams, corruption, special_ids=[0])
    labels, before, is_seen = predictions_of(batches.in_order(), streams.in_order(), step)
    # Tokens rise by one, but for where the second text begins; a stream has 12 tokens.
    expected = np.where(np.isin(labels, [10, 22]), -1, np.where(labels == 40, 23, labels - 1))
    np.testing.assert_array_equal(before, expected)
    # Rows that are texts of their own have nothing before them; what memory holds is not hidden.
    _, alone, _ = predictions_of(batches.in_order(), streams.in_order())
    begins = (alone == -1) & (before != -1)
    assert begins.any() and is_seen[begins].all()


def masked(ids, positions):
    """A batch of one row: what the model sees, what it must predict, and the row as it was."""
    original = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), bool)}
    corrupted = [9 if place in positions else token for place, token in enumerate(ids)]
    targets = {
        "positions": np.array([positions]),
        "labels": np.array([[ids[place] for place in positions]]),
        "weights": np.ones((1, len(positions))),
    }
    return {**original, "token_ids": np.array([corrupted])}, targets, original


def seen_before(inputs, targets, original, attention_mask=None):
    return predictions_of([(inputs, targets)], [(original, {})], attention_mask=attention_mask)[2].tolist()


def test_a_predicted_token_is_seen_where_the_order_has_it_earlier():
    inputs, targets, original = masked([0, 2, 3, 4, 5], [2, 3, 4])
    inputs["token_ids"] = original["token_ids"]  # XLNet has no masks
    # The places' order is 3, 2, 4: at 2 the given token at 1 is seen, at 3 not yet that at 2, at 4 that at 3.
    order = np.array([[-1.0, -1.0, 0.5, 0.2, 0.9]], "float32")
    inputs["permutation_mask"] = permutation_mask(order, original["padding_mask"])
    assert seen_before(inputs, targets, original) == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Of two predicted neighbours the second does not see the first; from the right nothing before is seen.
        (attention.BIDIRECTIONAL, [True, False, True]),
        (attention.LEFT_TO_RIGHT, [True, False, True]),
        (attention.RIGHT_TO_LEFT, [False, False, False]),
        (attention.SEQUENCE_TO_SEQUENCE, [True, False, True]),
    ],
)
def test_a_mask_says_which_tokens_are_seen(kind, expected):
    inputs, targets, original = masked([0, 2, 3, 1, 4, 5, 1], [1, 2, 5])
    first, second = attention.UNILM_SEGMENTS[kind]
    inputs["segment_ids"] = np.array([[first] * 4 + [second] * 3])
    assert seen_before(inputs, targets, original, unilm) == expected
    # Where the target begins, the source is behind it: the separator is no secret but from the right.
    inputs, targets, original = masked([0, 2, 3, 1, 4, 5, 1], [4])
    inputs["segment_ids"] = np.array([[first] * 4 + [second] * 3])
    assert seen_before(inputs, targets, original, unilm) == [kind != attention.RIGHT_TO_LEFT]


def test_what_stands_under_infowords_mask_is_not_seen():
    batch = rows_of([24] * 64)
    corruption = WithNgram(MaskedText(TokenMasking(0.15, 4), MaskReplacement(MASK)), MASK, cls_id=2)
    inputs, targets = corruption(batch, Draw(0, 0, np.arange(64)))
    _, _, is_seen = predictions_of([(inputs, targets)], [(batch, {})])
    rows = np.nonzero(targets["weights"].numpy() > 0)[0]
    places = targets["positions"].numpy()[targets["weights"].numpy() > 0]
    stands = inputs["token_ids"].numpy()[rows, np.maximum(places - 1, 0)]
    np.testing.assert_array_equal(is_seen, stands != MASK)
    predicted = {(row, place) for row, place in zip(rows, places)}
    unasked = [(row, place - 1) not in predicted for row, place in zip(rows, places)]
    assert (~is_seen[unasked]).any(), "no prediction stood behind an n-gram"


def test_the_token_before_the_next_one_is_the_last_that_is_seen():
    streams = TextStreams(tf.ragged.constant([[3, 4, 5], [6, 7]]), batch_size=1, length=2)
    labels, before, is_seen = next_tokens_of(streams.in_order())
    assert labels.tolist() == [4, 5, 6, 7] and before.tolist() == [3, 4, 5, 6] and is_seen.all()


def test_detectors_are_logistic_regressions_on_the_counts():
    baselines = NgramBaselines(TOKENS, SPLITS, V, SPECIAL)
    random = np.random.default_rng(0)
    tokens = np.tile([2, 3, 2, 3, 2, 3, 2, 3], (50, 1))
    is_replaced = random.random(tokens.shape) < 0.2
    tokens[is_replaced] = 5  # a token that no row has
    is_real = np.ones(tokens.shape, bool)
    is_real[:, -1] = False
    losses = baselines.detection_losses(tokens, is_real, is_replaced)
    assert losses["unigram"] < 0.01, "what never occurs is told by its own count"

    # Of these, each is as frequent as the other: only the token before tells which is in its place.
    tokens = np.tile([2, 3, 2, 3, 2, 3, 2, 3], (50, 1))
    is_replaced = random.random(tokens.shape) < 0.2
    tokens[is_replaced] = 5 - tokens[is_replaced]
    losses = baselines.detection_losses(tokens, is_real, is_replaced)
    share = is_replaced[is_real].mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert losses["unigram"] == pytest.approx(entropy, abs=0.01)
    assert losses["bigram"] < 0.8 * entropy
    # Padding does not count.
    tokens[~is_real] = 2
    assert baselines.detection_losses(tokens, is_real, is_replaced)["unigram"] == pytest.approx(losses["unigram"])
