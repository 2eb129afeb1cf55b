"""Learns vocabularies from texts: WordPiece and byte-pair encoding here, unigram language models by SentencePiece.

Byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909) joins the most frequent pair of neighbours, over and over.
Pairs are counted once and then corrected where a pair was joined, so that learning costs `O(n log P)` for n symbols
changed in distinct words and P pairs: seconds for ten megabytes of English. Of equally frequent pairs byte-level BPE
joins the one whose pieces are older, and plain BPE the one that comes last in the order of code points: so their merges
are those of Hugging Face's `tokenizers` and of the authors' `subword-nmt`, the same on every machine.

BERT's own WordPiece learner was never published; like `tokenizers` this one joins pairs by their frequency and spells
the pieces for greedy matching. Unigram language models (Kudo, 2018, arXiv:1804.10959) are trained by Google's library.
"""

import functools
import heapq
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.text.bpe import BYTE_CHARACTERS, END_OF_WORD, forges_end, split_at_blanks, split_words
from tfmodels.text.normalize import MAX_WORD_BYTES, separate_words
from tfmodels.text.vocabulary import ALBERT_TOKENS, BERT_TOKENS, SpecialTokens

# Texts that are split into words by one call of TensorFlow.
_BATCH = 1_024

# SentencePiece drops sentences of more than 4,192 bytes; a character has four at most.
_MAX_LINE = 1_000

# A pair of ids is one integer, `left << 32 | right`, which sorts as the pair does.
_LOW = 2**32 - 1

# Turns the order of UTF-8, which is that of code points, about. A shorter text comes after those that it begins, which
# 255 sees to: no byte becomes that.
_TURNED = bytes(max(0xF4 - byte, 0) for byte in range(256))

Progress = Callable[[str, int, int | None], None]


