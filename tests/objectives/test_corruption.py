"""Corrupted batches: what stands where, what is to be predicted, and that a resumed run draws the same."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.objectives.rows import CLS, MASK, SPECIAL_IDS, VOCABULARY_SIZE, rows_of, uniform_rows
from tests.objectives.test_choosing import SIGNIFICANCE
from tests.training.keywords import keyword_rows
from tfmodels.errors import UserError
from tfmodels.objectives import (
    BertReplacement,
    CorruptedBatches,
    Draw,
    MaskedText,
    MaskReplacement,
    PartialPrediction,
    PermutedText,
    SpanMasking,
    SpanReplacement,
    TokenMasking,
    WithNgram,
)
from tfmodels.objectives.corruption import content_mask, permutation_mask, target_mapping
from tfmodels.training import Batches

LENGTHS = [40, 7, 1, 0, 2, 3, 64, 33]


def corrupted(corruption, batch, seed=0, epoch=0):
    rows = np.arange(len(batch["token_ids"]))

    @tf.function
    def corrupt(batch):
        return corruption(batch, Draw(seed, epoch, rows))

    inputs, targets = corrupt({name: tf.constant(value) for name, value in batch.items()})
    return tuple({name: value.numpy() for name, value in part.items()} for part in (inputs, targets))


def bert(cls=BertReplacement, **settings):
    return cls(MASK, VOCABULARY_SIZE, SPECIAL_IDS, **settings)


@pytest.mark.parametrize(
    "corruption",
    [MaskedText(TokenMasking(0.15, 12), bert()), MaskedText(SpanMasking(0.4, 30), bert(SpanReplacement))],
    ids=["tokens", "spans"],
)
@pytest.mark.parametrize("lengths", [LENGTHS, [0, 0], [1]])
def test_predictions_say_what_was_there(corruption, lengths):
    batch, most = rows_of(lengths), corruption.choose.max_predictions
    chosen = corruption.choose({name: tf.constant(v) for name, v in batch.items()}, Draw(0, 0, range(len(lengths))))
    chosen = chosen.numpy() > 0
    inputs, targets = corrupted(corruption, batch)
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
    assert {name: value.dtype.name for name, value in targets.items()} == {
        "positions": "int32",
        "labels": "int32",
        "weights": "float32",
        "left": "int32",
        "right": "int32",
        "offset": "int32",
    }
    np.testing.assert_array_equal(inputs["token_ids"][~chosen], batch["token_ids"][~chosen])
    for row, length in enumerate(lengths):
        places = np.flatnonzero(chosen[row])
        count = len(places)
        assert {value.shape[1] for value in targets.values()} == {most}
        assert targets["weights"][row].tolist() == [1.0] * count + [0.0] * (most - count)
        assert targets["positions"][row].tolist() == [*places, *[0] * (most - count)]
        assert targets["labels"][row, :count].tolist() == batch["token_ids"][row, places].tolist()
        assert not targets["labels"][row, count:].any()
        for index, place in enumerate(places):
            left, right = place, place
            while left >= 0 and chosen[row, left]:
                left -= 1
            while right < length and chosen[row, right]:
                right += 1
            assert targets["left"][row, index] == left
            assert targets["right"][row, index] == (right if right < length else -1)
            assert targets["offset"][row, index] == place - left - 1
        assert (targets["left"][row, count:] == -1).all() and (targets["right"][row, count:] == -1).all()


def test_a_batch_of_no_rows_or_no_tokens_survives():
    for lengths, length in (([], 4), ([0, 0], 0)):
        inputs, targets = corrupted(MaskedText(SpanMasking(), bert(SpanReplacement)), rows_of(lengths, length=length))
        assert inputs["token_ids"].shape == (len(lengths), length)
        assert targets["positions"].shape == (len(lengths), 20) and not targets["weights"].any()
        inputs, _ = corrupted(PermutedText(PartialPrediction()), rows_of(lengths, length=length))
        assert inputs["permutation_mask"].shape == (len(lengths), length, length)


def test_eighty_ten_ten():
    rows, length = 2000, 100
    inputs, targets = corrupted(MaskedText(TokenMasking(0.15, 15), bert()), uniform_rows(rows, length, token=4))
    seen = np.take_along_axis(inputs["token_ids"], targets["positions"], axis=1).ravel()
    assert len(seen) == 30_000 and targets["weights"].all()
    ordinary = VOCABULARY_SIZE - len(SPECIAL_IDS)
    observed = np.array([(seen == MASK).sum(), ((seen != MASK) & (seen != 4)).sum(), (seen == 4).sum()])
    expected = np.array([0.8, 0.1 * (1 - 1 / ordinary), 0.1 + 0.1 / ordinary]) * len(seen)
    assert stats.chisquare(observed, expected).pvalue > SIGNIFICANCE, observed / len(seen)
    # Random tokens are uniform over what is not special. Token 4 itself is not told from one that stayed.
    drawn = np.bincount(seen, minlength=VOCABULARY_SIZE)
    assert not drawn[[0, 1, 2]].any()
    assert stats.chisquare(drawn[5:]).pvalue > SIGNIFICANCE
    assert stats.binomtest(int(observed[0]), len(seen), 0.8).pvalue > SIGNIFICANCE


def test_a_span_shares_one_fate():
    rows, length = 1500, 60
    corruption = MaskedText(SpanMasking(0.15, 9), bert(SpanReplacement))
    inputs, targets = corrupted(corruption, uniform_rows(rows, length, token=4))
    chosen = np.zeros((rows, length), bool)
    np.put_along_axis(chosen, targets["positions"], targets["weights"] > 0, axis=1)
    fates = []
    for row in range(rows):
        places = np.flatnonzero(chosen[row])
        for span in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            seen = inputs["token_ids"][row, span]
            masked, stayed = (seen == MASK), (seen == 4)
            assert masked.all() or not masked.any(), "a span is masked as a whole"
            fates.append("mask" if masked.all() else "stay" if stayed.all() else "random")
            # Half of a random span's tokens may be drawn as token 4, all of a longer one hardly.
            if len(span) > 3 and fates[-1] == "random":
                assert stayed.mean() < 0.8
    observed = np.array([fates.count(fate) for fate in ("mask", "random", "stay")])
    assert stats.chisquare([observed[0], observed[1:].sum()], np.array([0.8, 0.2]) * len(fates)).pvalue > SIGNIFICANCE
    # One random token in 56 looks as if it had stayed.
    assert stats.binomtest(int(observed[1]), int(observed[1:].sum()), 0.5 * (1 - 0.3 / 56)).pvalue > SIGNIFICANCE


def test_always_mask():
    batch = rows_of(LENGTHS)
    inputs, targets = corrupted(MaskedText(TokenMasking(0.3, 30), MaskReplacement(MASK)), batch)
    changed = inputs["token_ids"] != batch["token_ids"]
    assert (inputs["token_ids"][changed] == MASK).all()
    assert changed.sum() == targets["weights"].sum() > 20


def test_a_vocabulary_without_mask_is_told():
    with pytest.raises(UserError, match=r"need a \[MASK\] token"):
        MaskReplacement(None)
    with pytest.raises(UserError, match=r"\[MASK\] is token 103, but the vocabulary has 60"):
        BertReplacement(103, 60)
    with pytest.raises(ValueError, match="sum of at most 1"):
        BertReplacement(3, 60, mask=0.9, random=0.2)


def test_permutation_masks_against_every_factorisation_order():
    given = np.array([True, False, True, False, False, True])
    real = np.array([[True] * 5 + [False]])
    hidden = [1, 3, 4]
    for order in itertools.permutations(hidden):
        ranks = np.full((1, 6), -1.0, "float32")
        ranks[0, list(order)] = [0.1, 0.4, 0.7]
        mask = permutation_mask(tf.constant(ranks), tf.constant(real)).numpy()[0]
        for query in range(6):
            before = order[: order.index(query)] if query in order else ()
            for key in range(6):
                assert mask[query, key] == (real[0, key] and (bool(given[key]) or key in before)), (order, query, key)
        content = content_mask(tf.constant(mask[None])).numpy()[0]
        np.testing.assert_array_equal(content, mask | np.eye(6, dtype=bool))


def test_every_factorisation_order_is_drawn_equally_often():
    rows = 3000
    corruption = PermutedText(TokenMasking(0.5, 3))
    inputs, targets = corrupted(corruption, uniform_rows(rows, 6))
    assert targets["weights"].all()
    places = targets["positions"]  # [rows, 3]
    among = np.take_along_axis(inputs["permutation_mask"], places[:, :, None], axis=1)
    among = np.take_along_axis(among, places[:, None, :], axis=2)
    # A predicted token sees those before it in the order: 0, 1 and 2 of them.
    ranks = among.sum(axis=2)
    assert (np.sort(ranks, axis=1) == [0, 1, 2]).all()
    counts = [(ranks == order).all(axis=1).sum() for order in itertools.permutations(range(3))]
    assert sum(counts) == rows and stats.chisquare(counts).pvalue > SIGNIFICANCE
    # No query that is given sees a predicted token; nothing is replaced.
    chosen = np.zeros((rows, 6), bool)
    np.put_along_axis(chosen, places, True, axis=1)
    assert not (inputs["permutation_mask"] & ~chosen[:, :, None] & chosen[:, None, :]).any()
    assert (inputs["token_ids"] == 4).all()
    mapping = target_mapping(places, 6).numpy()
    np.testing.assert_array_equal(mapping.argmax(axis=2), places)
    assert (mapping.sum(axis=2) == 1).all()


def test_an_ngram_is_hidden_and_told_beside():
    lengths = [*LENGTHS, *[60] * 400]
    batch = rows_of(lengths)
    inner = MaskedText(TokenMasking(0.15, 12), bert())
    corruption = WithNgram(inner, MASK, CLS)
    inputs, targets = corrupted(corruption, batch)
    alone, _ = corrupted(inner, batch)
    sizes = []
    for row in range(len(lengths)):
        ngram = targets["ngram_ids"][row, targets["ngram_mask"][row]]
        assert ngram[0] == CLS and not targets["ngram_ids"][row, ~targets["ngram_mask"][row]].any()
        ordinary = batch["padding_mask"][row] & ~batch["special_mask"][row]
        assert (len(ngram) > 1) == ordinary.any()
        size = len(ngram) - 1
        changed = np.flatnonzero(inputs["token_ids"][row] != alone["token_ids"][row])
        starts = [
            start
            for start in range(len(ordinary) - size + 1)
            if ordinary[start : start + size].all()
            and (batch["token_ids"][row, start : start + size] == ngram[1:]).all()
            and (inputs["token_ids"][row, start : start + size] == MASK).all()
            and ((changed >= start) & (changed < start + size)).all()
        ]
        assert starts or not size
        if lengths[row] == 60:
            sizes.append(size)
    edges = stats.norm(5, 1).cdf(np.arange(0.5, 11))
    expected = np.diff([0, *edges[1:-1], 1])
    np.testing.assert_allclose(corruption.length_probabilities, expected, rtol=1e-9)
    # A start is any of the tokens, and the end of its segment cuts what is drawn.
    ordinary = batch["padding_mask"][-1] & ~batch["special_mask"][-1]
    rooms = [next(n for n in range(1, 60) if not ordinary[place + n]) for place in np.flatnonzero(ordinary)]
    cut = np.zeros((len(rooms), 10))
    for row, room in zip(cut, np.minimum(rooms, 10)):
        row[:room] = [*expected[: room - 1], expected[room - 1 :].sum()]
    counts, likely = np.bincount(sizes, minlength=11)[1:], cut.mean(axis=0) * len(sizes)
    # Of the longest there are too few to count apart.
    counts, likely = ([*numbers[:7], numbers[7:].sum()] for numbers in (counts, likely))
    assert stats.chisquare(counts, likely).pvalue > SIGNIFICANCE, (counts, likely)


def masked_batches(rows=40, **settings):
    token_ids, labels = keyword_rows(rows)
    batches = Batches(token_ids, {"row": np.arange(rows), "sentence_order": labels}, 16, seed=3)
    return CorruptedBatches(batches, MaskedText(TokenMasking(0.3, 6), bert()), special_ids=SPECIAL_IDS, **settings)


def arrays(dataset):
    return [{name: value.numpy() for part in batch for name, value in part.items()} for batch in dataset]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs):
        assert set(one) == set(other)
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def by_text(batches):
    """The masked row of every original row."""
    found = {}
    for batch in batches:
        original = batch["token_ids"].copy()
        for row, (places, labels, weights) in enumerate(zip(batch["positions"], batch["labels"], batch["weights"])):
            original[row, places[weights > 0]] = labels[weights > 0]
            kept = batch["padding_mask"][row]
            found[tuple(original[row][kept])] = tuple(batch["token_ids"][row][kept])
    return found


def test_a_resumed_run_sees_the_same_corruption():
    whole = arrays(masked_batches().dataset(0, 3))
    assert len(whole) == 3 * len(masked_batches()) == 9
    assert_same(arrays(masked_batches().dataset(1, 3)), whole[3:])
    assert_same(arrays(masked_batches().in_order()), arrays(masked_batches().in_order()))
    assert set(whole[0]) == {
        *("token_ids", "segment_ids", "padding_mask", "sentence_order"),
        *("positions", "labels", "weights", "left", "right", "offset"),
    }


def test_masks_are_dynamic_or_static():
    def epochs(**settings):
        batches = arrays(masked_batches(**settings).dataset(0, 4))
        return [by_text(batches[start : start + 3]) for start in range(0, 12, 3)]

    def kept(one, other):
        """The rows that are masked alike, where the rows are the same."""
        assert set(one) == set(other) and len(one) > 30
        return sum(one[text] == other[text] for text in one) / len(one)

    dynamic = epochs()
    assert all(kept(dynamic[0], other) < 0.5 for other in dynamic[1:])
    static = epochs(copies=1)
    assert all(kept(static[0], other) == 1 for other in static[1:])
    two = epochs(copies=2)
    assert kept(two[0], two[2]) == kept(two[1], two[3]) == 1 and kept(two[0], two[1]) < 0.5
    assert kept(dynamic[0], epochs(seed=1)[0]) < 0.5


def test_annotations_come_from_the_targets():
    token_ids, _ = keyword_rows(8)
    pairs = tf.RaggedTensor.from_row_splits(
        tf.concat([tf.range(n, dtype=tf.int32) // 2 for n in token_ids.row_lengths()], 0), token_ids.row_splits
    )
    batches = Batches(token_ids, {"row": np.arange(8), "word_ids": pairs}, 8)
    spans = CorruptedBatches(batches, MaskedText(SpanMasking(0.5, 8), MaskReplacement(MASK)), special_ids=SPECIAL_IDS)
    (batch,) = arrays(spans.dataset())
    assert "word_ids" not in batch and "row" not in batch
    masked = batch["token_ids"] == MASK
    assert masked.any()
    for row in range(8):
        real = int(batch["padding_mask"][row].sum())
        for start in range(0, real - 1, 2):
            assert masked[row, start] == masked[row, start + 1]


def test_batches_without_row_numbers_are_refused():
    token_ids, _ = keyword_rows(8)
    with pytest.raises(UserError, match='need a target "row"'):
        CorruptedBatches(Batches(token_ids, {}, 4), MaskedText(TokenMasking(), bert()), special_ids=SPECIAL_IDS)
    with pytest.raises(ValueError, match="copies=0"):
        masked_batches(copies=0)
