"""From texts to a model's inputs: tokenised, packed with special tokens, cut to length and padded."""

import json
import os
from pathlib import Path

import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.files import atomic_file
from tfmodels.text.wordpiece import WordPieceTokenizer

_SCHEMA_VERSION = 1
_CONFIG_FILE = "preprocessor.json"
_VOCABULARY_FILE = "vocab.txt"


class TextPreprocessor:
    """Makes the inputs of a backbone from texts or pairs of texts.

    One text becomes `[CLS] a [SEP]`, a pair `[CLS] a [SEP] b [SEP]`, where segment 1 begins with b. What is too long is
    cut at its end; of a pair the longer text is cut first, and both to halves where neither fits, exactly as Hugging
    Face's "longest_first" does it.

    Args:
        tokenizer: The tokeniser.
        sequence_length: The most tokens of a row, special ones included.
        pair: Take two texts a row instead of one.
        length_multiple: Rows are padded to the longest one of their batch rounded up to a multiple of this, and never
            over `sequence_length`. Equal to `sequence_length`, it makes every batch one shape.

    Raises:
        UserError: `sequence_length` has no room for a token of each text, or `length_multiple` is not positive.

    Example:
    >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "bad"])
    >>> preprocessor = TextPreprocessor(tokenizer, sequence_length=16, length_multiple=4)
    >>> preprocessor(["A good film", "Bad"])["token_ids"]
    <tf.Tensor: shape=(2, 8), dtype=int32, numpy=
    array([[2, 1, 4, 5, 3, 0, 0, 0],
           [2, 6, 3, 0, 0, 0, 0, 0]], dtype=int32)>
    """

    def __init__(
        self, tokenizer: WordPieceTokenizer, sequence_length: int = 128, pair: bool = False, length_multiple: int = 8
    ):
        self._num_special = 3 if pair else 2  # [CLS], and a [SEP] after each text
        shortest = 2 * self._num_special - 1
        if sequence_length < shortest:
            raise UserError(f"sequence_length {sequence_length} is too short: it must be at least {shortest}.")
        if length_multiple < 1:
            raise UserError(f"length_multiple must be at least 1, not {length_multiple}.")
        self.tokenizer = tokenizer
        self.sequence_length = int(sequence_length)
        self.pair = bool(pair)
        self.length_multiple = int(length_multiple)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the texts, in the order in which they are passed: the string inputs of an export."""
        return ("text", "text_pair") if self.pair else ("text",)

    def __call__(self, texts: tf.Tensor, second_texts: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Makes padded inputs.

        Args:
            texts: string[B], UTF-8.
            second_texts: string[B], for pairs only.

        Returns:
            `{"token_ids": int32[B, T], "segment_ids": int32[B, T], "padding_mask": bool[B, T]}`; True marks a token.

        Raises:
            UserError: The texts are no vectors of strings, or there are not as many as `pair` says.
        """
        with tf.device("CPU:0"):  # Strings live there; in a graph for a GPU the small tensors must not hop to and fro.
            return self._features(*self._packed(texts, second_texts))

    def tokenize(self, texts: tf.Tensor, second_texts: tf.Tensor | None = None) -> tf.RaggedTensor:
        """Makes rows of their own lengths: what `tf.data` groups by length, and what is worth storing.

        Args:
            texts: string[B], UTF-8.
            second_texts: string[B], for pairs only.

        Returns:
            int32[B, None]: ids with special tokens, cut to `sequence_length`. `pad` makes a model's inputs of them.

        Raises:
            UserError: As for a call.
        """
        with tf.device("CPU:0"):
            token_ids, lengths = self._packed(texts, second_texts)
            return tf.RaggedTensor.from_tensor(token_ids, lengths)

    def pad(self, token_ids: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Makes padded inputs of the rows that `tokenize` returned.

        Args:
            token_ids: int[B, None].

        Returns:
            The same as a call on the texts.
        """
        lengths = tf.cast(token_ids.row_lengths(), tf.int32)
        return self._features(tf.cast(token_ids.to_tensor(self.tokenizer.pad_token_id), tf.int32), lengths)

    def save(self, directory: str | os.PathLike) -> None:
        """Writes `preprocessor.json` and `vocab.txt`, from which `load` makes an equal preprocessor."""
        directory = Path(directory)
        config = {
            "schema_version": _SCHEMA_VERSION,
            "sequence_length": self.sequence_length,
            "pair": self.pair,
            "length_multiple": self.length_multiple,
            "tokenizer": {
                "kind": "wordpiece",
                **self.tokenizer.options(),
                "vocabulary": _VOCABULARY_FILE,
                "vocabulary_size": self.tokenizer.vocabulary_size(),
                "vocabulary_sha256": self.tokenizer.vocabulary_sha256(),
            },
        }
        with atomic_file(directory / _VOCABULARY_FILE) as partial:
            self.tokenizer.save_vocabulary(partial)
        with atomic_file(directory / _CONFIG_FILE) as partial:
            partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "TextPreprocessor":
        """Makes the preprocessor that was saved in a directory.

        Raises:
            UserError: The files are missing, damaged, of another schema, or do not belong together.
        """
        file = Path(directory) / _CONFIG_FILE
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): give a saved preprocessor's folder.") from error
        except ValueError as error:
            raise UserError(f"{file} is not JSON: save the preprocessor again.") from error
        version = config.get("schema_version") if isinstance(config, dict) else None
        if version != _SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {version}, this release reads {_SCHEMA_VERSION}: save it again."
            )
        try:
            saved = config["tokenizer"]
            tokenizer = WordPieceTokenizer(
                Path(directory) / _VOCABULARY_FILE, lowercase=saved["lowercase"], strip_accents=saved["strip_accents"]
            )
            if tokenizer.vocabulary_sha256() != saved["vocabulary_sha256"]:
                raise UserError(f"{directory}/{_VOCABULARY_FILE} is not the one that {_CONFIG_FILE} was saved with.")
            return cls(tokenizer, config["sequence_length"], config["pair"], config["length_multiple"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{file} lacks a setting ({error}): save the preprocessor again.") from error

    def _packed(self, texts: tf.Tensor, second_texts: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns int32[B, L] ids, L the longest row, and int32[B] lengths."""
        if (second_texts is not None) != self.pair:
            wanted = "two vectors of texts" if self.pair else "one vector of texts"
            raise UserError(f"This preprocessor takes {wanted}: it was made with pair={self.pair}.")
        segments = [self.tokenizer(text) for text in ([texts, second_texts] if self.pair else [texts])]
        lengths = [tf.cast(segment.row_lengths(), tf.int32) for segment in segments]
        kept = _truncate(lengths, self.sequence_length - self._num_special)

        # Every position of the result names the place its token comes from: a segment, or one of three at the end.
        cls, sep, pad = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.tokenizer.pad_token_id
        source = tf.concat([*(segment.flat_values for segment in segments), [cls, sep, pad]], axis=0)
        cls, sep, pad = (tf.size(source) - back for back in (3, 2, 1))
        row_lengths = tf.add_n(kept) + self._num_special
        longest = tf.maximum(tf.reduce_max(row_lengths), 0)  # the maximum over an empty batch is the least integer
        position = tf.range(longest)[tf.newaxis]  # [1, L]
        place = tf.where(position == 0, cls, pad)
        begin, origin = 1, 0  # where the segment begins in its row; where the rows of the segment begin in the source
        for segment, count in zip(segments, kept):
            start = tf.cast(segment.row_starts(), tf.int32) + origin
            end = begin + count  # [B]
            inside = (position >= _column(begin)) & (position < _column(end))
            place = tf.where(inside, position + _column(start - begin), place)
            place = tf.where(position == _column(end), sep, place)
            begin, origin = end + 1, origin + tf.size(segment.flat_values)
        return tf.gather(source, place), row_lengths

    def _features(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pads int32[B, L] ids of rows with the given lengths to the batch's T and adds masks and segments."""
        longest = tf.shape(token_ids)[1]
        # An empty batch is as long as one of empty texts.
        rounded = -(-tf.maximum(longest, self._num_special) // self.length_multiple) * self.length_multiple
        target = tf.minimum(rounded, self.sequence_length)
        token_ids = tf.pad(token_ids, [[0, 0], [0, target - longest]], constant_values=self.tokenizer.pad_token_id)
        padding_mask = tf.sequence_mask(lengths, target)
        if self.pair:
            # Only packing makes a separator, so the first one of a row ends segment 0.
            separators = tf.cast(token_ids == self.tokenizer.sep_token_id, tf.int32)
            segment_ids = tf.cumsum(separators, axis=1, exclusive=True) * tf.cast(padding_mask, tf.int32)
        else:
            segment_ids = tf.zeros_like(token_ids)
        return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


def _truncate(lengths: list[tf.Tensor], room: int) -> list[tf.Tensor]:
    """Returns int32[B] lengths of one or two segments that together fit into `room` tokens, the longer one cut first.

    Where neither fits into half the room both get half of it, and the longer one (the second of equals) the odd token.
    """
    if len(lengths) == 1:
        return [tf.minimum(lengths[0], room)]
    # Stacking also refuses batches of different sizes, which would otherwise be broadcast.
    first, second = tf.unstack(tf.stack(lengths))
    short = tf.minimum(tf.minimum(first, second), room // 2)
    long = tf.minimum(tf.maximum(first, second), room - short)
    return [tf.where(first > second, long, short), tf.where(first > second, short, long)]


def _column(rows: tf.Tensor | int) -> tf.Tensor:
    """Makes [B] a [B, 1] that goes with positions [1, L]; a number stays one."""
    return rows if isinstance(rows, int) else rows[:, tf.newaxis]
