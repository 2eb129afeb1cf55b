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


class RowFormat(Protocol):
    """Where a row's special tokens go, as `tfmodels.text.SequenceFormat` says it.

    `parts(pair)` tells the parts of a row of one text, or of two: pairs of "cls", "sep", "first" or "second" and a
    segment id.
    """

    def parts(self, pair: bool) -> Sequence[tuple[str, int]]: ...


class _BertRows:
    def parts(self, pair):
        one = (("cls", 0), ("first", 0), ("sep", 0))
        return (*one, ("second", 1), ("sep", 1)) if pair else one


_BERT_ROWS = _BertRows()


@dataclasses.dataclass(frozen=True)
class Example:
    """One row.

    Attributes:
        token_ids: With [CLS] and [SEP].
        segment_ids: As the format has them: BERT's are 0 in the first segment, 1 in the second.
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
        format: Where they go; the default is BERT's: [CLS] text [SEP], and [CLS] first [SEP] second [SEP].

    Raises:
        UserError: A row would have no room for text.
    """

    sequence_length: int
    cls_id: int
    sep_id: int
    format: RowFormat = _BERT_ROWS

    def __post_init__(self):
        if self.room(pair=True) < 2:
            least = self.sequence_length + 2 - self.room(pair=True)
            raise UserError(f"sequence_length={self.sequence_length} leaves no room for text: give at least {least}.")

    def room(self, pair: bool = False) -> int:
        """The tokens of text that a row of one text, or of two, holds."""
        return self.sequence_length - sum(name in ("cls", "sep") for name, _ in self.format.parts(pair))

    def single(self, parts: Sequence[Sequence[int]], documents: Sequence[int] | None = None) -> Example:
        """One text, with another [SEP] wherever a part belongs to another document than the one before."""
        documents = [0] * len(parts) if documents is None else documents
        tokens, special, numbers = [], [], []
        for index, (part, number) in enumerate(zip(parts, documents)):
            if index and number != documents[index - 1]:
                tokens.append(self.sep_id)
                special.append(True)
                numbers.append(documents[index - 1])
            tokens.extend(part)
            special.extend([False] * len(part))
            numbers.extend([number] * len(part))
        return self._row(self.format.parts(pair=False), first=(tokens, special, numbers))

    def pair(self, first: Sequence[int], second: Sequence[int], label: int) -> Example:
        """Two texts. A pair out of order may be of two documents; it still reads as one."""
        first, second = ((text, [False] * len(text), [0] * len(text)) for text in (first, second))
        return dataclasses.replace(self._row(self.format.parts(pair=True), first=first, second=second), label=label)

    def ended(self, text: Sequence[int]) -> Example:
        """A text of any length and what stands behind one, but not what stands before."""
        parts = self.format.parts(pair=False)
        behind = itertools.dropwhile(lambda part: part[0] != "first", parts)
        return self._row(behind, first=(text, [False] * len(text), [0] * len(text)))

    def _row(self, parts, **texts) -> Example:
        """The texts, each its tokens, special mask and numbers of documents, among the special tokens."""
        row = Example([], [], [], [])
        special = {"cls": self.cls_id, "sep": self.sep_id}
        for name, segment in parts:
            # A special token belongs to the document that it ends; one that nothing stands before, to the first.
            number = (row.document_ids[-1:] or texts["first"][2][:1] or [0])[0]
            tokens, is_special, numbers = texts.get(name) or ([special[name]], [True], [number])
            row.token_ids.extend(tokens)
            row.segment_ids.extend([segment] * len(tokens))
            row.special_mask.extend(is_special)
            row.document_ids.extend(numbers)
        return row


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
        # By place, not `sentences[start:]`: that would copy thousands of pieces at every draw, to read a few.
        for place in range(start, len(sentences)):
            drawn.extend(sentences[place])
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

    What goes over a row's length is cut off a segment's ends. A sentence that no row can hold becomes several, two of
    which fill a row, so that none of its text is passed over.

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
        room = self.frame.room(pair=True)
        documents = [list(_pieces(document, room, a_row=2)) for document in non_empty(documents)]
        for index, document in enumerate(documents):
            document, start = list(document), 0
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
                    made = self.pairing.pair(first[:half], first[half:], index, documents, target - half, random)
                    if not made[3]:
                        # The other half was not used: it comes again.
                        start = split - 1
                        document[start] = first[half:]
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
        room = self.frame.room(pair=True)
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
        room = self.frame.room()
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
    """Every document as it is, of any length, and what ends a text: what `TextStreams` cuts into stretches.

    Attributes:
        frame: The special tokens; rows are as long as documents are.
    """

    frame: Frame

    def examples(self, documents: Sequence[Document], random: np.random.Generator | None = None) -> Iterator[Example]:
        """The documents in their order; nothing is drawn."""
        for document in non_empty(documents):
            yield self.frame.ended(_joined(document))


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
            for sentences in _filling(document, self.frame.room() - (self.most - 1)):
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
        room = self.frame.room(pair=True)
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


def _pieces(document, room, a_row=1):
    """The sentences; one that is longer than the room is cut into pieces, so many of which fill it."""
    for sentence in document:
        size = room if len(sentence) <= room else -(-room // a_row)
        for start in range(0, len(sentence), size):
            yield list(sentence[start : start + size])
