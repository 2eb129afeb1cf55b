"""Where the characters of a changed text come from in the text as it was given, as TensorFlow operations.

Tokenisers change text before they cut it: undecodable bytes are replaced, letters lowered, accents removed. What
changes it character by character is applied here to the distinct characters of a batch, and every character of the
result keeps the bytes of the one that it was made of. Where one becomes several they share them; one that vanishes
leaves its bytes to none, as in Hugging Face's `tokenizers`.

Cost: time and memory O(C) for the C characters of a batch, beside the tokeniser's own.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Code points that stand for no character, which `tf.strings.unicode_encode` therefore replaces. Texts may hold them.
_NO_CHARACTERS = sorted(
    [*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF))]
)


class Trace(NamedTuple):
    """The characters of a batch of texts, and the bytes of the original text that each comes from.

    Attributes:
        codes: int32[B, None]: code points.
        starts: int64[C]: the byte at which the origin of each character begins in its row's text.
        limits: int64[C]: the byte at which it has ended.
    """

    codes: tf.RaggedTensor
    starts: tf.Tensor
    limits: tf.Tensor

    @classmethod
    def of(cls, text: tf.Tensor) -> "Trace":
        """The characters of string[B]; undecodable bytes are U+FFFD, each as long as what it stands for."""
        codes, starts = tf.strings.unicode_decode_with_offsets(
            text, "UTF-8", errors="replace", replace_control_characters=False
        )
        row = codes.value_rowids()
        # A character ends where its row's next one begins, the last one where the text does.
        is_last = tf.concat([tf.not_equal(row[1:], row[:-1]), [True]], 0)[: tf.size(row)]
        following = tf.concat([starts.values[1:], [0]], 0)[: tf.size(row)]
        sizes = tf.cast(tf.strings.length(text), tf.int64)
        return cls(codes, starts.values, tf.where(is_last, tf.gather(sizes, row), following))

    def text(self) -> tf.Tensor:
        """string[B]: the characters as UTF-8."""
        distinct, which = tf.unique(self.codes.values)
        return tf.strings.reduce_join(self.codes.with_values(tf.gather(_encode(distinct), which)), axis=-1)

    def change(self, function: Callable[[tf.Tensor], tf.Tensor]) -> "Trace":
        """Changes every character by itself.

        Args:
            function: From string[U], one character each, to string[U] of none, one or several.

        Returns:
            The characters of all results.
        """
        distinct, which = tf.unique(self.codes.values)
        changed = function(_encode(distinct))
        made = tf.gather(decode(changed), which)
        codes = tf.RaggedTensor.from_row_splits(
            made.values, tf.gather(made.row_splits, self.codes.row_splits), validate=False
        )
        origin = made.value_rowids()
        return Trace(codes, tf.gather(self.starts, origin), tf.gather(self.limits, origin))

    def keep(self, kept: tf.Tensor) -> "Trace":
        """The characters where bool[C] is true; those left out leave their bytes to the one before."""
        codes = tf.ragged.boolean_mask(self.codes, self.codes.with_values(kept))
        follows = tf.concat([~kept[1:], [False]], 0)[: tf.size(kept)]
        following = tf.concat([self.limits[1:], [0]], 0)[: tf.size(kept)]
        limits = tf.where(follows, following, self.limits)
        return Trace(codes, tf.boolean_mask(self.starts, kept), tf.boolean_mask(limits, kept))

    def byte_starts(self) -> tf.RaggedTensor:
        """int64[B, None]: the byte of `text()` at which each character begins."""
        _, begins, rows = self._bytes()
        return self.codes.with_values(begins - tf.gather(rows, self.codes.value_rowids()))

    def origins(self, starts: tf.RaggedTensor, limits: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Takes places in `text()` to places in the original.

        Args:
            starts: int64[B, None]: the bytes of `text()` at which pieces begin.
            limits: int64[B, None]: the bytes at which they have ended.

        Returns:
            int64[B, None] twice: the same of the original text. A place within a character is as far within its origin,
            or at its end.
        """
        ends, begins, rows = self._bytes()
        row = tf.gather(rows, starts.value_rowids())

        def place(places, side):
            places = places.values + row
            # One more, for an empty piece behind the last character.
            holder = tf.minimum(tf.searchsorted(ends, places, side=side), tf.size(ends) - 1)
            whole = tf.equal(places, tf.gather(ends, holder))
            within = tf.gather(self.starts, holder) + places - tf.gather(begins, holder)
            limit = tf.gather(self.limits, holder)
            return tf.where(whole, limit, tf.minimum(within, limit))

        begun, ended = place(starts, "right"), place(limits, "left")
        # Where nothing lies between two places, what ended before may be another text.
        ended = tf.where(limits.values > starts.values, ended, begun)
        return starts.with_values(begun), limits.with_values(ended)

    def _bytes(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """int64[C] where each character ends and begins in all texts put together, int64[B] where each row begins."""
        codes = self.codes.values
        widths = 1 + tf.add_n([tf.cast(codes >= least, tf.int64) for least in (0x80, 0x800, 0x10000)])
        ends = tf.cumsum(widths)
        rows = tf.gather(tf.concat([[0], ends], 0), self.codes.row_splits[:-1])
        return ends, ends - widths, rows


def decode(text: tf.Tensor) -> tf.RaggedTensor:
    """int32[B, None]: the code points of string[B]; undecodable bytes are U+FFFD."""
    return tf.strings.unicode_decode(text, "UTF-8", replace_control_characters=False)


def _encode(codes: tf.Tensor) -> tf.Tensor:
    """string[U]: the UTF-8 of int32[U] code points."""
    place = tf.minimum(tf.searchsorted(_NO_CHARACTERS, codes), len(_NO_CHARACTERS) - 1)
    is_none = tf.equal(tf.gather(_NO_CHARACTERS, place), codes)
    none = tf.gather([chr(code).encode() for code in _NO_CHARACTERS], place)
    return tf.where(is_none, none, tf.strings.unicode_encode(codes[:, tf.newaxis], "UTF-8"))