class WordCounts:
    """Counts the words of texts in bounded memory: what a vocabulary is learnt from.

    Counts from several workers can be added up: `first.merge(second)`.

    Args:
        split: Splits texts: string[B] to string[B, None].
        max_words: The most distinct words to hold. Beyond it the rarest are dropped until half are left, so that a word
            may be counted too low by as often as it stood in dropped counts.
    """

    def __init__(self, split: Callable[[tf.Tensor], tf.RaggedTensor], max_words: int = 2_000_000):
        if max_words < 2:
            raise UserError(f"max_words must be at least 2, not {max_words}.")
        self._split = split
        self._max_words = max_words
        self.counts: Counter[bytes] = Counter()

    def add(self, texts: Sequence[str | bytes]) -> None:
        """Counts the words of a batch of texts."""
        words = self._split(tf.constant(list(texts), tf.string)).values
        distinct, _, counts = tf.unique_with_counts(words)
        self._add(zip(distinct.numpy().tolist(), counts.numpy().tolist()))

    def merge(self, other: "WordCounts") -> None:
        """Adds what another counter has counted."""
        self._add(other.counts.items())

    def _add(self, counted: Iterable[tuple[bytes, int]]) -> None:
        for word, count in counted:
            self.counts[word] += count
        if len(self.counts) > self._max_words:
            kept = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[: self._max_words // 2]
            self.counts = Counter(dict(kept))


def bert_words(lowercase: bool = True, strip_accents: bool | None = None) -> Callable[[tf.Tensor], tf.RaggedTensor]:
    """Returns the function that splits texts as `WordPieceTokenizer` does, for `WordCounts`."""

    def split(text: tf.Tensor) -> tf.RaggedTensor:
        return tf.strings.split(separate_words(text, lowercase=lowercase, strip_accents=strip_accents))

    return split


def train_wordpiece(
    texts: Iterable[str] | WordCounts,
    vocabulary_size: int,
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    special_tokens: Sequence[str] = tuple(BERT_TOKENS.names()),
    min_frequency: int = 2,
    max_characters: int = 1_000,
    progress: Progress | None = None,
) -> list[str]:
    """Learns a WordPiece vocabulary.

    Args:
        texts: The texts, read once; or what `WordCounts(bert_words(...))` counted.
        vocabulary_size: The most pieces to learn, V.
        lowercase: As the tokeniser will.
        strip_accents: As the tokeniser will.
        special_tokens: The first pieces.
        min_frequency: The fewest times that a pair must stand in the texts to be joined.
        max_characters: The most characters to spell with; words with rarer ones become unknown.
        progress: Called with ("words" or "merges", done, total or None) as work goes on.

    Returns:
        The pieces, for `WordPieceTokenizer`.

    Raises:
        UserError: The texts have no words, or `vocabulary_size` has no room for the characters.

    Example:
    >>> train_wordpiece(["low lower lowest low"], 20)[-3:]
    ['##w', 'lo', 'low']
    """
    counts = _count(texts, bert_words(lowercase, strip_accents), progress)
    words = {}
    for word, count in counts.items():
        if len(word) <= MAX_WORD_BYTES:  # a longer one stands for what BERT calls unknown
            words[word.decode("utf-8")] = count
    if not words:
        raise UserError("The texts have no words to learn a vocabulary from: give some text.")
    words, kept = _of_frequent_characters(words, max_characters)
    inner = sorted({character for word in words for character in word[1:]})
    pieces = list(dict.fromkeys([*special_tokens, *sorted(kept), *(f"##{character}" for character in inner)]))
    ids = {piece: id for id, piece in enumerate(pieces)}
    spelt = [[ids[word[0]], *(ids[f"##{character}"] for character in word[1:])] for word in words]
    _learn(
        spelt,
        list(words.values()),
        pieces,
        vocabulary_size,
        min_frequency,
        lambda left, right: left + right.removeprefix("##"),
        _older_first,
        progress,
    )
    return pieces


def train_bpe(
    texts: Iterable[str] | WordCounts,
    vocabulary_size: int,
    *,
    special_tokens: Sequence[str] = ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    lowercase: bool = False,
    min_frequency: int = 2,
    max_characters: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], list[tuple[str, str]]]:
    """Learns a plain BPE vocabulary: the merges are those of `subword-nmt`'s `learn-bpe`.

    They differ only where words hold white space other than blanks, which it takes for the end of a symbol, or spell a
    special token or `</w>`, which are never joined here.

    Give the texts of two languages together to learn one encoding of both (section 3.2, "joint BPE"): names and
    cognates are then cut alike in either.

    Args:
        texts: The texts, tokenised, with blanks between words, and read once; or what
            `WordCounts(split_at_blanks)` counted.
        vocabulary_size: The most pieces to learn, V: special tokens, characters, and one for each merge.
        special_tokens: The first pieces; by default in the order of RoBERTa's ids.
        lowercase: As the tokeniser will.
        min_frequency: The fewest times that a pair must stand in the texts to be joined.
        max_characters: The most characters to spell with; rarer ones become unknown, and words with them do not teach.
            None means all that the texts hold.
        progress: Called with ("words" or "merges", done, total or None) as work goes on.

    Returns:
        The pieces and the merges, for `BPETokenizer`. A character is a piece as it was seen: within words, at their
        ends, or both.

    Raises:
        UserError: The texts have no words, or `vocabulary_size` has no room for the characters.

    Example:
    >>> pieces, merges = train_bpe(["low lower lowest low"], 20)
    >>> merges
    [('l', 'o'), ('w', 'e'), ('lo', 'we'), ('lo', 'w</w>')]
    """
    counts = _count(texts, functools.partial(split_at_blanks, lowercase=lowercase), progress)
    words = {word.decode("utf-8"): count for word, count in counts.items()}
    words, _ = _of_frequent_characters(words, max_characters)
    inner = sorted({character for word in words for character in word[:-1]})
    last = sorted({word[-1] + END_OF_WORD for word in words})
    pieces = list(dict.fromkeys([*special_tokens, *inner, *last]))
    ids = {piece: id for id, piece in enumerate(pieces)}
    merges = _learn(
        [[*map(ids.get, word[:-1]), ids[word[-1] + END_OF_WORD]] for word in words],
        list(words.values()),
        pieces,
        vocabulary_size,
        min_frequency,
        lambda left, right: None if forges_end(left, right) else _plain_text(left, right, special_tokens),
        _last_in_order_first,
        progress,
    )
    return pieces, merges


def train_byte_level_bpe(
    texts: Iterable[str] | WordCounts,
    vocabulary_size: int,
    *,
    special_tokens: Sequence[str] = ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    min_frequency: int = 2,
    progress: Progress | None = None,
) -> tuple[list[str], list[tuple[str, str]]]:
    """Learns a byte-level BPE vocabulary.

    Args:
        texts: The texts, read once; or what `WordCounts(split_words)` counted.
        vocabulary_size: The most pieces to learn, V.
        special_tokens: The first pieces; by default in the order of RoBERTa's ids.
        min_frequency: The fewest times that a pair must stand in the texts to be joined.
        progress: Called with ("words" or "merges", done, total or None) as work goes on.

    Returns:
        The pieces and the merges, for `ByteLevelBPETokenizer`.

    Raises:
        UserError: The texts have no words, or `vocabulary_size` has no room for the bytes.

    Example:
    >>> pieces, merges = train_byte_level_bpe(["low lower lowest low"], 264)
    >>> merges
    [('l', 'o'), ('lo', 'w'), ('Ġ', 'low')]
    """
    counts = _count(texts, split_words, progress)
    pieces = list(dict.fromkeys([*special_tokens, *sorted(BYTE_CHARACTERS)]))
    ids = [pieces.index(character) for character in BYTE_CHARACTERS]
    spelt = [[ids[byte] for byte in word] for word in counts]
    merges = _learn(
        spelt,
        list(counts.values()),
        pieces,
        vocabulary_size,
        min_frequency,
        lambda left, right: _plain_text(left, right, special_tokens),
        _older_first,
        progress,
    )
    return pieces, merges


