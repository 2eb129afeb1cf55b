import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import to_numpy
from tfmodels.distillation import (
    ChangedWords,
    NearestWords,
    Ngram,
    SameGroup,
    SubstitutedWords,
    bilstm_changes,
    frequency_classes,
    mean_of_pieces,
    random_spans,
    varied_rows,
    words_of,
)
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM

ROWS = [np.array([2, *range(10, 30), 3]), np.array([2, 40, 3]), np.array([2, 3])]


def test_spans_are_n_grams_of_their_rows_between_the_special_tokens():
    texts = [",".join(map(str, row)) for row in ROWS]
    for span in random_spans(ROWS, 300, shortest=2, longest=6):
        assert (span[0], span[-1]) == (2, 3)
        assert any(",".join(map(str, span[1:-1])) in text for text in texts)
        assert len(span) <= 8


def test_spans_have_every_length_and_start():
    spans = random_spans(ROWS[:1], 3000, shortest=2, longest=4)
    assert {len(span) - 2 for span in spans} == {2, 3, 4}
    assert {int(span[1]) for span in spans if len(span) == 4} == set(range(10, 29))


def test_short_rows_are_taken_whole():
    assert {tuple(span) for span in random_spans(ROWS[1:2], 9)} == {(2, 40, 3)}
    assert {tuple(span) for span in random_spans(ROWS[2:], 9)} == {(2, 3)}


def test_the_seed_decides_the_spans():
    first, again, other = (random_spans(ROWS, 50, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other))


@pytest.mark.parametrize("lengths", [(0, 3), (4, 3)])
def test_lengths_must_ascend_from_one(lengths):
    with pytest.raises(ValueError, match="ascending from 1"):
        random_spans(ROWS, 1, shortest=lengths[0], longest=lengths[1])


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="no rows"):
        random_spans([], 1)


# Pieces 5 to 39 begin words, 40 to 49 go on; 0 to 4 are special: 2 [CLS], 3 [SEP], 4 [MASK].
V, MASK = 50, 4
STARTS = np.arange(V) < 40
TEXT = np.array([2, 10, 11, 40, 41, 12, 13, 42, 14, 3])


def test_words_are_their_pieces():
    assert words_of(TEXT, STARTS) == [(10,), (11, 40, 41), (12,), (13, 42), (14,)]
    assert words_of(np.array([2, 40, 10, 3]), STARTS) == [(40,), (10,)], "the first piece begins a word anyway"
    assert words_of(np.array([2, 3]), STARTS) == []


def test_words_meet_their_fates_as_often_as_stated_and_one_at_most():
    change = ChangedWords((0.1, lambda word, random: (-1,)), (0.1, lambda word, random: (-2,)))
    words = [(number,) for number in range(50_000)]
    found = [word[0] for word in change(words, np.random.default_rng(0))]
    for fate in (-1, -2):
        # A binomial's deviation is 67: five of them.
        assert abs(found.count(fate) - 5000) < 5 * 67
    assert all(now in (-1, -2, before) for before, now in enumerate(found))


def test_n_grams_come_as_often_as_stated_with_every_length_and_place():
    random, words = np.random.default_rng(0), [(number,) for number in range(20)]
    found = [Ngram(0.25, 5)(words, random) for _ in range(20_000)]
    grams = [gram for gram in found if len(gram) < 20]
    assert abs(len(grams) - 5000) < 5 * 62
    lengths = np.bincount([len(gram) for gram in grams], minlength=6)
    # Uniform over 1 to 5: chi squared with four degrees of freedom stays under 18.5 in all but one of a thousand runs.
    assert ((lengths[1:] - lengths[1:].mean()) ** 2 / lengths[1:].mean()).sum() < 18.5
    for length in (1, 5):
        assert {gram[0][0] for gram in grams if len(gram) == length} == set(range(21 - length))
    assert all([word[0] for word in gram] == list(range(gram[0][0], gram[0][0] + len(gram))) for gram in grams)
    assert Ngram(1.0, 5)([(1,)], random) == [(1,)] and Ngram(1.0)([], random) == []


def test_words_are_replaced_within_their_group_as_often_as_they_are_used():
    groups, counts = np.full(V, -1), np.zeros(V, int)
    groups[[10, 11, 12]], counts[[10, 11, 12]] = 1, (1, 3, 0)
    groups[20], counts[20] = 2, 5
    replace, random = SameGroup(groups, counts), np.random.default_rng(0)
    found = [replace((10,), random)[0] for _ in range(4000)]
    assert set(found) == {10, 11} and abs(found.count(11) - 3000) < 5 * 27
    assert replace((20,), random) == (20,)
    assert replace((30,), random) == (30,) and replace((10, 40), random) == (10, 40), "what has no group stays"


def test_frequency_classes_halve():
    counts = np.array([0, 64, 33, 31, 16, 1, 64])
    replaceable = np.array([True] * 6 + [False])
    assert frequency_classes(counts, replaceable).tolist() == [-1, 0, 1, 1, 2, 6, -1]


