"""Phrases and names against counts by hand, and where they stand in rows against looking everywhere."""

import itertools
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from tfmodels.text import EntityLinker, NgramTable, SpanMarker, WordCounts, ngrams_of_words, read_names

TEXTS = [
    "New York is big. He saw New York and the sea, the big sea.",
    "In New York (she said) the sea is near; the North Sea is not.",
    "The sea of trouble. Of the North Sea, nobody spoke; a new York? No: New York!",
    "naïve Zoë, Zoë Žižek, 12 ships of Zoë Žižek. 北京，大海。大海",
] * 3


def runs_by_hand(text):
    """Every word, and the runs of two and three words that do not begin a sentence."""
    tokens = re.findall(r"[一-鿿]|[^\W\d_一-鿿]+|\d+|[^\w\s]", text)
    for place, size in itertools.product(range(len(tokens)), (1, 2, 3)):
        run = tokens[place : place + size]
        before = tokens[place - 1] if place else "."
        if len(run) == size and all(token.isalpha() for token in run) and (size == 1 or before not in ".!?:。"):
            yield " ".join(run)


@pytest.fixture(scope="module")
def counts():
    counted = WordCounts(ngrams_of_words)
    for start in range(0, len(TEXTS), 5):
        counted.add(TEXTS[start : start + 5])
    return counted.counts


@pytest.fixture(scope="module")
def table(counts):
    return NgramTable(counts)


def by_hand():
    return [run for text in TEXTS for run in runs_by_hand(text)]


def test_runs_are_counted_within_sentences_and_punctuation(counts):
    expected = by_hand()
    assert {run.decode(): count for run, count in counts.items()} == {run: expected.count(run) for run in set(expected)}
    assert (
        b"New York" in counts and b"York is" in counts and "Zoë Žižek".encode() in counts and "大 海".encode() in counts
    )
    assert not {b"big He", b"sea the", b"The sea", b"York New", "北 京".encode()} & set(counts)


def test_no_text_has_no_runs():
    assert ngrams_of_words(tf.constant([""])).to_list() == [[]]
    assert ngrams_of_words(tf.constant([], tf.string)).to_list() == []
    assert NgramTable({}).phrases() == NgramTable({}).names() == []


def test_information_is_that_of_the_weakest_cut(table):
    runs = [tuple(run.lower().split(" ")) for run in by_hand()]
    single = [run for run in runs if len(run) == 1]

    def probability(*words):
        return runs.count(words) / len(single)

    for words in {run for run in runs if len(run) > 1}:
        cuts = [
            math.log(probability(*words) / (probability(*words[:cut]) * probability(*words[cut:])))
            # A run that begins sentences alone is not counted, but it is there as often as what it is part of.
            if probability(*words[:cut]) and probability(*words[cut:])
            else math.inf
            for cut in range(1, len(words))
        ]
        if math.isfinite(min(cuts)) and max(cuts) < math.inf:
            assert table.information(words) == pytest.approx(min(cuts)), words


def test_phrases_are_frequent_and_tell_of_each_other(table):
    assert "zoë žižek" in table.phrases(5, 2.0) and "the sea" not in table.phrases(5, 2.0)
    assert "zoë žižek" not in table.phrases(100, 2.0)
    assert set(table.phrases(5, 3.0)) <= set(table.phrases(5, 2.0)) <= set(table.phrases(2, 1.0))


def test_names_are_written_with_capitals_nearly_always(table):
    # "a new York" is three of nine: below four fifths, above a half.
    assert table.names(3) == ["North Sea", "Zoë Žižek"]
    assert table.names(3, min_share=0.5) == ["New York", "North Sea", "Zoë Žižek"]
    assert table.names(100) == []


def test_a_list_of_names_is_read_as_people_write_it():
    assert read_names(["  Emma   Goldman\t", "", "Kropotkin", "Kropotkin", " "]) == ["Emma Goldman", "Kropotkin"]


def marked_by_looking(tokens, starts, spans):
    """The longest run at the first free place, again and again."""
    numbers, number, place = [0] * len(tokens), 0, 0
    while place < len(tokens):
        ends = [end for end in range(place + 1, len(tokens) + 1) if end == len(tokens) or starts[end]]
        fitting = [end for end in ends if starts[place] and tokens[place:end] in spans]
        if fitting:
            number += 1
            numbers[place : fitting[-1]] = [number] * (fitting[-1] - place)
        place = fitting[-1] if fitting else place + 1
    return numbers


def test_marks_are_what_looking_everywhere_finds():
    random = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        spans = [random.integers(3, 6, random.integers(1, 5)).tolist() for _ in range(6)]
        tokens = random.integers(3, 6, random.integers(0, 30)).tolist()
        starts = (random.random(len(tokens)) < 0.7).tolist()
        marks = SpanMarker(spans)(tokens, starts)
        assert marks == marked_by_looking(tokens, starts, spans)
        found += max(marks, default=0)
        # An entity's number stands where its mention begins, and nowhere else.
        mentions = {tuple(span): 100 + number for number, span in enumerate(spans)}
        linked = EntityLinker(mentions)(tokens, starts)
        begins = [place for place, mark in enumerate(marks) if mark and mark not in marks[:place]]
        assert [place for place, number in enumerate(linked) if number] == begins
        for place in begins:
            stop = place + marks.count(marks[place])
            assert linked[place] == mentions[tuple(tokens[place:stop])]
    assert found > 200
    assert SpanMarker([])([1, 2], [True, True]) == [0, 0] and SpanMarker([[]])([1], [True]) == [0]
