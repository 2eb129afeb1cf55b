import numpy as np
import pytest

from tfmodels.distillation import random_spans

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