def test_variations_are_new_rows_of_what_the_changes_make():
    groups = frequency_classes(np.full(V, 3), STARTS & (np.arange(V) >= 5))
    changes = bilstm_changes(MASK, SameGroup(groups, np.full(V, 3)))
    rows = [TEXT, np.array([2, 20, 21, 22, 3]), np.array([2, 3])]
    found = varied_rows(rows, STARTS, changes, n_iter=50, seed=1)
    tuples = [tuple(row.tolist()) for row in found]
    assert 40 < len(set(tuples)) == len(tuples) <= 150 and not {tuple(row.tolist()) for row in rows} & set(tuples)
    assert all(row[0] == 2 and row[-1] == 3 for row in found)
    assert any(MASK in row for row in found) and any(len(row) < 5 for row in found)
    # Words of several pieces are masked or left out as one.
    assert all((11 in row) <= (40 in row) for row in tuples if 41 in row)
    again, other = (varied_rows(rows, STARTS, changes, n_iter=50, seed=seed) for seed in (1, 2))
    assert [row.tolist() for row in again] == [list(row) for row in tuples]
    assert [row.tolist() for row in other] != [list(row) for row in tuples]


@pytest.mark.parametrize("probabilities", [(0.6, 0.5), (-0.1,)])
def test_probabilities_must_be_some(probabilities):
    with pytest.raises(UserError, match="must be at least 0 and sum to at most 1"):
        ChangedWords(*((probability, None) for probability in probabilities))


def test_the_nearest_words_are_those_of_the_largest_cosines():
    random = np.random.default_rng(0)
    words, vectors = [(5,), (6, 40), (7,), (8,), (9,), (10, 41)], random.normal(size=(6, 4))
    nearest = NearestWords(words, vectors, count=3)
    for place, word in enumerate(words):
        cosines = [vectors[place] @ v / np.linalg.norm(v) / np.linalg.norm(vectors[place]) for v in vectors]
        wanted = [words[other] for other in np.argsort(cosines)[::-1] if other != place][:3]
        assert nearest(word) == wanted
    assert nearest((49,)) == []
    assert len(NearestWords(words, vectors, count=15)((5,))) == 5
    with pytest.raises(UserError, match="6 words and 5 vectors"):
        NearestWords(words, vectors[:5])


def test_a_words_vector_is_the_mean_of_its_pieces():
    table = np.random.default_rng(0).normal(size=(V, 3))
    found = mean_of_pieces([(5,), (6, 40, 41), (7, 42)], table)
    np.testing.assert_allclose(found, [table[5], table[[6, 40, 41]].mean(0), table[[7, 42]].mean(0)])


def masked_lm():
    """A language model of many opinions."""
    model = MaskedLM(tiny(vocabulary_size=V))
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.3, variable.shape))
    return model


def test_a_words_candidates_are_the_most_probable_ones_at_its_mask():
    model, special = masked_lm(), [0, 1, 2, 3, MASK]
    substituted = SubstitutedWords(model, STARTS, special, MASK, candidates=6, batch_size=3, progress=False)
    rows = [TEXT, np.array([2, 20, 3]), np.array([2, 21, 43, 3]), np.array([2, 3]), np.arange(20, 32)]
    found = substituted.candidates_of(rows, [words_of(row, STARTS) for row in rows])
    for row, own in zip(rows, found):
        place = 1
        for word, candidates in zip(words_of(row, STARTS), own, strict=True):
            wanted = []
            if len(word) == 1:
                seen = np.where(np.arange(len(row)) == place, MASK, row)[None].astype("int32")
                logits = model({"token_ids": seen, "segment_ids": 0 * seen, "padding_mask": seen >= 0})["logits"]
                order = np.argsort(to_numpy(logits)[0, place])[::-1]
                wanted = [(int(piece),) for piece in order if STARTS[piece] and piece not in special][:6]
            assert candidates == wanted
            place += len(word)


def test_words_are_substituted_by_their_candidates_as_often_as_stated():
    model = masked_lm()
    nearest = {(11, 40, 41): [(30,), (31, 44)]}
    settings = {"p_replace": 0.4, "count": 4000, "candidates": 35, "progress": False}
    substituted = SubstitutedWords(model, STARTS, range(5), MASK, lambda word: nearest.get(word, []), **settings)
    found = substituted([TEXT])
    assert len({tuple(row.tolist()) for row in found}) == len(found) > 1500
    words = [words_of(row, STARTS) for row in found]
    assert all(len(row) == 5 for row in words)
    assert {row[1] for row in words} == {(11, 40, 41), (30,), (31, 44)}
    assert {row[3] for row in words} == {(13, 42)}, "without candidates a word stays"
    assert {row[0] for row in words} == {(piece,) for piece in range(5, 40)}, "all words are among 35 candidates"
    # Before copies are dropped, four words in ten are replaced.
    random = np.random.default_rng(0)
    change = substituted._substitute([[(1,)]] * 10_000)
    assert abs(change([(0,)] * 10_000, random).count((1,)) - 4000) < 5 * 49


def test_probabilities_of_substitution_are_some():
    with pytest.raises(UserError, match=r"p_replace=1\.5 must be a probability"):
        SubstitutedWords(masked_lm(), STARTS, [0], MASK, p_replace=1.5)
