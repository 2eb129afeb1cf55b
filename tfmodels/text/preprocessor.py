"""From texts to a model's inputs: tokenised, packed with special tokens, cut to length and padded."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.files import atomic_file
from tfmodels.text.bpe import BPETokenizer, ByteLevelBPETokenizer
from tfmodels.text.formats import BERT_FORMAT, SPECIAL_PARTS, TEXT_PARTS, SequenceFormat
from tfmodels.text.hf import load_hf_tokenizer
from tfmodels.text.sentencepiece import SentencePieceTokenizer
from tfmodels.text.vocabulary import BERT_TOKENS, SpecialTokens, Tokenizer
from tfmodels.text.wordpiece import WordPieceTokenizer

# Version 1 knew WordPiece and BERT's format only and named neither; it is read as that.
_SCHEMA_VERSION = 2
_READ_VERSIONS = (1, 2)
_CONFIG_FILE = "preprocessor.json"
_TOKENIZERS = {
    kind.kind: kind for kind in (WordPieceTokenizer, ByteLevelBPETokenizer, BPETokenizer, SentencePieceTokenizer)
}


class TextPreprocessor:
    """Makes the inputs of a backbone from texts or pairs of texts.

    The format says where special tokens go: BERT's makes `[CLS] a [SEP]` of a text and `[CLS] a [SEP] b [SEP]` of a
    pair, where segment 1 begins with b; see `tfmodels.text.formats`. What is too long is cut at its end; of a pair the
    longer text is cut first, and both to halves where neither fits, exactly as Hugging Face's "longest_first" does it.

    Args:
        tokenizer: The tokeniser.
        sequence_length: The most tokens of a row, special ones included.
        pair: Take two texts a row instead of one.
        length_multiple: Rows are padded to the longest one of their batch rounded up to a multiple of this, and never
            over `sequence_length`. Equal to `sequence_length`, it makes every batch one shape.
        format: Where the special tokens and segments of the model's family go.

    Raises:
        UserError: `sequence_length` has no room for a token of each text, `length_multiple` is not positive, or the
            vocabulary lacks a special token of the format.

    Example:
    >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "bad"])
    >>> preprocessor = TextPreprocessor(tokenizer, sequence_length=16, length_multiple=4)
    >>> preprocessor(["A good film", "Bad"])["token_ids"]
    <tf.Tensor: shape=(2, 8), dtype=int32, numpy=
    array([[2, 1, 4, 5, 3, 0, 0, 0],
           [2, 6, 3, 0, 0, 0, 0, 0]], dtype=int32)>
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int = 128,
        pair: bool = False,
        length_multiple: int = 8,
        format: SequenceFormat = BERT_FORMAT,
    ):
        self._parts = format.parts(pair)
        special = [part for part, _ in self._parts if part not in TEXT_PARTS]
        tokenizer.require("pad", *dict.fromkeys(special))
        self._num_special = len(special)
        shortest = self._num_special + (2 if pair else 1)
        if sequence_length < shortest:
            raise UserError(f"sequence_length {sequence_length} is too short: it must be at least {shortest}.")
        if length_multiple < 1:
            raise UserError(f"length_multiple must be at least 1, not {length_multiple}.")
        self.tokenizer = tokenizer
        self.sequence_length = int(sequence_length)
        self.pair = bool(pair)
        self.length_multiple = int(length_multiple)
        self.format = format
        self._segments = _segment_tables(self._parts)

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

    def segments(self, token_ids: tf.RaggedTensor) -> tf.RaggedTensor | None:
        """The segments of the rows that `tokenize` returned, int32[B, None]; None where all are 0."""
        if not any(segment for _, segment in self._parts):
            return None
        return tf.RaggedTensor.from_tensor(self.pad(token_ids)["segment_ids"], lengths=token_ids.row_lengths())

    def save(self, directory: str | os.PathLike) -> None:
        """Writes `preprocessor.json` and the vocabulary's files, from which `load` makes an equal preprocessor."""
        directory = Path(directory)
        tokenizer = self.tokenizer
        config = {
            "schema_version": _SCHEMA_VERSION,
            "sequence_length": self.sequence_length,
            "pair": self.pair,
            "length_multiple": self.length_multiple,
            "format": self.format.to_config(),
            "tokenizer": {
                "kind": tokenizer.kind,
                "options": tokenizer.options(),
                "special_tokens": asdict(tokenizer.special_tokens),
                "files": list(tokenizer.files()),
                "vocabulary_size": tokenizer.vocabulary_size(),
                "vocabulary_sha256": tokenizer.vocabulary_sha256(),
            },
        }
        tokenizer.save(directory)
        with atomic_file(directory / _CONFIG_FILE) as partial:
            partial.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

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
        if version not in _READ_VERSIONS:
            raise UserError(
                f"{file} has schema version {version}, this release reads {_SCHEMA_VERSION}: save it again."
            )
        try:
            if version == 1:
                config = _from_version_1(config)
            saved = config["tokenizer"]
            tokenizer = _load_tokenizer(saved, Path(directory))
            if tokenizer.vocabulary_sha256() != saved["vocabulary_sha256"]:
                files = " and ".join(tokenizer.files())
                raise UserError(f"{files} in {directory} is not the one that {_CONFIG_FILE} was saved with.")
            format = SequenceFormat.of(**config["format"])
            return cls(tokenizer, config["sequence_length"], config["pair"], config["length_multiple"], format)
        except (KeyError, TypeError) as error:
            raise UserError(f"{file} lacks a setting ({error}): save the preprocessor again.") from error

    @classmethod
    def from_hf(
        cls,
        directory: str | os.PathLike,
        sequence_length: int = 128,
        pair: bool = False,
        length_multiple: int = 8,
    ) -> "TextPreprocessor":
        """Makes the preprocessor of a model in Hugging Face's layout.

        Raises:
            UserError: As `load_hf_tokenizer` does.
        """
        tokenizer, format = load_hf_tokenizer(directory)
        return cls(tokenizer, sequence_length, pair, length_multiple, format)

    def _packed(self, texts: tf.Tensor, second_texts: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns int32[B, L] ids, L the longest row, and int32[B] lengths."""
        if (second_texts is not None) != self.pair:
            wanted = "two vectors of texts" if self.pair else "one vector of texts"
            raise UserError(f"This preprocessor takes {wanted}: it was made with pair={self.pair}.")
        segments = [self.tokenizer(text) for text in ([texts, second_texts] if self.pair else [texts])]
        lengths = [tf.cast(segment.row_lengths(), tf.int32) for segment in segments]
        kept = _truncate(lengths, self.sequence_length - self._num_special)

        # Every position of the result names the place its token comes from: in a text, or a special one at the end.
        special = {part: getattr(self.tokenizer, f"{part}_token_id") for part in ("pad", *SPECIAL_PARTS)}
        special = {part: id for part, id in special.items() if id is not None}
        source = tf.concat([*(segment.flat_values for segment in segments), list(special.values())], axis=0)
        special = {part: tf.size(source) - back for part, back in zip(special, range(len(special), 0, -1))}
        row_lengths = tf.add_n(kept) + self._num_special
        longest = tf.maximum(tf.reduce_max(row_lengths), 0)  # the maximum over an empty batch is the least integer
        position = tf.range(longest)[tf.newaxis]  # [1, L]
        place = special["pad"]
        begin = 0  # where the part begins in its row
        origins = [
            0,
            *(tf.size(segment.flat_values) for segment in segments),
        ]  # where each text's rows begin in the source
        for part, _ in self._parts:
            if part in TEXT_PARTS:
                text = TEXT_PARTS.index(part)
                start = tf.cast(segments[text].row_starts(), tf.int32) + origins[text]
                end = begin + kept[text]  # [B]
                inside = (position >= _column(begin)) & (position < _column(end))
                place = tf.where(inside, position + _column(start - begin), place)
                begin = end
            else:
                place = tf.where(position == _column(begin), special[part], place)
                begin = begin + 1
        return tf.gather(source, place), row_lengths

    def _features(self, token_ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pads int32[B, L] ids of rows with the given lengths to the batch's T and adds masks and segments."""
        longest = tf.shape(token_ids)[1]
        # An empty batch is as long as one of empty texts.
        rounded = -(-tf.maximum(longest, self._num_special) // self.length_multiple) * self.length_multiple
        target = tf.minimum(rounded, self.sequence_length)
        token_ids = tf.pad(token_ids, [[0, 0], [0, target - longest]], constant_values=self.tokenizer.pad_token_id)
        padding_mask = tf.sequence_mask(lengths, target)
        return {
            "token_ids": token_ids,
            "segment_ids": self._segment_ids(token_ids, padding_mask),
            "padding_mask": padding_mask,
        }

    def _segment_ids(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """Tells the segments int32[B, T] by the ids: only packing makes special tokens, so the nth is the format's."""
        of_special, of_text = self._segments
        if not any((*of_special, *of_text)):
            return tf.zeros_like(token_ids)
        special = tf.zeros_like(padding_mask)
        for id in sorted(
            {getattr(self.tokenizer, f"{part}_token_id") for part, _ in self._parts if part in SPECIAL_PARTS}
        ):
            special |= token_ids == id
        special &= padding_mask
        before = tf.cumsum(tf.cast(special, tf.int32), axis=1, exclusive=True)
        segments = tf.where(special, tf.gather(of_special, before), tf.gather(of_text, before))
        return segments * tf.cast(padding_mask, tf.int32)


def _segment_tables(parts: Sequence[tuple[str, int]]) -> tuple[list[int], list[int]]:
    """Returns the segments of a row's special tokens and of the texts after n of them, n from 0 to all of them."""
    of_special, of_text = [], [0]
    for part, segment in parts:
        if part in SPECIAL_PARTS:
            of_special.append(segment)
            of_text.append(0)
        else:
            of_text[-1] = segment
    return [*of_special, 0], of_text  # one more, for padding after the last of them


def _load_tokenizer(saved: dict, directory: Path) -> Tokenizer:
    kind = _TOKENIZERS.get(saved["kind"])
    if kind is None:
        known = ", ".join(_TOKENIZERS)
        raise UserError(f"{directory} was saved with a tokeniser {saved['kind']!r}, this release knows {known}.")
    options = dict(saved["options"])
    if kind is not WordPieceTokenizer:  # whose special tokens are BERT's
        options["special_tokens"] = SpecialTokens(**saved["special_tokens"])
    return kind.load(directory, **options)


def _from_version_1(config: dict) -> dict:
    tokenizer = config["tokenizer"]
    options = {name: tokenizer[name] for name in ("lowercase", "strip_accents")}
    tokenizer = {**tokenizer, "options": options, "special_tokens": asdict(BERT_TOKENS)}
    return {**config, "format": BERT_FORMAT.to_config(), "tokenizer": tokenizer}


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
