"""SentencePiece tokenisation (Kudo and Richardson, 2018, arXiv:1808.06226) as ALBERT, XLNet and T5 use it.

A trained model carries its own normalisation (NFKC and more, as a table) and its pieces, unigram (Kudo, 2018,
arXiv:1804.10959) or BPE; TensorFlow Text runs it with Google's own library, in time linear in the text. The model is an
attribute of one node of the graph: an export needs no file, and nothing has to be initialised.
"""

import os
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tfmodels.errors import UserError
from tfmodels.text.normalize import lower_case, text_vector
from tfmodels.text.offsets import Trace, decode
from tfmodels.text.vocabulary import ALBERT_TOKENS, SpecialTokens, Tokenizer, read_file

_FILE = "spiece.model"
_WANTED = "SentencePiece model (spiece.model)"
WORD_START = "\u2581"
_LATEX_QUOTES = "``|''"


class SentencePieceTokenizer(Tokenizer):
    """Turns text into the ids of a SentencePiece model's pieces.

    Before the model's own normalisation comes what ALBERT and XLNet do to text: LaTeX's quotes (two backticks, two
    apostrophes) become plain ones, accents are removed, case is lowered.

    Args:
        model: The path of a serialised model, or its bytes.
        special_tokens: Which pieces are special; those that the model lacks have no id. As control symbols of the model
            they never come from text.
        lowercase: Take text to lower case.
        strip_accents: Decompose (NFKD) and remove combining marks. None means: if `lowercase`.
        plain_quotes: Take LaTeX's quotes to plain ones.

    Raises:
        UserError: The model cannot be read or is none.
    """

    kind = "sentencepiece"

    def __init__(
        self,
        model: str | os.PathLike | bytes,
        special_tokens: SpecialTokens = ALBERT_TOKENS,
        lowercase: bool = False,
        strip_accents: bool | None = None,
        plain_quotes: bool = False,
    ):
        self._model = model if isinstance(model, bytes) else read_file(Path(model), _WANTED)
        super().__init__(self._read_pieces(), special_tokens)
        self.lowercase = bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        self.plain_quotes = bool(plain_quotes)
        texts, ids = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)
        self._encode = tf.function(self._encode_texts, input_signature=[texts], autograph=False)
        self._decode = tf.function(
            self._decode_ids, input_signature=[ids, tf.TensorSpec([None], tf.int64)], autograph=False
        )

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenises a batch of texts.

        Args:
            text: string[B], UTF-8; undecodable bytes become U+FFFD.

        Returns:
            int32[B, None]: the ids of the pieces, without special tokens.

        Raises:
            UserError: `text` is not a vector of strings.
        """
        ids, splits, _, _ = self._encode(self._normalize(text))
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """See `Tokenizer.tokenize_with_offsets`; what the model's own normalisation removes belongs to a neighbour."""
        trace = Trace.of(text_vector(text))
        if self.plain_quotes:
            # As many characters as before, of which the second one of each pair is then left out.
            marked = tf.strings.regex_replace(trace.text(), _LATEX_QUOTES, '"\0')
            codes = decode(marked)
            is_second = tf.equal(codes.values, 0) & tf.not_equal(trace.codes.values, 0)
            trace = trace._replace(codes=codes).keep(~is_second)
        trace = trace.change(self._fold)
        ids, splits, *places = self._encode(trace.text())
        ids, *places = (
            tf.RaggedTensor.from_row_splits(values, splits, validate=False)
            for values in (ids, *(tf.cast(place, tf.int64) for place in places))
        )
        return ids, *trace.origins(*places)

    def detokenize(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Joins pieces, without padding and structure; what normalising changed does not come back.

        Args:
            token_ids: int[B, T], dense or ragged.

        Returns:
            string[B].
        """
        token_ids = self._without_special(token_ids)
        return self._decode(tf.cast(token_ids.values, tf.int32), token_ids.row_splits)

    def _begins_word(self, piece: str) -> bool:
        return piece.startswith(WORD_START)

    def options(self) -> dict:
        """Returns the arguments besides the model and the special tokens."""
        return {
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "plain_quotes": self.plain_quotes,
        }

    def files(self) -> dict[str, bytes]:
        """Returns the serialised model."""
        return {_FILE: self._model}

    @classmethod
    def load(cls, directory: str | os.PathLike, **options) -> "SentencePieceTokenizer":
        """Makes a tokeniser of a directory's `spiece.model`."""
        return cls(Path(directory) / _FILE, **options)

    def _read_pieces(self) -> list[str]:
        if not self._model:
            raise UserError(f"The SentencePiece model is empty: give a {_WANTED}.")
        with tf.init_scope(), tf.device("CPU:0"):
            try:
                processor = tf_text.SentencepieceTokenizer(self._model)
                pieces = processor.id_to_string(tf.range(processor.vocab_size()))
            except tf.errors.OpError as error:
                raise UserError(f"The SentencePiece model is none or is damaged: give a {_WANTED}.") from error
            return [piece.decode("utf-8") for piece in pieces.numpy()]

    def _normalize(self, text: tf.Tensor) -> tf.Tensor:
        text = text_vector(text)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        if self.plain_quotes:
            text = tf.strings.regex_replace(text, _LATEX_QUOTES, '"')
        return self._fold(text)

    def _fold(self, text: tf.Tensor) -> tf.Tensor:
        """Does what treats each character by itself."""
        if self.strip_accents:
            text = tf.strings.regex_replace(text, r"\x{0}", "")  # at which decomposing would stop
            text = tf.strings.regex_replace(tf_text.normalize_utf8(text, "NFKD"), r"\p{M}+", "")
        return lower_case(text, accents_stripped=self.strip_accents) if self.lowercase else text

    # The processor is made inside these functions: so it is a node of their graphs, and not a resource that whoever
    # exports them would have to track.
    def _encode_texts(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        ids, starts, limits = tf_text.SentencepieceTokenizer(self._model).tokenize_with_offsets(text)
        return ids.values, ids.row_splits, starts.values, limits.values

    def _decode_ids(self, ids: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        rows = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
        return tf_text.SentencepieceTokenizer(self._model).detokenize(rows)
