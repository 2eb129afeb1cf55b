r"""Byte-pair encoding, of characters and of bytes, as TensorFlow operations.

Byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909) joins, as long as it can, the neighbours whose pair was
learnt first. Two alphabets are joined so:

- `BPETokenizer`, the paper's own: words stand between blanks and are spelt in characters, the last of which carries the
  mark of the word's end, `</w>`. What was never seen is unknown. Pieces equal those of the authors' `subword-nmt`.
- `ByteLevelBPETokenizer` (Radford et al., 2019, GPT-2) as RoBERTa uses it: over bytes it can spell any text, so nothing
  is unknown; over words split off by GPT-2's expression, which keeps a blank with the word that it precedes. Token ids
  equal those of Hugging Face's `tokenizers`, but that letters and digits are those of the Unicode of TensorFlow's RE2
  (15.0): later ones split words otherwise.

All is constants of the graph: no table to initialise, no cache, no state. Most words are one piece, found by one
look-up. The others are joined together in a loop, all words of a batch at a time: as many rounds as the longest
word has joins, each `O(n log M)` for the n symbols that are left and M learnt pairs. `keras_nlp`'s
`BytePairTokenizer` needs tables, keeps a growing cache in the graph and splits whitespace by other rules.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfmodels.errors import UserError
from tfmodels.text import characters
from tfmodels.text.normalize import hide_nuls, lower_case, show_nuls, text_vector
from tfmodels.text.offsets import Trace
from tfmodels.text.vocabulary import ROBERTA_TOKENS, SpecialTokens, Tokenizer, read_text

_FILES = ("vocab.json", "merges.txt")
_MERGES_HEADER = "#version: 0.2"

# What the last character of a word carries.
END_OF_WORD = "</w>"

# GPT-2's expression, but for `\s+(?!\S)|\s+`: RE2 cannot look ahead, so white space is split into characters here and
# joined again by `_join_white_space`.
_SPACE = characters.UNICODE_WHITE_SPACE
_WORD = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]"

# What stands between the words of plain byte-pair encoding: `subword-nmt` reads lines, and splits them at blanks alone.
_SEPARATORS = " \r\n"

_HASHES = 2**63 - 1
_NO_RANK = 2**31 - 1
# `tf.equal` and not `==`, which in a graph of the old kind asks whether two tensors are one.


def _byte_characters() -> str:
    """Returns the characters that stand for the 256 bytes in a vocabulary: printable, and no white space (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


BYTE_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


def split_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Splits text into the words within which byte-pair encoding joins bytes.

    Args:
        text: string[B], UTF-8; undecodable bytes become U+FFFD.

    Returns:
        string[B, None]: words whose concatenation is the text.

    Raises:
        UserError: `text` is not a vector of strings.

    Example:
    >>> split_words(["It's  2 late!"])
    <tf.RaggedTensor [[b'It', b"'s", b' ', b' 2', b' late', b'!']]>
    """
    # The splitting stops at a NUL.
    words = _join_white_space(tf_text.regex_split(hide_nuls(_decodable(text_vector(text))), _WORD, _WORD))
    return words.with_values(show_nuls(words.values))


def split_at_blanks(text: tf.Tensor, *, lowercase: bool = False) -> tf.RaggedTensor:
    """Splits text into the words within which plain byte-pair encoding joins characters.

    Only blanks and line breaks part words: punctuation, and words of languages without blanks, are to be set apart
    beforehand, and a tab or an ideographic space is a character like others.

    Args:
        text: string[B], UTF-8; undecodable bytes become U+FFFD.
        lowercase: Take every letter to its lower case.

    Returns:
        string[B, None].

    Raises:
        UserError: `text` is not a vector of strings.

    Example:
    >>> split_at_blanks(["It 's  late !"])
    <tf.RaggedTensor [[b'It', b"'s", b'late', b'!']]>
    """
    text = _decodable(text_vector(text))
    if lowercase:
        text = lower_case(text, accents_stripped=False)
    # A NUL, at which other operations stop, passes this one.
    parts = tf.raw_ops.StringSplitV2(input=tf.strings.regex_replace(text, "[\r\n]", " "), sep=" ")
    filled = tf.not_equal(parts.values, "")
    row = tf.boolean_mask(parts.indices[:, 0], filled)
    splits = tf.searchsorted(row, tf.range(tf.size(text, tf.int64) + 1), out_type=tf.int64)
    return tf.RaggedTensor.from_row_splits(tf.boolean_mask(parts.values, filled), splits, validate=False)


def forges_end(left: str, right: str) -> bool:
    """Whether joining two pieces would spell the mark of a word's end out of a text's own characters."""
    return (left + right).endswith(END_OF_WORD) and not right.endswith(END_OF_WORD)


def _decodable(text: tf.Tensor) -> tf.Tensor:
    """string[B]: the texts with U+FFFD in place of undecodable bytes."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)


def _join_white_space(words: tf.RaggedTensor) -> tf.RaggedTensor:
    r"""Joins runs of single white-space words; the last of a run stays alone before a word that begins without one.

    That is `\s+(?!\S)|\s+`: a run of white space gives its last character back if a word follows, and where that
    character is a blank the word has taken it already.
    """
    flat, splits = words.values, words.row_splits
    count = tf.size(flat, tf.int64)
    space = tf.strings.regex_full_match(flat, f"[{_SPACE}]")
    starts_solid = ~(space | tf.strings.regex_full_match(flat, r"(?s) .+"))
    row = words.value_rowids()
    same_row = tf.equal(row[1:], row[:-1])
    solid_follows = tf.concat([starts_solid[1:] & same_row, [False]], 0)[:count]
    space_precedes = tf.concat([[False], space[:-1] & same_row], 0)[:count]
    first = tf.where(~(space & space_precedes & ~solid_follows))[:, 0]
    owner = tf.searchsorted(first, tf.range(count), side="right") - 1
    joined = tf.strings.unsorted_segment_join(flat, owner, tf.size(first))
    return tf.RaggedTensor.from_row_splits(joined, tf.searchsorted(first, splits), validate=False)


class _PairTokenizer(Tokenizer):
    """What tokenisers that join pairs of pieces have in common: merges, words that are one piece, and the joining.

    A subclass says how text is split into words (`_words`), in which symbols a word is spelt (`_symbols`), which text
    a piece stands for (`_spell`), and in which order equal pairs of a word are joined (`_one_by_one`).

    Args:
        vocabulary: The path of a `vocab.json` (piece to id), or the pieces in the order of their ids.
        merges: The path of a `merges.txt`, or the pairs of pieces in the order in which they are joined.
        special_tokens: Which pieces are special; those that the vocabulary lacks have no id.
    """

    def __init__(
        self,
        vocabulary: str | os.PathLike | Sequence[str],
        merges: str | os.PathLike | Sequence[tuple[str, str]],
        special_tokens: SpecialTokens,
    ):
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = _read_vocabulary(Path(vocabulary))
        super().__init__(vocabulary, special_tokens)
        self._merges = _pairs(merges)
        self._special = frozenset(special_tokens.names())
        self._spellings = [self._spell(piece) for piece in self._pieces]
        self._build_alphabet()
        self._build_merges()
        self._build_words()
        # Eagerly the loop would be a Python loop; as a function it is one operation, and exports as one.
        signature = [tf.TensorSpec([None], tf.string)]
        self._encode = tf.function(self._encode_words, input_signature=signature, autograph=False)

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenises a batch of texts.

        Args:
            text: string[B], UTF-8; undecodable bytes become U+FFFD.

        Returns:
            int32[B, None]: the ids of the pieces, without special tokens.

        Raises:
            UserError: `text` is not a vector of strings.
        """
        words = self._words(text)
        ids, splits = self._encode(words.values)
        return tf.RaggedTensor.from_row_splits(ids, tf.gather(splits, words.row_splits), validate=False)

    def files(self) -> dict[str, bytes]:
        """Returns GPT-2's `vocab.json` and `merges.txt`, which `subword-nmt` reads as its codes."""
        vocabulary = json.dumps(self._ids, ensure_ascii=False, indent=1) + "\n"
        merges = "".join(f"{left} {right}\n" for left, right in self._merges)
        return dict(zip(_FILES, (vocabulary.encode("utf-8"), f"{_MERGES_HEADER}\n{merges}".encode())))

    @classmethod
    def load(cls, directory: str | os.PathLike, **options) -> "_PairTokenizer":
        """Makes a tokeniser of a directory's `vocab.json` and `merges.txt`."""
        return cls(*(Path(directory) / name for name in _FILES), **options)

    def _words(self, text: tf.Tensor) -> tf.RaggedTensor:
        """string[B, None]: the words of string[B] texts."""
        raise NotImplementedError

    def _symbols(self, words: tf.Tensor) -> tf.RaggedTensor:
        """int32[R, None]: the ids of the single symbols that string[R] words are spelt in."""
        raise NotImplementedError

    def _spell(self, piece: str) -> bytes:
        """The text that a piece stands for; a special one spells itself, which no text becomes."""
        raise NotImplementedError

    def _build_alphabet(self) -> None:
        """Lays out what `_symbols` needs."""
        raise NotImplementedError

    def _forges(self, left: str, right: str) -> bool:
        """Whether joining two pieces would make a special token of text, or text of a special token."""
        return not self._special.isdisjoint((left, right, left + right))

    def _one_by_one(self, left: np.ndarray, right: np.ndarray, joined: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """bool[M]: the pairs of which a word's first is joined before others are looked for, by int64[M] ids and ranks.

        All equal pairs of a word are joined at once where this says no.
        """
        raise NotImplementedError

    def _id_of(self, piece: str) -> int:
        if piece not in self._ids:
            raise UserError(
                f"The vocabulary lacks {piece!r}, which it needs to spell any text or to join pieces: give a "
                "vocabulary and merges that were learnt together."
            )
        return self._ids[piece]

    def _build_merges(self) -> None:
        """Lays the pairs out in the order of their keys, `left * V + right`, for binary search."""
        # A pair that stands there twice counts where it stood last, as in `tokenizers`.
        ranked = {pair: rank for rank, pair in enumerate(self._merges) if not self._forges(*pair)}
        triples = [(self._id_of(left), self._id_of(right), self._id_of(left + right)) for left, right in ranked]
        left, right, joined = np.array(triples, np.int64).reshape(-1, 3).T
        rank = np.array(list(ranked.values()), np.int64)
        keys = left * len(self._pieces) + right
        order = np.argsort(keys)
        # One more that no pair can have keeps the arrays from being empty, and every search within them.
        self._keys = np.append(keys[order], np.iinfo(np.int64).max)
        self._joined = np.append(joined[order], 0).astype(np.int32)
        self._ranks = np.append(rank[order], _NO_RANK).astype(np.int32)
        self._one_at_a_time = np.append(self._one_by_one(left, right, joined, rank)[order], False)

    def _build_words(self) -> None:
        """Finds the pieces that, as words, are encoded as themselves, and lays them out for search by their hash."""
        with tf.init_scope(), tf.device("CPU:0"):
            spellings = np.array(self._spellings, object)
            encode = tf.function(self._join_symbols, autograph=False)
            ids, splits = (part.numpy() for part in encode(tf.constant(spellings)))
            alone = np.flatnonzero(np.diff(splits) == 1)
            alone = alone[ids[splits[alone]] == alone]
            hashes = tf.strings.to_hash_bucket_fast(spellings[alone], _HASHES).numpy()
        order = np.argsort(hashes, kind="stable")
        # One hash for two pieces would hide the second, which then is found by joining. The last one is no UTF-8, so no
        # word; nor is any word empty.
        self._word_spellings = np.append(spellings[alone[order]], b"\xff\xff")
        self._word_hashes = np.append(hashes[order], _HASHES)
        self._word_ids = np.append(alone[order], -1).astype(np.int32)

    def _encode_words(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes words, each distinct one once.

        Args:
            words: string[W].

        Returns:
            int32[P] ids and int64[W + 1] where those of each word begin.
        """
        distinct, which = tf.unique(words)  # string[U], int32[W]
        place = tf.searchsorted(self._word_hashes, tf.strings.to_hash_bucket_fast(distinct, _HASHES))
        found = tf.equal(tf.gather(tf.constant(self._word_spellings), place), distinct)
        parts, splits = self._join_symbols(tf.boolean_mask(distinct, ~found))
        # The ids of all distinct words: those of one piece, then those of several.
        ids = tf.concat([tf.gather(self._word_ids, place), parts], 0)
        several = tf.where(found, 0, tf.cumsum(tf.cast(~found, tf.int32)))  # 1 is the first word of several pieces
        size = tf.size(distinct, tf.int64)
        begin = tf.where(found, tf.range(size), size + tf.gather(splits, tf.maximum(several - 1, 0)))
        end = tf.where(found, begin + 1, size + tf.gather(splits, several))
        rows = tf.ragged.range(tf.gather(begin, which), tf.gather(end, which))
        return tf.gather(ids, rows.values), rows.row_splits

    def _join_symbols(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Joins the symbols of words as long as there are pairs to join.

        Args:
            words: string[R].

        Returns:
            int32[P] ids and int64[R + 1] where those of each word begin.
        """
        count = tf.size(words)
        spelt = self._symbols(words)
        symbols, word = spelt.values, tf.cast(spelt.value_rowids(), tf.int32)  # int32[S] each
        num_pieces = len(self._pieces)

        def join(symbols, word, _):
            left, right = symbols[:-1], symbols[1:]
            key = tf.cast(left, tf.int64) * num_pieces + tf.cast(right, tf.int64)
            place = tf.searchsorted(self._keys, key)
            known = tf.equal(tf.gather(self._keys, place), key) & tf.equal(word[:-1], word[1:])
            rank = tf.where(known, tf.gather(self._ranks, place), _NO_RANK)
            best = tf.math.unsorted_segment_min(rank, word[:-1], count)
            chosen = known & tf.equal(rank, tf.gather(best, word[:-1]))
            position = tf.range(tf.size(left))
            if self._one_at_a_time.any():
                first = tf.math.unsorted_segment_min(tf.where(chosen, position, _NO_RANK), word[:-1], count)
                alone = tf.gather(self._one_at_a_time, place)
                chosen &= ~alone | tf.equal(position, tf.gather(first, word[:-1]))
            # Of overlapping pairs, as in "aaaa", every second is joined, from the left.
            begins = chosen & ~tf.concat([[False], chosen[:-1]], 0)[: tf.size(left)]
            run = tf.cumsum(tf.cast(begins, tf.int32)) - 1
            begun = tf.gather(tf.concat([tf.where(begins)[:, 0], [0]], 0), tf.maximum(run, 0))
            chosen &= tf.equal((position - tf.cast(begun, tf.int32)) % 2, 0)

            symbols = tf.concat([tf.where(chosen, tf.gather(self._joined, place), left), symbols[-1:]], 0)
            kept = tf.where(tf.concat([[True], ~chosen], 0)[: tf.size(symbols)])[:, 0]
            return tf.gather(symbols, kept), tf.gather(word, kept), tf.reduce_any(chosen)

        shapes = (tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([]))
        symbols, word, _ = tf.while_loop(lambda *state: state[2], join, (symbols, word, True), shapes)
        return symbols, tf.searchsorted(word, tf.range(count + 1), out_type=tf.int64)


class BPETokenizer(_PairTokenizer):
    """Turns text into the ids of the pieces of plain byte-pair encoding.

    Words are what stands between blanks and line breaks (`split_at_blanks`), so that text is given as `subword-nmt` is:
    tokenised already. All equal pairs of a word are joined at once, as there. A character that the vocabulary lacks, or
    lacks at the end of a word, is unknown by itself; the rest of its word is not.

    A text's own "<mask>" or "</w>" is plain text, never a special token or the end of a word: pairs that would make one
    out of characters are left alone.

    Args:
        vocabulary: The path of a `vocab.json` (piece to id), or the pieces in the order of their ids. Pieces that end a
            word end with "</w>"; characters within words and at their ends are pieces of their own.
        merges: The path of the codes that `subword-nmt learn-bpe` wrote (version 0.2), or the pairs of pieces in the
            order in which they are joined. A pair that stands there twice counts where it stood first.
        special_tokens: Which pieces are special; the unknown one must be in the vocabulary.
        lowercase: Take text to lower case first.

    Raises:
        UserError: A file cannot be read, the vocabulary lacks the unknown or a joined piece, or holds a piece twice, or
            the merges are no pairs.

    Example:
    >>> pieces = ["<pad>", "<unk>", *"lowest", "t</w>", "w</w>", "lo", "low</w>", "est</w>", "es"]
    >>> tokenizer = BPETokenizer(pieces, [("l", "o"), ("lo", "w</w>"), ("e", "s"), ("es", "t</w>")])
    >>> [[tokenizer.id_to_token(id) for id in row] for row in tokenizer(["low lowest", "lot?"]).to_list()]
    [['low</w>', 'lo', 'w', 'est</w>'], ['lo', 't', '<unk>']]
    >>> tokenizer.detokenize(tokenizer(["low  lowest"]))
    <tf.Tensor: shape=(1,), dtype=string, numpy=array([b'low lowest'], dtype=object)>
    """

    kind = "bpe"

    def __init__(
        self,
        vocabulary: str | os.PathLike | Sequence[str],
        merges: str | os.PathLike | Sequence[tuple[str, str]],
        special_tokens: SpecialTokens = ROBERTA_TOKENS,
        lowercase: bool = False,
    ):
        self.lowercase = bool(lowercase)
        merges = list(dict.fromkeys(_pairs(merges, versioned=True)))
        super().__init__(vocabulary, merges, special_tokens)

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """See `Tokenizer.tokenize_with_offsets`; blanks and line breaks belong to no piece."""
        trace = Trace.of(text_vector(text))
        if self.lowercase:
            trace = trace.change(lambda characters: lower_case(characters, accents_stripped=False))
        ids = self(text)
        # Pieces tile the characters that stand in words.
        separators = [ord(separator) for separator in _SEPARATORS]
        solid = ~tf.reduce_any(tf.equal(trace.codes.values[:, tf.newaxis], separators), axis=1)
        lengths = tf.gather(self._lengths, ids.values)
        limits = tf.cumsum(lengths)
        begun = tf.gather(tf.boolean_mask(trace.starts, solid), limits - lengths)
        ended = tf.gather(tf.boolean_mask(trace.limits, solid), limits - 1)
        return ids, ids.with_values(begun), ids.with_values(ended)

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Joins pieces into words and words with single blanks, without padding and structure.

        An unknown character is written as the unknown token, and as if it ended its word.

        Args:
            token_ids: int[B, T], dense or ragged.

        Returns:
            string[B].
        """
        written = [
            f"{piece.removesuffix(END_OF_WORD)} " if piece in self._special or piece.endswith(END_OF_WORD) else piece
            for piece in self._pieces
        ]
        token_ids = self._without_special(token_ids)
        pieces = tf.ragged.map_flat_values(lambda ids: tf.gather(tf.constant(written), ids), token_ids)
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, -1), r" \z", "")

    def word_starts(self) -> np.ndarray:
        """Refused: these pieces tell whether they end a word, and not whether they begin one.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "A piece of plain byte-pair encoding does not tell whether it begins a word: train with a WordPiece, "
            "byte-level BPE or SentencePiece vocabulary where whole words are hidden."
        )

    def options(self) -> dict:
        """Returns the arguments besides the vocabulary and the merges."""
        return {"lowercase": self.lowercase}

    def _words(self, text: tf.Tensor) -> tf.RaggedTensor:
        return split_at_blanks(text, lowercase=self.lowercase)

    def _spell(self, piece: str) -> bytes:
        return (piece if piece in self._special else piece.removesuffix(END_OF_WORD)).encode()

    def _build_alphabet(self) -> None:
        """Lays the characters out by `2 * code + is_last`, for binary search."""
        self.require("unk")
        ids = {}
        for id, piece in enumerate(self._pieces):
            character = piece.removesuffix(END_OF_WORD)
            if len(character) == 1 and piece not in self._special:
                ids[2 * ord(character) + (piece != character)] = id
        keys = sorted(ids)
        # One more that no character can have keeps every search within the array.
        self._characters = np.array([*keys, 2**31 - 1], np.int32)
        self._character_ids = np.array([*(ids[key] for key in keys), 0], np.int32)
        # In characters; an unknown one is one.
        self._lengths = np.array([len(spelling.decode()) for spelling in self._spellings], np.int64)
        self._lengths[[self._ids[token] for token in self._special if token in self._ids]] = 1

    def _symbols(self, words: tf.Tensor) -> tf.RaggedTensor:
        codes = tf.strings.unicode_decode(words, "UTF-8", replace_control_characters=False)  # int32[R, None]
        row = codes.value_rowids()
        is_last = tf.concat([tf.not_equal(row[1:], row[:-1]), [True]], 0)[: tf.size(row)]
        key = 2 * codes.values + tf.cast(is_last, tf.int32)
        place = tf.searchsorted(self._characters, key)
        known = tf.equal(tf.gather(self._characters, place), key)
        return codes.with_values(tf.where(known, tf.gather(self._character_ids, place), self.unk_token_id))

    def _forges(self, left: str, right: str) -> bool:
        return super()._forges(left, right) or forges_end(left, right)

    def _one_by_one(self, left: np.ndarray, right: np.ndarray, joined: np.ndarray, rank: np.ndarray) -> np.ndarray:
        return np.zeros(len(rank), bool)


class ByteLevelBPETokenizer(_PairTokenizer):
    """Turns text into the ids of byte-level BPE pieces.

    A text's own "<mask>" or "</s>" is plain text, never the special token: what a user sends cannot forge the structure
    of a sequence.

    Args:
        vocabulary: The path of a `vocab.json` (piece to id), or the pieces in the order of their ids. A piece has one
            character a byte, as GPT-2 writes it ("Ġ" is the blank); all 256 must be among them.
        merges: The path of a `merges.txt`, or the pairs of pieces in the order in which they are joined.
        special_tokens: Which pieces are special; those that the vocabulary lacks have no id.
        add_prefix_space: Begin every text with a blank, so that its first word is a word like the others.

    Raises:
        UserError: A file cannot be read, the vocabulary lacks a byte or a joined piece, or holds a piece twice.

    Example:
    >>> pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(BYTE_CHARACTERS), "lo", "low", "Ġlow"]
    >>> tokenizer = ByteLevelBPETokenizer(pieces, [("l", "o"), ("lo", "w"), ("Ġ", "low")])
    >>> tokenizer(["low low lot"])
    <tf.RaggedTensor [[261, 262, 224, 260, 87]]>
    >>> tokenizer.detokenize([[0, 261, 262, 2]])
    <tf.Tensor: shape=(1,), dtype=string, numpy=array([b'low low'], dtype=object)>
    """

    kind = "byte_level_bpe"

    def __init__(
        self,
        vocabulary: str | os.PathLike | Sequence[str],
        merges: str | os.PathLike | Sequence[tuple[str, str]],
        special_tokens: SpecialTokens = ROBERTA_TOKENS,
        add_prefix_space: bool = False,
    ):
        self.add_prefix_space = bool(add_prefix_space)
        super().__init__(vocabulary, merges, special_tokens)

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """See `Tokenizer.tokenize_with_offsets`; pieces of one character share its bytes out among them."""
        trace = Trace.of(text_vector(text))
        text = trace.text()
        ids = self(text)
        limits = tf.cumsum(tf.gather(self._lengths, ids.values))
        starts = limits - tf.gather(self._lengths, ids.values)
        # Positions in the text are those in all texts less where the row begins.
        begun = tf.gather(tf.concat([[0], limits], 0), ids.row_splits[:-1])
        prefix = 0
        if self.add_prefix_space:
            prefix = tf.cast(tf.strings.regex_full_match(text, "(?s)[^ ].*"), tf.int64)
        begun = tf.gather(begun + prefix, ids.value_rowids())
        starts, limits = ids.with_values(tf.maximum(starts - begun, 0)), ids.with_values(limits - begun)
        return ids, *trace.origins(starts, limits)

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Joins pieces: the text itself comes back, without padding and structure.

        Args:
            token_ids: int[B, T], dense or ragged.

        Returns:
            string[B]; UTF-8 where the ids are those of a whole text.
        """
        token_ids = self._without_special(token_ids)
        pieces = tf.ragged.map_flat_values(lambda ids: tf.gather(tf.constant(self._spellings), ids), token_ids)
        return tf.strings.reduce_join(pieces, -1)

    def _begins_word(self, piece: str) -> bool:
        return self._spellings[self._ids[piece]][:1].isspace()

    def options(self) -> dict:
        """Returns the arguments besides the vocabulary and the merges."""
        return {"add_prefix_space": self.add_prefix_space}

    def _words(self, text: tf.Tensor) -> tf.RaggedTensor:
        text = _decodable(text_vector(text))
        return split_words(tf.strings.regex_replace(text, "^([^ ])", r" \1") if self.add_prefix_space else text)

    def _spell(self, piece: str) -> bytes:
        # So does a piece that is not spelt in byte characters.
        is_text = piece not in self._special and _BYTES.keys() >= set(piece)
        return bytes(map(_BYTES.get, piece)) if is_text else piece.encode()

    def _build_alphabet(self) -> None:
        self._byte_ids = np.array([self._id_of(character) for character in BYTE_CHARACTERS], np.int32)
        self._lengths = np.array([len(spelling) for spelling in self._spellings], np.int64)

    def _symbols(self, words: tf.Tensor) -> tf.RaggedTensor:
        # Every byte is a character of Latin-1.
        data = tf.strings.unicode_decode(words, "ISO-8859-1", replace_control_characters=False)
        return data.with_values(tf.gather(self._byte_ids, data.values))

    def _one_by_one(self, left: np.ndarray, right: np.ndarray, joined: np.ndarray, rank: np.ndarray) -> np.ndarray:
        # Equal pairs of a word may be joined at once if nothing that they make is joined earlier than they are.
        first_use = np.full(len(self._pieces), _NO_RANK, np.int64)
        np.minimum.at(first_use, left, rank)
        np.minimum.at(first_use, right, rank)
        return first_use[joined] < rank


def _read_vocabulary(file: Path) -> list[str]:
    """Reads a `vocab.json`, whose ids must be those of a list."""
    content = read_text(file, "vocab.json")
    try:
        ids = json.loads(content)
    except ValueError as error:
        raise UserError(f"The vocabulary {file} is not JSON: give a vocab.json.") from error
    if not isinstance(ids, Mapping) or sorted(ids.values(), key=str) != sorted(range(len(ids)), key=str):
        raise UserError(f"The vocabulary {file} does not number its pieces from 0 on: give a vocab.json, piece to id.")
    return sorted(ids, key=ids.get)


def _pairs(merges: str | os.PathLike | Sequence[tuple[str, str]], *, versioned: bool = False) -> list[tuple[str, str]]:
    """The pairs of a list or of a `merges.txt`: a comment, then a pair a line.

    Args:
        merges: The list or the file's path.
        versioned: The file must say that it is one of version 0.2: `subword-nmt` reads others in another way.

    Raises:
        UserError: The file cannot be read, or something is no pair.
    """
    source = "The merges"
    if isinstance(merges, (str, os.PathLike)):
        source = f"The merges {merges}"
        first, *lines = read_text(Path(merges), "merges.txt").split("\n")
        if not first.startswith("#version"):
            lines = [first, *lines]
        if versioned and first.split() != _MERGES_HEADER.split():
            raise UserError(f"{source} do not begin with {_MERGES_HEADER!r}: learn them with subword-nmt 0.2 or later.")
        lines = [line.removesuffix("\r") for line in lines]
        merges = [line.split(" ") for line in lines if line]
    for pair in merges:
        whole = not isinstance(pair, str) and len(pair) == 2 and all(isinstance(piece, str) for piece in pair)
        if not whole or any(not piece or set(piece) & set(" \n") for piece in pair):
            shown = pair if isinstance(pair, str) else " ".join(map(str, pair))
            raise UserError(f"{source} hold {shown!r}, which is no pair of pieces: give pairs, or a merges.txt.")
    return [tuple(pair) for pair in merges]
