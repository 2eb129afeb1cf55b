"""Rows from documents: the formats, what pairs say, and that no token is lost or made up."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tfmodels.errors import UserError
from tfmodels.objectives import (
    DocSentences,
    Frame,
    FullSentences,
    NextSentences,
    NextSentencesOrHalves,
    SegmentPair,
    SentenceDistance,
    SentencePair,
    SentenceReordering,
    SwappedSegments,
    WholeDocuments,
)
from tfmodels.objectives.documents import (
    ADJACENT,
    IN_ORDER,
    NOT_IN_ORDER,
    OTHER_DOCUMENT,
    SAME_DOCUMENT,
    truncate_pair,
)
from tfmodels.text import BERT_FORMAT, ROBERTA_FORMAT, XLNET_FORMAT

CLS, SEP = 1, 2
FRAME = Frame(24, CLS, SEP)


def documents_of(count=200, sentences=(1, 12), length=(1, 12), seed=0):
    """Documents whose tokens count up, a million a document: a token tells its document and its place."""
    random = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        place = itertools.count(1_000_000 * (number + 1))
        sizes = random.integers(*length, random.integers(*sentences))
        documents.append([[next(place) for _ in range(size)] for size in sizes])
    return documents


def segments_of(example):
    """The ordinary tokens of the first and of the second segment."""
    parts = [], []
    for token, segment, special in zip(example.token_ids, example.segment_ids, example.special_mask):
        assert special == (token in (CLS, SEP))
        if not special:
            parts[segment].append(token)
    return parts


def document_of(tokens):
    (number,) = {token // 1_000_000 for token in tokens}
    return number


def is_run(tokens):
    return tokens == list(range(tokens[0], tokens[0] + len(tokens)))


def rows(form, documents, seed=0):
    examples = list(form.examples(documents, np.random.default_rng(seed)))
    assert examples
    for example in examples:
        count = len(example.token_ids)
        assert count == len(example.segment_ids) == len(example.special_mask) == len(example.document_ids)
        assert 3 <= count <= FRAME.sequence_length
        assert example.token_ids[0] == CLS and example.token_ids[-1] == SEP
    return examples


FORMS = {
    "segment pair, next": SegmentPair(FRAME),
    "segment pair, order": SegmentPair(FRAME, SwappedSegments()),
    "sentence pair, next": SentencePair(FRAME),
    "sentence pair, order": SentencePair(FRAME, SwappedSegments()),
    "full sentences": FullSentences(FRAME),
    "doc sentences": DocSentences(FRAME),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_seed_gives_the_same_rows(form):
    documents = documents_of(20)
    assert rows(form, documents) == rows(form, documents)
    if hasattr(form, "pairing"):
        assert rows(form, documents) != rows(form, documents, seed=1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_empty_documents_and_sentences_are_passed_over(form):
    documents = documents_of(6)
    holed = [[], *[[[], *document, []] for document in documents], [[]]]
    assert rows(form, holed) == rows(form, documents)
    assert list(form.examples([], np.random.default_rng(0))) == []


@pytest.mark.parametrize(
    "form", [SegmentPair(FRAME, short_rate=0.0), FORMS["sentence pair, next"]], ids=["segments", "sentences"]
)
def test_next_sentences_say_the_truth_and_are_balanced(form):
    documents = documents_of(600, sentences=(6, 30), length=(1, 6))
    examples = rows(form, documents)
    for example in examples:
        first, second = segments_of(example)
        assert first and second and is_run(first) and is_run(second)
        same = document_of(first) == document_of(second)
        # Truncation may take tokens between the two.
        assert same == (example.label == IN_ORDER)
        if same:
            assert second[0] > first[-1]
    # The last sentence of a document has no successor: it is never in order. All others are in one case of two.
    lasts = {token for document in documents for token in document[-1]}
    last, others = ([e.label for e in examples if (segments_of(e)[0][-1] in lasts) == is_last] for is_last in (1, 0))
    assert set(last) == {NOT_IN_ORDER} and len(others) > 400
    assert stats.binomtest(sum(others), len(others), 0.5).pvalue > 1e-3, np.mean(others)


@pytest.mark.parametrize(
    "form", [FORMS["segment pair, order"], FORMS["sentence pair, order"]], ids=["segments", "sentences"]
)
def test_sentence_order_says_the_truth_and_is_balanced(form):
    examples = rows(form, documents_of())
    for example in examples:
        first, second = segments_of(example)
        assert is_run(first) and is_run(second) and document_of(first) == document_of(second)
        assert (second[0] > first[-1]) == (example.label == IN_ORDER)
        assert (first[0] > second[-1]) == (example.label == NOT_IN_ORDER)
    labels = [example.label for example in examples]
    assert len(labels) > 200
    assert stats.binomtest(sum(labels), len(labels), 0.5).pvalue > 1e-3, np.mean(labels)


def test_segment_pairs_use_every_sentence_in_order():
    form = SegmentPair(FRAME, SwappedSegments(rate=0.0), short_rate=0.0)
    documents = documents_of(30, length=(1, 9))
    found = []
    for example in rows(form, documents):
        found += [token for segment in segments_of(example) for token in segment]
    # In order and without repetition; only what is cut or a single token at an end is missing.
    assert found == sorted(set(found))
    total = sum(len(sentence) for document in documents for sentence in document)
    assert len(found) > 0.8 * total


def test_a_random_second_segment_gives_back_the_one_it_displaced():
    # Rows are long enough that nothing is cut.
    form = SegmentPair(Frame(256, CLS, SEP), NextSentences(rate=1.0), short_rate=0.0)
    documents = documents_of(5, sentences=(8, 9), length=(2, 4))
    firsts = [segments_of(example)[0] for example in form.examples(documents, np.random.default_rng(0))]
    for number, document in enumerate(documents, start=1):
        own = [token for first in firsts if document_of(first) == number for token in first]
        assert own == [token for sentence in document for token in sentence]


def test_half_a_sentence_that_a_random_segment_displaces_comes_again():
    # Of one sentence each: halves are paired, or the first half with another document and then what is left.
    form = SegmentPair(Frame(256, CLS, SEP), NextSentencesOrHalves(rate=0.5), short_rate=0.0)
    documents = documents_of(40, sentences=(1, 2), length=(9, 10))
    own = {number: [] for number in range(1, 41)}
    for example in form.examples(documents, np.random.default_rng(0)):
        first, second = segments_of(example)
        own[document_of(first)] += first if example.label else first + second
    # A single token that is left makes no pair.
    for number, document in enumerate(documents, start=1):
        assert own[number] == document[0][: len(own[number])] and len(own[number]) >= len(document[0]) - 1


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_short_rows_come_at_their_rate_and_are_of_any_length(rate):
    # Of sentences of one token a row is as long as it aims at, but for the last one.
    form = SegmentPair(FRAME, SwappedSegments(), short_rate=rate)
    *examples, _ = rows(form, [[[token] for token in range(1_000_000, 1_030_000)]])
    counts = np.bincount([len(example.token_ids) - 3 for example in examples], minlength=22)
    expected = np.full(20, rate / 20)
    expected[-1] += 1 - rate
    assert not counts[:2].any() and len(counts) == 22
    assert stats.chisquare(counts[2:], expected * len(examples)).pvalue > 1e-3, counts


def test_sentence_pairs_are_single_sentences():
    documents = documents_of(40)
    whole = {tuple(sentence) for document in documents for sentence in document}
    form = SentencePair(Frame(64, CLS, SEP))
    for example in form.examples(documents, np.random.default_rng(0)):
        assert all(tuple(segment) in whole for segment in segments_of(example))


def test_full_sentences_cross_documents_with_a_separator():
    documents = documents_of(40)
    examples = rows(FullSentences(FRAME), documents)
    found, crossed = [], 0
    for example in examples:
        assert set(example.segment_ids) == {0} and example.label is None
        inner = example.token_ids[1:-1]
        found += [token for token in inner if token != SEP]
        # Every separator inside stands between two documents, and every change of document has one.
        for place, token in enumerate(example.token_ids[1:-1], start=1):
            if token == SEP:
                assert example.token_ids[place - 1] // 1_000_000 < example.token_ids[place + 1] // 1_000_000
                assert example.document_ids[place] == example.document_ids[place - 1]
                crossed += 1
        ordinary = [n for n, special in zip(example.document_ids, example.special_mask) if not special]
        numbers = [token // 1_000_000 for token in inner if token != SEP]
        assert [number - numbers[0] for number in numbers] == ordinary
        assert len(set(numbers)) == inner.count(SEP) + 1
    assert found == [token for document in documents for sentence in document for token in sentence]
    assert crossed > 10
    # A row is full: the next sentence would not have fitted.
    for example, following in itertools.pairwise(examples):
        start = following.token_ids[1]
        sentence = next(s for d in documents for s in d if start in s)
        assert len(example.token_ids) + len(sentence) > FRAME.sequence_length - 1


def test_doc_sentences_stay_in_their_document():
    documents = documents_of(40)
    examples = rows(DocSentences(FRAME), documents)
    found = []
    for example in examples:
        inner = example.token_ids[1:-1]
        document_of(inner)
        assert is_run(inner) and set(example.document_ids) == {0}
        found += inner
    assert found == [token for document in documents for sentence in document for token in sentence]


def test_whole_documents_end_with_a_separator():
    documents = documents_of(40)
    examples = list(WholeDocuments(FRAME).examples([*documents, [], [[]]]))
    assert [example.token_ids for example in examples] == [[*itertools.chain(*document), SEP] for document in documents]
    for example in examples:
        assert [token == SEP for token in example.token_ids] == example.special_mask
        assert set(example.segment_ids) == set(example.document_ids) == {0}
        assert len(example.segment_ids) == len(example.document_ids) == len(example.token_ids)
    assert max(len(example.token_ids) for example in examples) > FRAME.sequence_length


def test_a_sentence_longer_than_a_row_is_cut_into_pieces():
    sentence = list(range(100, 200))
    for form in (FullSentences(FRAME), DocSentences(FRAME)):
        examples = rows(form, [[sentence]])
        assert [token for example in examples for token in example.token_ids[1:-1]] == sentence


def test_pairs_hold_all_of_a_sentence_longer_than_a_row():
    frame = Frame(25, CLS, SEP)  # Room for 22 tokens, so that halves of it are nowhere cut.
    sentence = list(range(1_000_000, 1_000_300))
    made = SegmentPair(frame, SwappedSegments(0.0), short_rate=0.0).examples([[sentence]], np.random.default_rng(0))
    assert [token for example in made for segment in segments_of(example) for token in segment] == sentence
    # Next sentences of it are in order and not, like any others, and nothing but what short rows cut is lost.
    documents = [[sentence], [list(range(2_000_000, 2_000_300))]] * 20
    examples = list(SegmentPair(frame).examples(documents, np.random.default_rng(0)))
    firsts = {token for example in examples for token in segments_of(example)[0]}
    assert len(firsts) > 0.9 * 600
    # The last piece of a text, one of 14, has no successor.
    labels = [example.label for example in examples]
    assert all(len(example.token_ids) <= 25 for example in examples) and len(labels) > 500
    assert 0.45 < np.mean(labels) < 0.6


def test_rows_are_arranged_as_their_format_says():
    for form in (BERT_FORMAT, ROBERTA_FORMAT, XLNET_FORMAT):
        frame = Frame(24, CLS, SEP, form)
        for pair in (False, True):
            texts = {"first": [7, 8], "second": [9]}
            expected = []
            for name, segment in form.parts(pair):
                special = {"cls": CLS, "sep": SEP}.get(name)
                expected += [(special or token, segment, special is not None) for token in texts.get(name, [0])]
            row = frame.pair(*texts.values(), 1) if pair else frame.single([[7, 8]])
            assert list(zip(row.token_ids, row.segment_ids, row.special_mask)) == expected
            assert row.label == (1 if pair else None) and set(row.document_ids) == {0}
            assert frame.room(pair) == 24 - sum(special for *_, special in expected)
    for pair in (False, True):
        assert FRAME.format.parts(pair) == BERT_FORMAT.parts(pair), "the default is BERT's"


def test_xlnets_rows_end_with_what_fine_tuning_reads():
    frame, documents = Frame(24, CLS, SEP, XLNET_FORMAT), documents_of(40)
    examples = list(FullSentences(frame).examples(documents))
    found = []
    for example in examples:
        text, count = example.token_ids[:-2], len(example.token_ids)
        assert example.token_ids[-2:] == [SEP, CLS] and CLS not in text and count <= 24
        assert example.segment_ids == [0] * (count - 1) + [2]
        # What ends a row belongs to the document that it ends.
        assert example.document_ids[-3:] == [example.document_ids[-3]] * 3
        found += [token for token in text if token != SEP]
    assert found == [token for document in documents for sentence in document for token in sentence]
    wholes = list(WholeDocuments(frame).examples(documents))
    assert [row.token_ids for row in wholes] == [[*itertools.chain(*document), SEP, CLS] for document in documents]
    assert all(row.segment_ids == [0] * (len(row.token_ids) - 1) + [2] for row in wholes)


def test_reordered_segments_are_told_by_their_class():
    documents = documents_of(1200, sentences=(1, 9))
    made = rows(SentenceReordering(FRAME), documents)
    # The orders of one, two and three segments, one after the other, in the order of their numbers.
    classes = [(0,), (0, 1), (1, 0), (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    assert SentenceReordering.num_classes() == len(classes)
    # A sentence that no row can hold is cut; here none is that long.
    starts = {sentence[0] for document in documents for sentence in document}
    texts, counts = [], np.zeros(len(classes))
    for row in made:
        assert row.token_ids[0] == CLS and row.token_ids[-1] == SEP and len(row.token_ids) <= FRAME.sequence_length
        assert row.special_mask == [token in (CLS, SEP) for token in row.token_ids]
        assert not any(row.segment_ids) and not any(row.document_ids)
        rest, segments = row.token_ids[1:], []
        while rest:
            stop = rest.index(SEP)
            segments.append(rest[:stop])
            rest = rest[stop + 1 :]
        assert all(is_run(segment) and segment[0] in starts for segment in segments)
        order = classes[row.label]
        assert len(order) == len(segments)
        # The class says which segment of the text stands at each place.
        text = [token for place in range(len(order)) for token in segments[order.index(place)]]
        assert is_run(text)
        texts.append(text)
        if sum(token in starts for token in text) >= 3:
            counts[row.label] += 1
    # No token comes twice, the rows come in the documents' order, and sentences are lost that no other fits beside.
    made_of = [token for text in texts for token in text]
    assert made_of == sorted(set(made_of)) and all(sum(token in starts for token in text) > 1 for text in texts)
    kept = set(made_of)
    for document in documents:
        for place, sentence in enumerate(document):
            if sentence[0] not in kept:
                # What stands before is in a full row, or was lost likewise; what comes after did not fit.
                beside = document[max(0, place - 1) : place] + document[place + 1 : place + 2]
                assert not beside or any(len(sentence) + len(other) > 20 or other[0] in kept for other in beside)
    # Where three segments were possible, each number of them and each order of so many is as likely as any other.
    expected = counts.sum() * np.array([1 / 3, *[1 / 6] * 2, *[1 / 18] * 6])
    assert counts.sum() > 400 and stats.chisquare(counts, expected).pvalue > 1e-3, counts


def test_sentence_distance_says_the_truth_and_is_balanced():
    documents = documents_of(300, length=(1, 10))
    place_of = {
        tuple(sentence): (number, place)
        for number, document in enumerate(documents)
        for place, sentence in enumerate(document)
    }
    made = rows(SentenceDistance(FRAME), documents)
    assert [tuple(segments_of(row)[0]) for row in made] == list(place_of), "every sentence comes first once"
    kinds, others = [], set()
    for row in made:
        first, second = (place_of[tuple(segment)] for segment in segments_of(row))
        distance, size = second[1] - first[1], len(documents[first[0]])
        if first[0] != second[0]:
            truth = OTHER_DOCUMENT
            others.add(second[0])
        else:
            assert distance not in (0, -1)
            truth = ADJACENT if distance == 1 else SAME_DOCUMENT
        assert row.label == truth
        # Where a document has sentences of all kinds, the kind is drawn.
        if first[1] + 1 < size and size > 3:
            kinds.append(truth)
    assert stats.chisquare(np.bincount(kinds)).pvalue > 1e-3, np.bincount(kinds)
    assert len(others) > 200


def test_distant_sentences_and_other_documents_are_drawn_uniformly():
    documents = [[[10], [11], [12], [13], [14], [15]], [[20], [21]], [[30]]]
    seconds = [
        segments_of(row)[1][0]
        for seed in range(900)
        for row in SentenceDistance(FRAME).examples(documents, np.random.default_rng(seed))
        if segments_of(row)[0] == [12] and row.label != ADJACENT
    ]
    # The third sentence has the first, the fifth and the sixth apart from it; other documents come before sentences.
    places = [10, 14, 15, 20, 21, 30]
    expected = len(seconds) * np.array([1 / 6, 1 / 6, 1 / 6, 1 / 8, 1 / 8, 1 / 4])
    assert set(seconds) == set(places)
    assert stats.chisquare([seconds.count(token) for token in places], expected).pvalue > 1e-3


def test_a_single_document_has_no_other_to_draw_from():
    with pytest.raises(UserError, match="at least two documents"):
        rows(SentenceDistance(FRAME), documents_of(1))


def test_a_document_of_one_token():
    assert [e.token_ids for e in DocSentences(FRAME).examples([[[7]]])] == [[CLS, 7, SEP]]
    assert list(SegmentPair(FRAME, SwappedSegments()).examples([[[7]]], np.random.default_rng(0))) == []
    (first, _) = rows(SegmentPair(FRAME), [[[7]], [[8]]])
    assert first.token_ids == [CLS, 7, SEP, 8, SEP] and first.label == NOT_IN_ORDER


def test_truncation_takes_from_the_longer_segment_at_both_ends():
    counts = np.zeros(2)
    for seed in range(200):
        first, second = truncate_pair(list(range(30)), [100, 101, 102], 13, np.random.default_rng(seed))
        assert second == [100, 101, 102] and len(first) == 10 and is_run(first)
        counts += [first[0], 29 - first[-1]]
    assert stats.binomtest(int(counts[0]), int(counts.sum()), 0.5).pvalue > 1e-3
    assert truncate_pair([1], [2], 2, np.random.default_rng(0)) == ([1], [2])


def test_mistakes_are_told():
    with pytest.raises(UserError, match="at least two documents"):
        list(SegmentPair(FRAME).examples([[[5, 6], [7]]], np.random.default_rng(1)))
    with pytest.raises(UserError, match="sequence_length=4 leaves no room"):
        Frame(4, CLS, SEP)
