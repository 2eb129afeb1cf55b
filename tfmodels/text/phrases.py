"""Phrases and names of a corpus, found by counting, and where they stand in rows of tokens.

ERNIE (Sun et al., arXiv:1904.09223, section 3.2) masks whole phrases and whole names of persons, places and
organisations, which Baidu's own chunkers and lexicons find. Here the training documents are all that is asked:

A phrase is two or three words in a row that stand together more often than chance would have them, by the pointwise
mutual information of Church and Hanks (1990). Of a phrase of three words it is that of its weakest cut, so that each
part must call for the other. A Chinese "word" is one character, and a phrase is what a reader takes for a word.

A name is two or three words in a row that are written with capitals nearly always. Names of one word are words, and
whole-word masks hide them anyway; "Bank of England" is not found, nor is any name in a script without capitals. Give a
list of names where there is one.

Cost: linear in the text; memory as `WordCounts` has it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tensorflow as tf

from tfmodels.text.normalize import separate_words

LONGEST = 3
_WORD = r"[\p{L}\p{M}]+"
# A run with the word or sign before it, which neither ends a sentence nor opens one.
_INSIDE = rf"[^\s.!?:…。！？：\"“‘«「『]+(?: {_WORD}){{2,}}"


def ngrams_of_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Runs of one to three words without punctuation or numbers between, as they are written, for `WordCounts`.

    Longer runs that begin a sentence are left out: the capital of their first word tells nothing.

    Args:
        text: string[B].

    Returns:
        string[B, None], words with a blank between.

    Example:
    >>> [run.decode() for run in ngrams_of_words(tf.constant(["The wide sea, then."])).to_list()[0]]
    ['The', 'wide', 'sea', 'then', 'wide sea']
    """
    words = tf.strings.split(separate_words(text, lowercase=False))
    begun = tf.concat([tf.fill([tf.shape(text)[0], 1], "."), words], axis=1)
    longer = _matching(tf.strings.ngrams(begun, list(range(3, LONGEST + 2))), _INSIDE)
    longer = longer.with_flat_values(tf.strings.regex_replace(longer.flat_values, r"^\S+ ", ""))
    return tf.concat([_matching(words, _WORD), longer], axis=1)


def _matching(strings, pattern):
    return tf.ragged.boolean_mask(
        strings, strings.with_flat_values(tf.strings.regex_full_match(strings.flat_values, pattern))
    )


class NgramTable:
    """What was counted, whatever the case of its letters.

    Args:
        counts: How often each run stands in the texts, as `WordCounts(ngrams_of_words)` counts it.
    """

    def __init__(self, counts: Mapping[bytes, int]):
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.capitalised: Counter[tuple[str, ...]] = Counter()
        self._written: dict[tuple[str, ...], tuple[int, str]] = {}
        for run, count in counts.items():
            written = run.decode("utf-8").split(" ")
            words = tuple(word.lower() for word in written)
            self.counts[words] += count
            if all(word[0].isupper() for word in written):
                self.capitalised[words] += count
                self._written[words] = max(self._written.get(words, (0, "")), (count, " ".join(written)))
        self.total = sum(count for words, count in self.counts.items() if len(words) == 1)

    def phrases(self, min_count: int = 5, min_information: float = 4.0) -> list[str]:
        """The phrases, in the order of the alphabet.

        Args:
            min_count: The fewest times that one must stand in the texts.
            min_information: nats, of the weakest cut.
        """
        return self._runs(lambda words, count: count >= min_count and self.information(words) >= min_information)

    def names(self, min_count: int = 5, min_share: float = 0.8) -> list[str]:
        """The names, as they are written most often, in the order of the alphabet.

        Args:
            min_count: The fewest times that one must stand in the texts.
            min_share: The least fraction of these in which every word begins with a capital.
        """
        found = self._runs(lambda words, count: count >= min_count and self.capitalised[words] >= min_share * count)
        return [self._written[tuple(name.split(" "))][1] for name in found]

    def information(self, words: Sequence[str]) -> float:
        """The pointwise mutual information of the weakest cut of a run, in nats."""
        words = tuple(words)
        count = self.counts[words]

        def times(part):
            # A count that was dropped from memory is at least the whole run's.
            return max(self.counts[part], count)

        cuts = ((words[:place], words[place:]) for place in range(1, len(words)))
        return min(math.log(count * self.total / (times(left) * times(right))) for left, right in cuts)

    def _runs(self, is_one):
        runs = ((words, count) for words, count in self.counts.items() if len(words) > 1)
        return sorted(" ".join(words) for words, count in runs if is_one(words, count))


def read_names(lines: Iterable[str]) -> list[str]:
    """The names of a list, one a line: without blanks around them, each once, in the order of the alphabet."""
    return sorted({re.sub(r"\s+", " ", line).strip() for line in lines} - {""})


class SpanMarker:
    """Says where known runs of words stand in a row of tokens: for `PhraseMasking`.

    The row is read from its begin, and of several runs that begin at one word the longest counts.

    Args:
        spans: The runs as token ids.

    Call arguments:
        token_ids: The row's tokens.
        word_starts: Whether each begins a word; special tokens do.

    Returns:
        For every token 0 outside of the runs, else its run's number in the row, from 1.

    Example:
    >>> SpanMarker([[5, 6], [5, 6, 7]])([1, 5, 6, 7, 5, 6, 2], [True] * 7)
    [0, 1, 1, 1, 2, 2, 0]
    """

    def __init__(self, spans: Iterable[Sequence[int]]):
        self.spans = {tuple(span) for span in spans if len(span)}
        self.longest = max(map(len, self.spans), default=0)

    def __call__(self, token_ids: Sequence[int], word_starts: Sequence[bool]) -> list[int]:
        numbers = [0] * len(token_ids)
        for number, (begin, stop) in enumerate(self.found(token_ids, word_starts), 1):
            numbers[begin:stop] = [number] * (stop - begin)
        return numbers

    def found(self, token_ids: Sequence[int], word_starts: Sequence[bool]) -> Iterator[tuple[int, int]]:
        """Where each run that stands in the row begins, and where it has ended."""
        token_ids, length = tuple(token_ids), len(token_ids)
        begin = 0
        while begin < length:
            end = begin + 1
            if word_starts[begin]:
                for stop in range(min(begin + self.longest, length), begin, -1):
                    is_end = stop == length or word_starts[stop]
                    if is_end and token_ids[begin:stop] in self.spans:
                        yield begin, stop
                        end = stop
                        break
            begin = end


class EntityLinker(SpanMarker):
    """Says which entities of a knowledge graph a row of tokens names: for `KnowledgeEncoder`.

    A mention is taken for the one entity that the lexicon gives it, whatever stands around it.

    Args:
        mentions: The entity, a number from 1, of each mention as token ids.

    Call arguments:
        token_ids: The row's tokens.
        word_starts: Whether each begins a word; special tokens do.

    Returns:
        For every token 0, but the entity's number at the first token of a mention.

    Example:
    >>> EntityLinker({(5, 6): 3, (7,): 8})([1, 5, 6, 7, 2], [True, True, False, True, True])
    [0, 3, 0, 8, 0]
    """

    def __init__(self, mentions: Mapping[tuple[int, ...], int]):
        super().__init__(mentions)
        self.mentions = mentions

    def __call__(self, token_ids, word_starts):
        numbers = [0] * len(token_ids)
        for begin, stop in self.found(token_ids, word_starts):
            numbers[begin] = self.mentions[tuple(token_ids[begin:stop])]
        return numbers