def train_unigram(
    texts: Iterable[str],
    vocabulary_size: int,
    *,
    special_tokens: SpecialTokens = ALBERT_TOKENS,
    character_coverage: float = 0.9995,
    max_sentences: int = 1_000_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> bytes:
    """Trains a SentencePiece unigram model with Google's library, with its usual normalisation (nmt_nfkc).

    The text must be as the model will see it: lowered and without accents if the tokeniser will do that.

    Args:
        texts: The texts, read once. Lines of a text are separate sentences, and long ones are cut at blanks.
        vocabulary_size: The number of pieces, V; exact.
        special_tokens: The first pieces: [PAD] and [UNK] have the ids 0 and 1.
        character_coverage: The fraction of all characters that must be spelt; 0.9995 suits Chinese and Japanese too.
        max_sentences: The most sentences to hold in memory: a random sample of all.
        seed: Of that sample.
        progress: Called with ("words", texts read, None) as work goes on.

    Returns:
        The serialised model, for `SentencePieceTokenizer`.

    Raises:
        UserError: There is no text, or too little for so large a vocabulary.
    """
    import sentencepiece

    pad, unk = special_tokens.pad, special_tokens.unk
    if pad is None or unk is None or pad == unk:
        raise UserError("A unigram model needs a padding and an unknown token: name both.")
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts, progress),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary_size,
            character_coverage=character_coverage,
            input_sentence_size=max_sentences,
            shuffle_input_sentence=True,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=pad,
            unk_piece=unk,
            control_symbols=[token for token in special_tokens.names() if token not in (pad, unk)],
            num_threads=1,  # sums over threads differ from run to run
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"SentencePiece could not train {vocabulary_size} pieces: give more text or another vocabulary_size "
            f"(it said: {reason})."
        ) from error
    return model.getvalue()


def _sentences(texts: Iterable[str], progress: Progress | None) -> Iterator[str]:
    """Yields lines, the long ones cut: SentencePiece would drop them."""
    done, some = 0, False
    for batch in _batches(texts):
        for line in chain.from_iterable(text.splitlines() for text in batch):
            for part in _cut(line):
                if part.strip():
                    some = True
                    yield part.replace("\0", " ")
        done += len(batch)
        if progress is not None:
            progress("words", done, None)
    if not some:
        raise UserError("The texts have no words to learn a vocabulary from: give some text.")


def _cut(line: str) -> Iterator[str]:
    """Yields parts of at most `_MAX_LINE` characters, cut at a blank where there is one."""
    begin = 0
    while len(line) - begin > _MAX_LINE:
        end = line.rfind(" ", begin + 1, begin + _MAX_LINE)
        end = begin + _MAX_LINE if end < 0 else end
        yield line[begin:end]
        begin = end
    yield line[begin:]


def _count(texts: Iterable[str] | WordCounts, split: Callable, progress: Progress | None) -> Counter[bytes]:
    """Returns the words' counts.

    Raises:
        UserError: There are none.
    """
    counted = texts
    if not isinstance(texts, WordCounts):
        counted = WordCounts(tf.function(split, input_signature=[tf.TensorSpec([None], tf.string)]))
        done = 0
        for batch in _batches(texts):
            counted.add(batch)
            done += len(batch)
            if progress is not None:
                progress("words", done, None)
    if not counted.counts:
        raise UserError("The texts have no words to learn a vocabulary from: give some text.")
    return counted.counts


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, (str, bytes)):
        raise UserError("Give several texts (a list or an iterator of them), not one string.")
    texts = iter(texts)
    while batch := list(islice(texts, _BATCH)):
        yield batch


def _of_frequent_characters(words: dict[str, int], most: int | None) -> tuple[dict[str, int], set[str]]:
    """Returns the words of the most frequent characters alone, with their counts, and those characters."""
    used = Counter()
    for word, count in words.items():
        for character in word:
            used[character] += count
    kept = {character for character, _ in sorted(used.items(), key=lambda item: (-item[1], item[0]))[:most]}
    return {word: count for word, count in words.items() if kept >= set(word)}, kept


def _plain_text(left: str, right: str, special_tokens: Collection[str]) -> str | None:
    """Joins two pieces, but for those that would make a special token of text."""
    return None if left + right in special_tokens else left + right


def _older_first(left: str, right: str) -> bytes:
    """Of equally frequent pairs, that of the older pieces: `_learn` compares their ids where all else is equal."""
    return b""


