"""Which tokens are chosen: never a special one or padding, never too many, and with the stated distributions."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.objectives.rows import rows_of, uniform_rows
from tfmodels.objectives import (
    Draw,
    MaskingMixture,
    NoMasking,
    PartialPrediction,
    PhraseMasking,
    SpanMasking,
    TokenMasking,
    WholeWordMasking,
)
from tfmodels.objectives.choosing import Units, candidates, tokens, words

LENGTHS = [40, 7, 1, 0, 2, 3, 64, 33]
CHOOSERS = {
    "tokens": TokenMasking(max_predictions=8),
    "every token": TokenMasking(rate=1.0, max_predictions=100),
    "words": WholeWordMasking(max_predictions=8),
    "phrases": PhraseMasking(rate=0.3, max_predictions=12),
    "spans": SpanMasking(max_predictions=8),
    "many spans": SpanMasking(rate=0.5, max_predictions=40),
    "spans of tokens": SpanMasking(units=tokens, max_predictions=10),
    "partial prediction": PartialPrediction(max_predictions=11),
    "partial prediction of words": PartialPrediction(inverse_rate=3, units=words, max_predictions=11),
    "mixture": MaskingMixture([TokenMasking(max_predictions=8), SpanMasking(max_predictions=6)], [0.3, 0.7]),
}
BUDGETED = [name for name in CHOOSERS if not name.startswith("partial")]

# A p-value below this is a failure; seeds are fixed, so that a test either always fails or never.
SIGNIFICANCE = 1e-3


def chosen_by(chooser, batch, seed=0, epoch=0, rows=None):
    """The groups as an array, computed in a graph as tf.data does."""
    rows = np.arange(len(batch["token_ids"])) if rows is None else rows

    batch = {name: tf.constant(value) for name, value in batch.items()}
    return compiled(chooser)(batch, tf.constant(seed), tf.constant(epoch), tf.constant(rows, tf.int64)).numpy()


@functools.cache
def compiled(chooser):
    """A chooser as a graph for any batch."""
    return tf.function(lambda batch, seed, epoch, rows: chooser(batch, Draw(seed, epoch, rows)), reduce_retracing=True)


@pytest.mark.parametrize("name", CHOOSERS)
def test_neither_special_tokens_nor_padding_nor_too_many(name):
    chooser, batch = CHOOSERS[name], rows_of(LENGTHS)
    for epoch in range(4):
        groups = chosen_by(chooser, batch, epoch=epoch)
        allowed = batch["padding_mask"] & ~batch["special_mask"]
        assert groups.shape == allowed.shape and groups.dtype == np.int32
        assert not groups[~allowed].any()
        assert ((groups > 0).sum(axis=1) <= chooser.max_predictions).all()
        assert groups.max() <= groups.shape[1]
        if name in BUDGETED and name != "phrases":
            # A row of one ordinary token has it chosen.
            assert (groups[2] > 0).tolist() == [True] + [False] * 63
        for row in range(len(groups)):
            for group in set(groups[row]) - {0}:
                places = np.flatnonzero(groups[row] == group)
                assert (np.diff(places) == 1).all(), "a group is one run"


@pytest.mark.parametrize("name", CHOOSERS)
def test_a_choice_depends_on_seed_epoch_and_row_alone(name):
    chooser, batch = CHOOSERS[name], rows_of(LENGTHS)
    groups = chosen_by(chooser, batch)
    np.testing.assert_array_equal(chosen_by(chooser, batch), groups)
    # More padding and another place in the batch change nothing.
    order = np.array([3, 0, 6, 1, 7, 2, 5, 4])
    moved = {key: value[order] for key, value in rows_of(LENGTHS, length=70).items()}
    np.testing.assert_array_equal(chosen_by(chooser, moved, rows=order)[:, :64] > 0, groups[order] > 0)
    if name != "every token":
        assert (chosen_by(chooser, batch, epoch=1)[0] != groups[0]).any()
        assert (chosen_by(chooser, batch, seed=1)[0] != groups[0]).any()
        same_text = {key: np.repeat(value[:1], 2, axis=0) for key, value in batch.items()}
        different = chosen_by(chooser, same_text, rows=[5, 6])
        assert (different[0] != different[1]).any(), "two rows of one text are chosen from anew"


@pytest.mark.parametrize("name", CHOOSERS)
def test_batches_without_text_survive(name):
    for lengths, length in (([], 5), ([0, 0], 3), ([2, 2], 2), ([0], 0)):
        groups = chosen_by(CHOOSERS[name], rows_of(lengths, length=length))
        assert groups.shape == (len(lengths), length) and not groups.any()


def test_the_budget_is_fifteen_percent_to_the_token():
    batch = rows_of([103, 23, 10, 4])
    ordinary = (batch["padding_mask"] & ~batch["special_mask"]).sum(axis=1)
    assert ordinary.tolist() == [100, 20, 7, 1]
    assert (chosen_by(TokenMasking(0.15, 20), batch) > 0).sum(axis=1).tolist() == [15, 3, 1, 1]
    assert (chosen_by(TokenMasking(0.15, 6), batch) > 0).sum(axis=1).tolist() == [6, 3, 1, 1]
    # Words of single tokens can fill the budget exactly, words of three pieces cannot exceed it.
    single, triple = uniform_rows(50, 100), uniform_rows(50, 100, pieces=3)
    for chooser in (WholeWordMasking(0.15, 20), SpanMasking(0.15, 20)):
        assert ((chosen_by(chooser, single) > 0).sum(axis=1) == 15).all()
    assert ((chosen_by(WholeWordMasking(0.14, 20), triple) > 0).sum(axis=1) >= 12).all()
    assert ((chosen_by(SpanMasking(0.14, 20), triple) > 0).sum(axis=1) <= 14).all()


def test_every_token_is_chosen_equally_often():
    rows, length = 4000, 20
    counts = (chosen_by(TokenMasking(0.15, 20), uniform_rows(rows, length)) > 0).sum(axis=0)
    assert counts.sum() == rows * 3
    # Draws without replacement: the variance of a count is p (1 - p), which chi-square with 19 degrees corrects for.
    share = 3 / length
    statistic = ((counts - rows * share) ** 2).sum() / (rows * share * (1 - share)) * (length - 1) / length
    assert stats.chi2.sf(statistic, length - 1) > SIGNIFICANCE, counts


def test_every_word_is_chosen_equally_often_and_whole():
    rows, length = 4000, 24
    chosen = chosen_by(WholeWordMasking(0.13, 20), uniform_rows(rows, length, pieces=3)) > 0
    by_word = chosen.reshape(rows, 8, 3)
    assert (by_word.all(axis=2) == by_word.any(axis=2)).all(), "words are whole"
    assert (by_word.any(axis=2).sum(axis=1) == 1).all()
    assert stats.chisquare(by_word.any(axis=2).sum(axis=0)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("name", ["words", "spans", "many spans", "partial prediction of words"])
def test_words_stay_whole(name):
    batch = rows_of(LENGTHS)
    split = {key: value for key, value in batch.items() if key != "word_ids"}
    for epoch in range(5):
        chosen = chosen_by(CHOOSERS[name], batch, epoch=epoch) > 0
        for row, ids in enumerate(batch["word_ids"]):
            for word in set(ids[batch["padding_mask"][row]]):
                assert len(set(chosen[row][ids == word])) == 1
        # Starts of words tell the same as their numbers.
        np.testing.assert_array_equal(chosen_by(CHOOSERS[name], split, epoch=epoch) > 0, chosen)


def test_phrases_stay_whole_and_words_elsewhere():
    batch = rows_of(LENGTHS)
    some = 0
    for epoch in range(10):
        chosen = chosen_by(CHOOSERS["phrases"], batch, epoch=epoch) > 0
        for row, ids in enumerate(batch["phrase_ids"]):
            for phrase in set(ids) - {0}:
                # A special token cuts a phrase in two.
                runs = np.split(
                    np.flatnonzero(ids == phrase), np.flatnonzero(np.diff(np.flatnonzero(ids == phrase)) > 1) + 1
                )
                for run in runs:
                    assert len(set(chosen[row][run])) == 1
                    some += chosen[row][run].all() and len(set(batch["word_ids"][row][run])) > 1
            for word in set(batch["word_ids"][row][ids == 0]):
                assert len(set(chosen[row][(batch["word_ids"][row] == word) & (ids == 0)])) == 1
    assert some > 5, "phrases of two words were chosen"


def test_phrases_and_the_words_beside_them_are_chosen_equally_often():
    # Tokens 0 to 2 are a phrase, 5 and 6 another, and the rest words: six units, of which the budget takes one or two.
    rows = 6000
    batch = uniform_rows(rows, 9)
    batch["entity_ids"] = np.tile(np.array([1, 1, 1, 0, 0, 2, 2, 0, 0], "int32"), (rows, 1))
    chosen = chosen_by(PhraseMasking("entity_ids", rate=1 / 3, max_predictions=3), batch) > 0
    assert (chosen[:, [0, 5]] == chosen[:, [1, 6]]).all() and (chosen[:, 0] == chosen[:, 2]).all()
    units = chosen[:, [0, 3, 4, 5, 7, 8]]
    assert (chosen.sum(axis=1) <= 3).all() and (units.sum(axis=1) >= 1).all()
    # The first unit of every row is uniform: where the phrase of three is chosen, nothing else is.
    assert stats.binomtest(int(units[:, 0].sum()), rows, 1 / 6).pvalue > SIGNIFICANCE
    # The second fits where the first was a word: 1 in 6 at first, and 4/6 of 1 in 4, as the phrase of three never fits.
    assert stats.binomtest(int(units[:, 3].sum()), rows, 1 / 6 + 4 / 6 * 1 / 4).pvalue > SIGNIFICANCE


def test_no_masking_chooses_nothing_in_any_batch():
    for lengths, length in ((LENGTHS, None), ([], 5), ([0], 0)):
        batch = rows_of(lengths, length=length)
        groups = chosen_by(NoMasking(7), batch)
        assert groups.shape == batch["token_ids"].shape and groups.dtype == np.int32 and not groups.any()


class Recorded:
    """A `Draw` whose numbers were kept."""

    def __init__(self, draw):
        self.draw, self.numbers = draw, []

    def __call__(self, count):
        self.numbers.append(self.draw(count).numpy())
        return tf.constant(self.numbers[-1])


def spans_oracle(batch, row, place, length, rate, most, probabilities):
    """SpanBERT's section 3.1 on lists of words, with given random numbers: the chosen positions."""
    ids, allowed = batch["word_ids"][row], (batch["padding_mask"] & ~batch["special_mask"])[row]
    found, segment = [], 0
    for position in range(len(ids)):
        if not allowed[position]:
            segment += 1
        elif found and found[-1][0] == (ids[position], segment):
            found[-1][1].append(position)
        else:
            found.append([(ids[position], segment), [position]])
    free, chosen = set(range(len(found))), set()
    budget = min(most, max(1, int(rate * allowed.sum() + 0.5))) if found else 0
    for number in range(most):
        options = [word for word in sorted(free) if len(found[word][1]) <= budget - len(chosen)]
        if not options:
            break
        word = options[int(np.float32(place[number]) * np.float32(len(options)))]
        wanted = 1 + int((length[number] >= np.cumsum(probabilities)[:-1].astype("float32")).sum())
        for step in range(wanted):
            here = word + step
            touches = not step or (here < len(found) and found[here][0][1] == found[here - 1][0][1])
            if not touches or here not in free or len(chosen) + len(found[here][1]) > budget:
                break
            free.remove(here)
            chosen |= set(found[here][1])
    return sorted(chosen)


