"""From documents to rows to pre-train on: RoBERTa's four input formats, and pairs in or out of order.

A document is a list of sentences, a sentence a list of token ids. All of it is plain Python, so that it runs in Beam as
well as in a loop. Formats are those of RoBERTa (arXiv:1907.11692), section 4.2; next sentence prediction is BERT's
(arXiv:1810.04805, section 3.1), sentence order prediction ALBERT's (arXiv:1909.11942, section 3.1), sentence reordering
and sentence distance are ERNIE 2.0's (arXiv:1907.12412, section 4.2).

Cost: O(tokens) in time; `SegmentPair` and `SentencePair` with `NextSentences` hold the documents of one call in memory.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from tfmodels.errors import UserError

Sentence = Sequence[int]
Document = Sequence[Sentence]

# How the pair objectives name their classes.
IN_ORDER, NOT_IN_ORDER = 0, 1
# Those of sentence distance.
ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Example:
    """One row.

    Attributes:
        token_ids: With [CLS] and [SEP].
        segment_ids: 0 in the first segment, 1 in the second.
        special_mask: True at [CLS] and [SEP].
        document_ids: The number of each token's document within the row, from 0.
        label: `IN_ORDER` or `NOT_IN_ORDER`, or another class of the format's; None where there is nothing to judge.
    """

    token_ids: list[int]
    segment_ids: list[int]
    special_mask: list[bool]
    document_ids: list[int]
    label: int | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
    """What surrounds the text of a row.

    Attributes:
        sequence_length: tokens of a row, special ones included.
        cls_id: The number of [CLS].
        sep_id: The number of [SEP].

    Raises:
        UserError: A row would have no room for text.
    """

    sequence_length: int
    cls_id: int
    sep_id: int

    def __post_init__(self):
        if self.sequence_length < 5:
            raise UserError(f"sequence_length={self.sequence_length} leaves no room for text: give at least 5.")

    def single(self, parts: Sequence[Sequence[int]], documents: Sequence[int] | None = None) -> Example:
        """[CLS] text [SEP], with another [SEP] wherever a part belongs to another document than the one before."""
        documents = [0] * len(parts) if documents is None else documents
        tokens, special, numbers = [self.cls_id], [True], [documents[0] if documents else 0]
        for index, (part, number) in enumerate(zip(parts, documents)):
            if index and number != documents[index - 1]:
                tokens.append(self.sep_id)
                special.append(True)
                numbers.append(documents[index - 1])
            tokens.extend(part)
            special.extend([False] * len(part))
            numbers.extend([number] * len(part))
        tokens.append(self.sep_id)
        special.append(True)
        numbers.append(numbers[-1])
        return Example(tokens, [0] * len(tokens), special, numbers)

    def pair(self, first: Sequence[int], second: Sequence[int], label: int) -> Example:
        """[CLS] first [SEP] second [SEP]. A pair out of order may be of two documents; it still reads as one."""
        tokens = [self.cls_id, *first, self.sep_id, *second, self.sep_id]
        special = [True, *[False] * len(first), True, *[False] * len(second), True]
        segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return Example(tokens, segments, special, [0] * len(tokens), label)


class Pairing(Protocol):
    """How the second segment of a pair is made, and what the label says.

    `pair(first, second, document, documents, want, random)` takes the two segments as they follow each other, the
    document's index, all documents, the tokens wanted of the second segment and a NumPy generator; it returns the
    segments, the label, and whether the given second segment was used. A `second` of no tokens means that the text
    ended with the first: the result is None where that makes no pair.
    """

    def pair(self, first, second, document, documents, want, random): ...


@dataclasses.dataclass(frozen=True)
class NextSentences:
    """Next sentence prediction: half of the second segments are of another document.

    Attributes:
        rate: fraction of pairs out of order, where there is a choice.
    """

    rate: float = 0.5

    def pair(self, first, second, document, documents, want, random):
        """See `Pairing`."""
        if len(documents) < 2:
            raise UserError("next sentence prediction needs at least two documents: use sentence order, or add text.")
        if second and random.random() >= self.rate:
            return first, second, IN_ORDER, True
        other = int(random.integers(len(documents) - 1))
        sentences = documents[other + (other >= document)]
        start = int(random.integers(len(sentences)))
        drawn: list[int] = []
        for sentence in sentences[start:]:
            drawn.extend(sentence)
            if len(drawn) >= want:
                break
        return first, drawn, NOT_IN_ORDER, False


@dataclasses.dataclass(frozen=True)
class NextSentencesOrHalves(NextSentences):
    """As `NextSentences`, but the only sentence of a text is cut in halves that follow each other.

    `rate` then holds for all pairs, as UniLM's shares need it (`corruption.LanguageModels`): `NextSentences` pairs such
    a sentence with another document always.
    """

    def pair(self, first, second, document, documents, want, random):
        """See `Pairing`."""
        return super().pair(first, second, document, documents, want, random) if second else None


@dataclasses.dataclass(frozen=True)
class SwappedSegments:
    """Sentence order prediction: half of the pairs are swapped; both segments are always of one document.

    Attributes:
        rate: fraction of swapped pairs.
    """

    rate: float = 0.5

    def pair(self, first, second, document, documents, want, random):
        """See `Pairing`."""
        if not second:
            return None
        if random.random() < self.rate:
            return second, first, NOT_IN_ORDER, True
        return first, second, IN_ORDER, True


@dataclasses.dataclass(frozen=True)
class SegmentPair:
    """Two segments of several sentences each: BERT's format with `NextSentences`, ALBERT's with `SwappedSegments`.

    Attributes:
        frame: The row's length and special tokens.
        pairing: Makes the second segment.
        short_rate: fraction of rows that aim at a shorter length, drawn uniformly, so that pre-training sees some.
    """

    frame: Frame
    pairing: Pairing = NextSentences()
    short_rate: float = 0.1

    def examples(self, documents: Sequence[Document], random: np.random.Generator) -> Iterator[Example]:
        """The rows of the documents, in their order.

        Args:
            documents: The documents; other documents' segments are drawn from these.
            random: Decides lengths, places and pairs.
        """
        documents = non_empty(documents)
        room = self.frame.sequence_length - 3
        for index, document in enumerate(documents):
            start = 0
            while start < len(document):
                target = room if random.random() >= self.short_rate else int(random.integers(2, room + 1))
                stop, length = start, 0
                while stop < len(document) and length < target:
                    length += len(document[stop])
                    stop += 1
                # The first segment has at least one sentence; the second has none where the chunk is one sentence.
                split = start + (int(random.integers(1, stop - start)) if stop - start > 1 else 1)
                first, second = _joined(document[start:split]), _joined(document[split:stop])
                made = self.pairing.pair(first, second, index, documents, target - len(first), random)
                start = stop
                if made is None:
                    # One sentence is left: halves of it are a pair, unless it is a single token.
                    if len(first) < 2:
                        continue
                    half = len(first) // 2
                    made = self.pairing.pair(first[:half], first[half:], index, documents, target, random)
                    start = stop
                elif not made[3]:
                    # The second segment was not used: it comes again.
                    start = split
                first, second = truncate_pair(made[0], made[1], target, random)
                yield self.frame.pair(first, second, made[2])


@dataclasses.dataclass(frozen=True)
class SentencePair:
    """Two natural sentences: a row is much shorter than `sequence_length`.

    Attributes:
        frame: The row's length and special tokens.
        pairing: Makes the second sentence.
    """

    frame: Frame
    pairing: Pairing = NextSentences()

    def examples(self, documents: Sequence[Document], random: np.random.Generator) -> Iterator[Example]:
        """The rows of the documents, in their order; see `SegmentPair`."""
        documents = non_empty(documents)
        room = self.frame.sequence_length - 3
        for index, document in enumerate(documents):
            start = 0
            while start < len(document):
                first = list(document[start])
                second = list(document[start + 1]) if start + 1 < len(document) else []
                # One token is wanted, so that a drawn second segment is one sentence.
                made = self.pairing.pair(first, second, index, documents, 1, random)
                start += 1
                if made is None:
                    continue
                start += made[3]
                yield self.frame.pair(*truncate_pair(made[0], made[1], room, random), made[2])


@dataclasses.dataclass(frozen=True)
class FullSentences:
    """Rows filled with full sentences that follow each other, over the ends of documents too, and no pairs.

    A separator stands between documents. `document_ids` tells them apart, for `attention.within_documents`. A sentence
    that no row can hold is cut into pieces.

    Attributes:
        frame: The row's length and special tokens.
    """

    frame: Frame

    def examples(self, documents: Sequence[Document], random: np.random.Generator | None = None) -> Iterator[Example]:
        """The rows of the documents, in their order; nothing is drawn."""
        parts, numbers, length = [], [], 0
        room = self.frame.sequence_length - 2
        for number, document in enumerate(non_empty(documents)):
            for sentence in _pieces(document, room):
                extra = 1 if numbers and numbers[-1] != number else 0
                if parts and length + extra + len(sentence) > room:
                    yield self._row(parts, numbers)
                    parts, numbers, length, extra = [], [], 0, 0
                parts.append(sentence)
                numbers.append(number)
                length += extra + len(sentence)
        if parts:
            yield self._row(parts, numbers)

    def _row(self, parts, numbers):
        return self.frame.single(parts, [number - numbers[0] for number in numbers])


@dataclasses.dataclass(frozen=True)
class DocSentences:
    """As `FullSentences`, but a row ends where its document ends: rows at ends are shorter.

    RoBERTa evens out the number of tokens by larger batches; `training.Batches` groups rows by length instead.

    Attributes:
        frame: The row's length and special tokens.
    """

    frame: Frame

    def examples(self, documents: Sequence[Document], random: np.random.Generator | None = None) -> Iterator[Example]:
        """The rows of the documents, in their order; nothing is drawn."""
        for document in documents:
            yield from FullSentences(self.frame).examples([document], random)


@dataclasses.dataclass(frozen=True)
class WholeDocuments:
    """Every document as it is, of any length, and a separator at its end: what `TextStreams` cuts into stretches.

    Attributes:
        frame: The special tokens; rows are as long as documents are.
    """

    frame: Frame

    def examples(self, documents: Sequence[Document], random: np.random.Generator | None = None) -> Iterator[Example]:
        """The documents in their order; nothing is drawn."""
        for document in non_empty(documents):
            tokens = [*itertools.chain(*document), self.frame.sep_id]
            zeros = [0] * len(tokens)
            yield Example(tokens, zeros, [*[False] * (len(tokens) - 1), True], zeros)


@dataclasses.dataclass(frozen=True)
class SentenceReordering:
    """Segments of a text in any order (ERNIE 2.0, arXiv:1907.12412, section 4.2.2).

    The sentences of a document that fill a row are cut into n segments, n drawn uniformly from 1 to `most`, which are
    put in an order drawn uniformly from all n!; fewer segments where there are fewer sentences, and no row where there
    is only one. The class tells n and the order: the orders of 1, 2 ... segments one after the other, those of n
    segments as a dictionary has them. A separator stands between segments.

    Attributes:
        frame: The row's length and special tokens.
        most: m, the most segments.
    """

    frame: Frame
    most: int = 3

    @staticmethod
    def num_classes(most: int = 3) -> int:
        """1! + 2! + ... + m!."""
        return sum(math.factorial(count) for count in range(1, most + 1))

    def examples(self, documents: Sequence[Document], random: np.random.Generator) -> Iterator[Example]:
        """The rows of the documents, in their order.

        Args:
            documents: The documents.
            random: Decides cuts and orders.
        """
        orders = [order for count in range(1, self.most + 1) for order in itertools.permutations(range(count))]
        for document in non_empty(documents):
            for sentences in _filling(document, self.frame.sequence_length - 1 - self.most):
                if len(sentences) == 1:
                    continue
                count = int(random.integers(1, min(self.most, len(sentences)) + 1))
                cuts = 1 + np.sort(random.permutation(len(sentences) - 1)[: count - 1])
                bounds = [0, *cuts.tolist(), len(sentences)]
                segments = [_joined(sentences[start:stop]) for start, stop in itertools.pairwise(bounds)]
                order = tuple(random.permutation(count).tolist())
                row = self.frame.single([segments[place] for place in order], range(count))
                # The segments are of one document, whatever stands between them.
                yield dataclasses.replace(row, document_ids=[0] * len(row.token_ids), label=orders.index(order))


@dataclasses.dataclass(frozen=True)
class SentenceDistance:
    """Two sentences that are adjacent, of one document, or of two (ERNIE 2.0, arXiv:1907.12412, section 4.2.2).

    Every sentence is the first of one pair; a third of the pairs are of each class, as far as a document has such.

    Attributes:
        frame: The row's length and special tokens.
    """

    frame: Frame
    num_classes = 3

    def examples(self, documents: Sequence[Document], random: np.random.Generator) -> Iterator[Example]:
        """The rows of the documents, in their order.

        Args:
            documents: The documents; other documents' sentences are drawn from these.
            random: Decides the pairs.

        Raises:
            UserError: There is only one document.
        """
        documents = non_empty(documents)
        if len(documents) == 1:
            raise UserError("sentence distance needs at least two documents: take another objective, or add text.")
        room = self.frame.sequence_length - 3
        for index, document in enumerate(documents):
            for place, first in enumerate(document):
                kind = int(random.integers(3))
                # The sentence itself and its neighbours are not apart from it.
                near = range(max(0, place - 1), min(len(document), place + 2))
                apart = len(document) - len(near)
                if kind == ADJACENT and place + 1 < len(document):
                    second = document[place + 1]
                elif kind == SAME_DOCUMENT and apart:
                    drawn = int(random.integers(apart))
                    second = document[drawn if drawn < near.start else drawn + len(near)]
                else:
                    kind = OTHER_DOCUMENT
                    other = documents[(index + 1 + int(random.integers(len(documents) - 1))) % len(documents)]
                    second = other[int(random.integers(len(other)))]
                yield self.frame.pair(*truncate_pair(first, second, room, random), kind)


def non_empty(documents: Sequence[Document]) -> list[list[Sentence]]:
    """The documents and sentences that have tokens."""
    kept = ([sentence for sentence in document if len(sentence)] for document in documents)
    return [document for document in kept if document]


def truncate_pair(first: list[int], second: list[int], room: int, random: np.random.Generator):
    """Cuts single tokens off the longer segment, at its front or its back alike, until both fit `room` tokens."""
    drop = max(0, len(first) + len(second) - room)
    cuts = [[0, 0], [0, 0]]
    lengths = [len(first), len(second)]
    for is_front in random.random(drop) < 0.5:
        longer = 0 if lengths[0] > lengths[1] else 1
        cuts[longer][0 if is_front else 1] += 1
        lengths[longer] -= 1
    return tuple(list(segment[front : len(segment) - back]) for segment, (front, back) in zip((first, second), cuts))


def _joined(sentences):
    return [token for sentence in sentences for token in sentence]


def _filling(document, room):
    """The sentences of a document in groups that fit the room; a longer sentence is cut."""
    group, length = [], 0
    for sentence in _pieces(document, room):
        if group and length + len(sentence) > room:
            yield group
            group, length = [], 0
        group.append(sentence)
        length += len(sentence)
    if group:
        yield group


def _pieces(document, room):
    for sentence in document:
        for start in range(0, len(sentence), room):
            yield list(sentence[start : start + room])
