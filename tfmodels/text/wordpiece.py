"""WordPiece tokenisation (Wu et al., 2016, arXiv:1609.08144) as BERT uses it, as TensorFlow operations.

Token ids equal those of Hugging Face's `tokenizers`. The matching itself is TensorFlow Text's linear-time algorithm
(Song et al., 2021, arXiv:2012.15524), whose model travels inside the graph: an export needs no vocabulary file and no
table to be initialised. `keras_nlp.tokenizers.WordPieceTokenizer` stands on the same operation, but splits, lowers and
limits words by other rules than BERT: its ids differ on accents, final sigmas and words of more than 100 bytes.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tfmodels.errors import UserError
from tfmodels.text.normalize import MAX_WORD_BYTES, MAX_WORD_CHARACTERS, OVERLONG_WORD, separate_words, text_vector
from tfmodels.text.offsets import Trace, decode
from tfmodels.text.vocabulary import BERT_TOKENS, Tokenizer, read_text

_SUFFIX_INDICATOR = "##"
_BLANKS = "\t\n\r "  # what separated words have between them
_FILE = "vocab.txt"
_WANTED = "vocab.txt with one piece a line"


class WordPieceTokenizer(Tokenizer):
    """Turns text into the ids of word pieces.

    A text's own "[SEP]" or "[MASK]" is plain text, five pieces or so, never the special token: what a user sends cannot
    forge the structure of a sequence. (Hugging Face's tokenisers do the same when `encode_special_tokens` is set.)

    Args:
        vocabulary: The path of a text file with one piece a line, or the pieces. A piece's position is its id; pieces
            that continue a word begin with "##"; [PAD], [UNK], [CLS] and [SEP] must be among them.
        lowercase: Take text to lower case first, as the "uncased" vocabularies want it.
        strip_accents: Remove accents. None means: if `lowercase`, as in BERT.

    Attributes:
        pad_token_id, unk_token_id, cls_token_id, sep_token_id: The ids of the special tokens.
        mask_token_id: The id of [MASK], or None where the vocabulary has none.

    Raises:
        UserError: The vocabulary cannot be read, is empty, holds a piece twice or lacks a special token.

    Example:
    >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##want", "##ed", "!"])
    >>> tokenizer(tf.constant(["Unwanted!", "unknown", ""]))
    <tf.RaggedTensor [[4, 5, 6, 7], [1], []]>
    """

    kind = "wordpiece"

    def __init__(
        self,
        vocabulary: str | os.PathLike | Sequence[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
    ):
        pieces = _read_pieces(Path(vocabulary)) if isinstance(vocabulary, (str, os.PathLike)) else list(vocabulary)
        _check_pieces(pieces)
        super().__init__(pieces, BERT_TOKENS)
        self.require("pad", "unk", "cls", "sep")
        self.lowercase = bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        # The model is a constant that every graph may capture, so it must not belong to the graph of the moment.
        with tf.init_scope(), tf.device("CPU:0"):
            try:
                self._matcher = tf_text.FastWordpieceTokenizer(
                    self._pieces,
                    suffix_indicator=_SUFFIX_INDICATOR,
                    max_bytes_per_word=MAX_WORD_BYTES,
                    token_out_type=tf.int32,
                    no_pretokenization=True,
                )
            except RuntimeError as error:
                raise UserError(f"TensorFlow Text cannot use the vocabulary: {error}.") from error

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenises a batch of texts.

        Args:
            text: string[B], UTF-8; undecodable bytes are dropped.

        Returns:
            int32[B, None]: the ids of the pieces, without special tokens.

        Raises:
            UserError: `text` is not a vector of strings.
        """
        text = separate_words(text, lowercase=self.lowercase, strip_accents=self.strip_accents)
        # `tf.strings.split` is this operation and a dozen more to count the rows, which a short text would notice.
        words = tf.raw_ops.StringSplitV2(input=text, sep="")
        word_splits = tf.searchsorted(words.indices[:, 0], tf.range(tf.size(text, tf.int64) + 1))
        pieces = self._matcher.tokenize(words.values)  # int32[W, None]
        return tf.RaggedTensor.from_row_splits(pieces.values, tf.gather(pieces.row_splits, word_splits), validate=False)

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """See `Tokenizer.tokenize_with_offsets`; the offsets are those of Hugging Face's `tokenizers`, in bytes.

        A removed accent belongs to no piece, nor does white space; all of an unknown word belongs to its [UNK].
        """
        separate = functools.partial(separate_words, lowercase=self.lowercase, strip_accents=self.strip_accents)
        trace = Trace.of(text_vector(text)).change(separate)
        separated = trace.text()
        if self.strip_accents:
            # Marks that are no accents may have to change places, which no character can tell by itself.
            separated = tf_text.normalize_utf8(separated, "NFD")
            trace = trace._replace(codes=decode(separated))
        row = trace.codes.value_rowids()
        is_blank = tf.reduce_any(tf.equal(trace.codes.values[:, tf.newaxis], [ord(blank) for blank in _BLANKS]), axis=1)
        count = tf.size(is_blank)
        is_first = tf.concat([[True], tf.not_equal(row[1:], row[:-1])], 0)[:count]
        begins = ~is_blank & (is_first | tf.concat([[True], is_blank[:-1]], 0)[:count])

        words = tf.raw_ops.StringSplitV2(input=separated, sep="").values
        is_long = tf.strings.length(words, "UTF8_CHAR") > MAX_WORD_CHARACTERS
        pieces, starts, limits = self._matcher.tokenize_with_offsets(tf.where(is_long, OVERLONG_WORD, words))
        word = pieces.value_rowids()
        size = tf.cast(tf.strings.length(words), tf.int64)
        limits = tf.where(tf.gather(is_long, word), tf.gather(size, word), limits.values)

        word_starts = tf.gather(tf.boolean_mask(trace.byte_starts().values, begins), word)
        splits = tf.searchsorted(tf.boolean_mask(row, begins), tf.range(trace.codes.nrows() + 1))
        ids = tf.RaggedTensor.from_row_splits(pieces.values, tf.gather(pieces.row_splits, splits), validate=False)
        places = (ids.with_values(word_starts + place) for place in (starts.values, limits))
        return ids, *trace.origins(*places)

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Joins pieces into words and words with blanks; [PAD], [CLS] and [SEP] are left out.

        What normalising removed (case, accents, the kind of white space) does not come back.

        Args:
            token_ids: int[B, T], dense or ragged.

        Returns:
            string[B].

        Example:
        >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##want", "##ed", "!"])
        >>> tokenizer.detokenize([[2, 4, 5, 6, 7, 3]])
        <tf.Tensor: shape=(1,), dtype=string, numpy=array([b'unwanted !'], dtype=object)>
        """
        token_ids = self._without_special(token_ids)
        pieces = tf.gather(tf.constant(self._pieces), token_ids)
        return tf.strings.regex_replace(tf.strings.reduce_join(pieces, -1, separator=" "), f" {_SUFFIX_INDICATOR}", "")

    def _begins_word(self, piece: str) -> bool:
        return not piece.startswith(_SUFFIX_INDICATOR)

    def get_config(self) -> dict:
        """Returns the arguments that make an equal tokeniser, the vocabulary as a list."""
        return {"vocabulary": self.get_vocabulary(), **self.options()}

    def options(self) -> dict:
        """Returns the arguments besides the vocabulary."""
        return {"lowercase": self.lowercase, "strip_accents": self.strip_accents}

    @classmethod
    def from_config(cls, config: dict) -> "WordPieceTokenizer":
        """Makes a tokeniser from what `get_config` returned."""
        return cls(**config)

    def files(self) -> dict[str, bytes]:
        """Returns BERT's `vocab.txt`: the pieces, one a line."""
        return {_FILE: "".join(f"{piece}\n" for piece in self._pieces).encode("utf-8")}

    @classmethod
    def load(cls, directory: str | os.PathLike, **options) -> "WordPieceTokenizer":
        """Makes a tokeniser of a directory's `vocab.txt`."""
        return cls(Path(directory) / _FILE, **options)


def _read_pieces(file: Path) -> list[str]:
    """Reads one piece a line, where only line feeds end a line: other line separators may be pieces."""
    pieces = [line.removesuffix("\r") for line in read_text(file, _WANTED).split("\n")]
    return pieces[:-1] if pieces[-1] == "" else pieces


def _check_pieces(pieces: list[str]) -> None:
    """Makes sure that TensorFlow Text and a file can hold the pieces.

    Raises:
        UserError: They cannot.
    """
    for id, piece in enumerate(pieces):
        # Empty pieces match nothing; a line break would tear the saved file, and TensorFlow Text stops at a NUL.
        if not isinstance(piece, str) or piece in ("", _SUFFIX_INDICATOR) or set(piece) & set("\n\r\0"):
            raise UserError(
                f"Piece {id} of the vocabulary, {piece!r}, is no piece: remove it and what follows from it."
            )