@pytest.mark.parametrize("rate, most", [(0.15, 8), (0.5, 40), (0.9, 64)])
def test_spans_are_those_of_the_paper(rate, most):
    batch = rows_of(LENGTHS)
    for seed in range(6):
        draw = Recorded(Draw(seed, 0, np.arange(len(LENGTHS))))
        chooser = SpanMasking(rate, most)
        chosen = chooser({name: tf.constant(value) for name, value in batch.items()}, draw).numpy() > 0
        place, length = draw.numbers
        for row in range(len(LENGTHS)):
            wanted = spans_oracle(batch, row, place[row], length[row], rate, most, chooser.length_probabilities)
            assert np.flatnonzero(chosen[row]).tolist() == wanted, (seed, row)


def test_span_lengths_are_geometric_and_cut_at_ten():
    chooser = SpanMasking(max_predictions=1)
    truncated = stats.geom(0.2).pmf(np.arange(1, 11))
    np.testing.assert_allclose(chooser.length_probabilities, truncated / truncated.sum(), rtol=1e-12)
    assert np.arange(1, 11) @ chooser.length_probabilities == pytest.approx(3.8, abs=0.01)
    # One span in a row that has room for ten tokens anywhere: budget 10 of 200, and only one draw.
    rows, length = 3000, 200
    batch = {name: tf.constant(value) for name, value in uniform_rows(rows, length).items()}

    @tf.function
    def one_span():
        draw = Draw(0, 0, np.arange(rows))
        layout = Units(candidates(batch), words(batch))
        return layout.take(tf.fill([rows], 10), 1, draw, chooser.length_probabilities)

    chosen = one_span().numpy()
    first = chosen.argmax(axis=1)
    whole = chosen[first <= length - 10].sum(axis=1)
    observed = np.bincount(whole, minlength=11)[1:]
    assert observed.sum() == len(whole) and len(observed) == 10
    assert stats.chisquare(observed, truncated / truncated.sum() * len(whole)).pvalue > SIGNIFICANCE, observed
    # The start is uniform: 20 bins of ten places.
    assert stats.chisquare(np.bincount(first // 10, minlength=20)).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("inverse_rate", [1, 3, 6])
def test_partial_prediction_is_that_of_the_paper(inverse_rate):
    batch = rows_of(LENGTHS)
    for seed in range(5):
        draw = Recorded(Draw(seed, 0, np.arange(len(LENGTHS))))
        chooser = PartialPrediction(inverse_rate, max_predictions=1000)
        chosen = chooser({name: tf.constant(value) for name, value in batch.items()}, draw).numpy() > 0
        sizes, shifts = draw.numbers
        for row in range(len(LENGTHS)):
            ordinary = np.flatnonzero(batch["padding_mask"][row] & ~batch["special_mask"][row])
            wanted, start, window = [], 0, 0
            while start < len(ordinary):
                size = 1 + int(np.float32(sizes[row, window]) * np.float32(5))
                first = start + int(np.float32(shifts[row, window]) * np.float32((inverse_rate - 1) * size + 1))
                wanted += ordinary[first : first + size].tolist()
                start, window = start + inverse_rate * size, window + 1
            assert np.flatnonzero(chosen[row]).tolist() == wanted


def test_partial_prediction_chooses_one_in_six():
    rows, length = 400, 1200
    chosen = (chosen_by(PartialPrediction(6, max_predictions=length), uniform_rows(rows, length)) > 0).sum(axis=1)
    # Of spans of one to five tokens, each anywhere in a window six times as long; the end of the row cuts the last one.
    expected = [0.0]
    for count in range(1, length + 1):
        by_size = []
        for size in range(1, 6):
            spans = [np.clip(count - first, 0, size) for first in range(5 * size + 1)]
            by_size.append(np.mean(spans) + expected[max(0, count - 6 * size)])
        expected.append(np.mean(by_size))
    assert abs(expected[-1] / length - 1 / 6) < 1e-3
    assert stats.ttest_1samp(chosen, expected[-1]).pvalue > SIGNIFICANCE, (chosen.mean(), expected[-1])
    limited = chosen_by(PartialPrediction(6, max_predictions=85), uniform_rows(rows, length)) > 0
    assert (limited.sum(axis=1) == 85).mean() > 0.99


def test_a_mixture_has_its_shares():
    class Fixed(TokenMasking):
        def __call__(self, batch, draw):
            return tf.fill(tf.shape(batch["token_ids"]), self.max_predictions)

    rows = 3000
    groups = chosen_by(MaskingMixture([Fixed(max_predictions=n) for n in (1, 2, 3)], [1, 3, 6]), uniform_rows(rows, 4))
    assert (groups == groups[:, :1]).all()
    observed = np.bincount(groups[:, 0], minlength=4)[1:]
    assert stats.chisquare(observed, np.array([0.1, 0.3, 0.6]) * rows).pvalue > SIGNIFICANCE


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="max_predictions=0"):
        TokenMasking(max_predictions=0)
    with pytest.raises(ValueError, match="rate=15"):
        SpanMasking(rate=15)
    with pytest.raises(ValueError, match="2 choosers need as many shares"):
        MaskingMixture([TokenMasking(), TokenMasking()], [1.0])
    with pytest.raises(ValueError, match="inverse_rate=0"):
        PartialPrediction(0)
