"""What all tokenisers have: pieces with ids, the special ones among them, and files that hold them."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.files import atomic_file


@dataclass(frozen=True)
class SpecialTokens:
    """The pieces that mark a sequence's structure, by their part in it; None for one that a family does without.

    Attributes:
        pad: Fills rows up.
        unk: Stands for what the vocabulary cannot spell.
        cls: Stands for the whole sequence.
        sep: Ends a text.
        mask: Hides a token that is to be guessed.
    """

    pad: str | None
    unk: str | None
    cls: str | None
    sep: str | None
    mask: str | None

    def names(self) -> list[str]:
        """Returns the pieces that there are, each once, in the order above."""
        return list(dict.fromkeys(token for token in astuple(self) if token is not None))


BERT_TOKENS = SpecialTokens("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_TOKENS = SpecialTokens("<pad>", "<unk>", "<s>", "</s>", "<mask>")
ALBERT_TOKENS = SpecialTokens("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
XLNET_TOKENS = SpecialTokens("<pad>", "<unk>", "<cls>", "<sep>", "<mask>")
T5_TOKENS = SpecialTokens("<pad>", "<unk>", None, "</s>", None)
GPT2_TOKENS = SpecialTokens("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", None)


class Tokenizer:
    """The part that tokenisers share; a subclass adds `__call__`, `detokenize` and how its files are made and read.

    Args:
        pieces: The pieces in the order of their ids.
        special_tokens: Which of them are special.

    Attributes:
        kind: The tokeniser's name in a saved preprocessor.
        special_tokens: The special pieces.
        pad_token_id, unk_token_id, cls_token_id, sep_token_id, mask_token_id: Their ids, or None where the vocabulary
            has none.

    Raises:
        UserError: There are no pieces, or one stands there twice.
    """

    kind: str

    def __init__(self, pieces: Sequence[str], special_tokens: SpecialTokens):
        if not pieces:
            raise UserError(
                f"The vocabulary is empty: give its pieces, {_listed(special_tokens.names()[:4])} among them."
            )
        self._pieces = list(pieces)
        self._ids = {piece: id for id, piece in enumerate(self._pieces)}
        if len(self._ids) < len(self._pieces):
            twice = next(piece for piece, count in Counter(self._pieces).items() if count > 1)
            raise UserError(f"The vocabulary holds {twice!r} more than once: every piece needs one id.")
        self.special_tokens = special_tokens
        ids = {f"{part}_token_id": self._ids.get(token) for part, token in asdict(special_tokens).items()}
        vars(self).update(ids)

    def require(self, *parts: str) -> None:
        """Makes sure that the vocabulary has special tokens for some parts, as in `tokenizer.require("mask")`.

        Raises:
            UserError: It lacks one.
        """
        lacking = [part for part in parts if getattr(self, f"{part}_token_id") is None]
        if lacking:
            tokens = [getattr(self.special_tokens, part) or f"a {part} token" for part in lacking]
            raise UserError(f"The vocabulary lacks {_listed(tokens)}: add what a vocabulary of this family has.")

    def vocabulary_size(self) -> int:
        """Returns the number of pieces, V."""
        return len(self._pieces)

    def get_vocabulary(self) -> list[str]:
        """Returns the pieces in the order of their ids."""
        return list(self._pieces)

    def id_to_token(self, id: int) -> str:
        """Returns the piece with an id.

        Raises:
            UserError: There is no such id.
        """
        if not 0 <= id < len(self._pieces):
            raise UserError(f"There is no token {id}: ids go from 0 to {len(self._pieces) - 1}.")
        return self._pieces[id]

    def token_to_id(self, token: str) -> int:
        """Returns the id of a piece.

        Raises:
            UserError: The vocabulary lacks the piece.
        """
        if token not in self._ids:
            raise UserError(f"The vocabulary has no piece {token!r}.")
        return self._ids[token]

    def special_token_ids(self) -> list[int]:
        """Returns the ids of the special tokens that the vocabulary has."""
        return [self._ids[token] for token in self.special_tokens.names() if token in self._ids]

    def tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Tokenises a batch of texts and says which bytes of each text a piece comes from.

        Offsets are those of the text as it was given, whatever the tokeniser made of it: `text[start:limit]` is UTF-8
        where `text` was, and a character that became several pieces is whole in each of them, but for pieces of bytes.
        A blank that a piece begins with is part of it.

        Args:
            text: string[B], UTF-8; undecodable bytes become U+FFFD, whose place is theirs.

        Returns:
            int32[B, None] ids, as the tokeniser gives them without offsets; int64[B, None] the byte at which each piece
            begins; and int64[B, None] the byte at which it has ended.

        Raises:
            UserError: `text` is not a vector of strings.
        """
        raise NotImplementedError

    def word_starts(self) -> np.ndarray:
        """Says which pieces begin a word, for whole-word masks; special tokens are words of their own.

        Returns:
            bool[V]. The first piece of a text begins a word whatever it is.
        """
        special = set(self.special_tokens.names())
        return np.array([piece in special or self._begins_word(piece) for piece in self._pieces])

    def _begins_word(self, piece: str) -> bool:
        raise NotImplementedError

    def options(self) -> dict:
        """Returns the arguments besides the vocabulary."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """Returns the files that the vocabulary is saved as, by their names."""
        raise NotImplementedError

    @classmethod
    def load(cls, directory: str | os.PathLike, **options) -> "Tokenizer":
        """Makes a tokeniser of the files that `save` wrote and of what `options` returned."""
        raise NotImplementedError

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the vocabulary's files into a directory."""
        for name, content in self.files().items():
            with atomic_file(Path(directory) / name) as partial:
                partial.write_bytes(content)

    def vocabulary_sha256(self) -> str:
        """Returns the checksum of the saved files' content."""
        return hashlib.sha256(b"".join(self.files().values())).hexdigest()

    def _without_special(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
        """Returns int[B, None]: the ids without padding and the marks of a sequence's structure."""
        if not isinstance(token_ids, tf.RaggedTensor):
            token_ids = tf.RaggedTensor.from_tensor(token_ids)
        added = {self.pad_token_id, self.cls_token_id, self.sep_token_id} - {None}
        kept = tf.reduce_all([token_ids.flat_values != id for id in sorted(added)], axis=0)
        return tf.ragged.boolean_mask(token_ids, token_ids.with_flat_values(kept))


def read_file(file: Path, wanted: str) -> bytes:
    """Returns a vocabulary file's content.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"The vocabulary {file} cannot be read ({error.strerror}): give a {wanted}.") from error


def read_text(file: Path, wanted: str) -> str:
    """Returns a vocabulary file's text.

    Raises:
        UserError: It cannot be read or is not UTF-8.
    """
    try:
        return read_file(file, wanted).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"The vocabulary {file} is not UTF-8 text: give a {wanted}.") from error


def _listed(tokens: Sequence[str]) -> str:
    *first, last = tokens
    return f"{', '.join(first)} and {last}" if first else last
