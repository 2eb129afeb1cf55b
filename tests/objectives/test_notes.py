"""TNF's notes against a loop over occurrences."""

import numpy as np

from tests.support import check_layer, to_numpy
from tests.support.tensors import assert_close
from tfmodels.objectives import NoteDictionary

R, D, T = 4, 3, 9
NUMBERS = np.array([[0, 1, 1, 0, 0, 2, 0, 0, 1], [3, 0, 0, 2, 2, 2, 0, 0, 0], [0] * 9])
REAL = np.array([[True] * 9, [True] * 7 + [False] * 2, [True] * 4 + [False] * 5])


def occurrences(row):
    """The first and last position of every rare word of a row."""
    found, start = [], None
    for place in range(len(row) + 1):
        number = row[place] if place < len(row) else 0
        if start is not None and number != row[start]:
            found.append((row[start], start, place - 1))
            start = None
        if number and start is None:
            start = place
    return found


def updated_notes(notes, contexts, numbers, real, half_window, decay):
    """Equations 1 and 2, one occurrence at a time."""
    taken = {}
    for row in range(len(numbers)):
        for word, first, last in occurrences(numbers[row]):
            places = range(max(0, first - half_window), min(len(numbers[row]), last + half_window + 1))
            window = [j for j in places if real[row, j]]
            taken.setdefault(word, []).append(np.mean([contexts[row, j] for j in window], axis=0))
    notes = notes.copy()
    for word, values in taken.items():
        notes[word - 1] = (1 - decay) * notes[word - 1] + decay * np.mean(values, axis=0)
    return notes


def test_notes_are_moving_averages_of_what_stood_around_the_word():
    contexts = np.random.default_rng(0).normal(size=(3, T, D))
    for half_window in (0, 1, 2, 16):
        dictionary = NoteDictionary(R, D, half_window, decay=0.3)
        dictionary.build()
        expected = to_numpy(dictionary.notes).astype("float64")
        for step in range(3):
            expected = updated_notes(expected, contexts + step, NUMBERS, REAL, half_window, 0.3)
            dictionary.update((contexts + step).astype("float32"), NUMBERS, REAL)
            assert_close(to_numpy(dictionary.notes), expected, 1e-5, f"window {half_window}")
    # Word 4 did not occur: its note is what it was.
    fresh = NoteDictionary(R, D)
    fresh.build()
    before = to_numpy(fresh.notes)
    fresh.update(contexts.astype("float32"), NUMBERS, REAL)
    changed = (to_numpy(fresh.notes) != before).any(axis=1)
    assert changed.tolist() == [True, True, True, False]


def test_notes_are_mixed_into_rare_words_alone():
    dictionary = NoteDictionary(R, D, mix=0.25)
    embeddings = np.random.default_rng(0).normal(size=(3, T, D)).astype("float32")
    mixed = to_numpy(dictionary(embeddings, NUMBERS))
    notes = to_numpy(dictionary.notes)
    for row, place in np.ndindex(3, T):
        number, expected = NUMBERS[row, place], embeddings[row, place]
        if number:
            expected = 0.75 * expected + 0.25 * notes[number - 1]
        assert_close(mixed[row, place], expected, 1e-6)
    assert not dictionary.trainable_variables


def test_the_layer_keeps_to_the_contract():
    def inputs(batch, length):
        random = np.random.default_rng(length)
        return {
            "embeddings": random.normal(size=(batch, length, D)).astype("float32"),
            "word_numbers": random.integers(0, R + 1, (batch, length)).astype("int32"),
        }

    check_layer(lambda dtype=None: NoteDictionary(R, D, dtype=dtype), inputs, lambda batch, length: (batch, length, D))