def _last_in_order_first(left: str, right: str) -> bytes:
    """Of equally frequent pairs, the last one as Python sorts pairs of texts."""
    return left.encode().translate(_TURNED) + b"\xff" + right.encode().translate(_TURNED) + b"\xff"


def _learn(
    words: list[list[int]],
    counts: list[int],
    pieces: list[str],
    vocabulary_size: int,
    min_frequency: int,
    join: Callable[[str, str], str | None],
    order: Callable[[str, str], bytes],
    progress: Progress | None,
) -> list[tuple[str, str]]:
    """Joins the most frequent pair until there are enough pieces.

    Args:
        words: The distinct words as ids of pieces; changed in place.
        counts: How often each stands in the texts.
        pieces: The pieces; joined ones are appended.
        vocabulary_size: The number of pieces to reach.
        min_frequency: The fewest times that a pair must stand in the texts.
        join: Spells a joined pair; None where its pieces must stay apart.
        order: Of equally frequent pairs the one for which this is least is joined first, then that of the least ids.
        progress: Told about the merges.

    Returns:
        The joined pairs, in order.

    Raises:
        UserError: There are more pieces than `vocabulary_size` already.
    """
    if len(pieces) > vocabulary_size:
        raise UserError(
            f"A vocabulary of {vocabulary_size} has no room for the {len(pieces)} special tokens and characters: "
            "give a larger vocabulary_size."
        )
    ids = {piece: id for id, piece in enumerate(pieces)}
    frequency, homes = _count_pairs(words, counts)

    def queued(pair: int) -> tuple[int, bytes, int]:
        return -frequency[pair], order(pieces[pair >> 32], pieces[pair & _LOW]), pair

    queue = [queued(pair) for pair in frequency]
    heapq.heapify(queue)

    merges, start = [], len(pieces)
    while queue and len(pieces) < vocabulary_size:
        count, _, pair = heapq.heappop(queue)
        if -count != frequency[pair]:  # a correction has put the true count into the queue, or there is none left
            continue
        if -count < max(min_frequency, 1):
            break
        left, right = pair >> 32, pair & _LOW
        piece = join(pieces[left], pieces[right])
        if piece is None:
            continue
        joined = ids.setdefault(piece, len(pieces))
        if joined == len(pieces):
            pieces.append(piece)
        merges.append((pieces[left], pieces[right]))
        changes: dict[int, int] = defaultdict(int)
        for index in set(homes.pop(pair)):
            for made in _join_pair(words[index], left, right, joined, counts[index], changes):
                homes[made].append(index)
        changes[pair] = -frequency[pair]  # none is left
        for changed, change in changes.items():
            frequency[changed] += change
            if change and frequency[changed] > 0:
                heapq.heappush(queue, queued(changed))
        if progress is not None and len(merges) % 256 == 0:
            progress("merges", len(pieces) - start, vocabulary_size - start)
    if progress is not None:
        progress("merges", len(pieces) - start, vocabulary_size - start)
    return merges


def _count_pairs(words: list[list[int]], counts: list[int]) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Returns how often each pair, `left << 32 | right`, stands in the texts, and the words that it stands in."""
    lengths = np.array([len(word) for word in words])
    symbols = np.fromiter(chain.from_iterable(words), np.int64, lengths.sum())
    word = np.repeat(np.arange(len(words)), lengths)
    inside = word[:-1] == word[1:]
    pairs, word = (symbols[:-1] << 32 | symbols[1:])[inside], word[:-1][inside]
    order = np.argsort(pairs, kind="stable")
    pairs, word = pairs[order], word[order]
    distinct, begins = np.unique(pairs, return_index=True)
    totals = np.add.reduceat(np.array(counts, np.int64)[word], begins) if len(pairs) else pairs
    homes = (part.tolist() for part in np.split(word, begins[1:]))
    distinct = distinct.tolist()
    return defaultdict(int, zip(distinct, totals.tolist())), defaultdict(list, zip(distinct, homes))


def _join_pair(
    word: list[int], left: int, right: int, joined: int, times: int, changes: dict[int, int]
) -> Iterator[int]:
    """Joins a pair wherever it stands in a word, notes how often others came and went, and yields those that came."""
    index = -1
    while True:
        try:
            index = word.index(left, index + 1)
        except ValueError:
            return
        if index + 1 == len(word) or word[index + 1] != right:
            continue
        word[index : index + 2] = [joined]
        if index > 0:
            before = word[index - 1] << 32
            changes[before | left] -= times
            changes[before | joined] += times
            yield before | joined
        if index + 1 < len(word):
            after = word[index + 1]
            changes[right << 32 | after] -= times
            changes[joined << 32 | after] += times
            yield joined << 32 | after
