"""Contiguous text for models with memory: every row of a batch reads on where it stopped in the batch before.

Transformer-XL (Dai et al., arXiv:1901.02860), section 3.2: a segment attends to the states of the one before it, so
that batches must bring a text's segments in their order. All documents, one after the other, are one text; it is cut
into as many equal streams as a batch has rows, and batch s holds the s-th stretch of every stream. As in the papers'
code memory goes over the ends of documents (put a token there that says so) and is empty at the beginning of an epoch.
XLNet (arXiv:1906.08237), section 3.1, reads half of the rows backwards, `both_directions`, and keeps the memory of a
part of each stretch, behind which the next one begins: `step`.

Cost: O(tokens) an epoch; one copy of the text's order, 8 bytes a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError


class TextStreams:
    """Batches of stretches of text, for `CausalPretrainer` or, as `CorruptedBatches`, for `PermutationPretrainer`.

    A batch's inputs are `token_ids`, `segment_ids`, `padding_mask` and `is_start` bool[B], True where a row has
    no past; its targets are `row` int64[B], a number for every stretch of an epoch, `labels` int32[B, T], the token
    after each, `weights` float32[B, T], 0 where the stream has none, and those that were given. The order of the
    documents in epoch e depends only on the seed and on e.

    Args:
        token_ids: Ragged int[documents, None].
        batch_size: rows, B.
        length: tokens of a stretch, T.
        step: tokens from one stretch's beginning to the next one's; the default is `length`. It is the backbone's
            `reuse_length` where that is set, which `PermutedText` must be told too.
        both_directions: Whether half of the rows read the text backwards; an epoch then reads it twice.
        segment_ids: Ragged int[documents, None]; zeros by default.
        targets: Ragged [documents, None] by name, something of every token, which is cut as the tokens are.
        seed: Decides the order.

    Raises:
        UserError: There is not a token for every row, `batch_size` is odd with both directions, or `step` leaves out
            tokens.
        ValueError: Rows of segment ids or of a target are not as long as the documents.

    Example:
    >>> import tensorflow as tf
    >>> streams = TextStreams(tf.ragged.constant([[1, 2, 3, 4], [5, 6, 7, 8]]), batch_size=2, length=2)
    >>> [inputs["token_ids"].numpy().tolist() for inputs, _ in streams.in_order()]
    [[[1, 2], [5, 6]], [[3, 4], [7, 8]]]
    """

    def __init__(
        self,
        token_ids: tf.RaggedTensor,
        batch_size: int,
        length: int,
        *,
        step: int | None = None,
        both_directions: bool = False,
        segment_ids: tf.RaggedTensor | None = None,
        targets: Mapping[str, tf.RaggedTensor] | None = None,
        seed: int = 0,
    ):
        step = length if step is None else step
        if not 1 <= step <= length:
            raise UserError(f"step={step} must be between 1 and the length of a stretch, {length}.")
        if both_directions and batch_size % 2:
            raise UserError(f"batch_size={batch_size} is odd: half of the rows cannot read backwards.")
        streams = batch_size // 2 if both_directions else batch_size
        splits = token_ids.row_splits.numpy()
        if splits[-1] < streams:
            raise UserError(f"{splits[-1]} tokens are too few for {streams} streams: give more text or fewer rows.")
        segment_ids = tf.zeros_like(token_ids) if segment_ids is None else segment_ids
        told = {"segment_ids": segment_ids, **(targets or {})}
        for name, values in told.items():
            if not np.array_equal(values.row_splits.numpy(), splits):
                raise ValueError(f"{name!r} must have as many numbers in every row as there are tokens.")
        self._columns = {name: values.flat_values.numpy() for name, values in told.items()}
        self._tokens, self._segments = (
            values.astype("int32") for values in (token_ids.flat_values.numpy(), self._columns.pop("segment_ids"))
        )
        self._splits = splits
        self.token_ids = token_ids
        self.batch_size = batch_size
        self.length = length
        self.step = step
        self.both_directions = both_directions
        self.seed = seed
        # A stream's tokens; the last stream may have fewer.
        self.stream_length = -(-int(splits[-1]) // streams)
        # What `CorruptedBatches` asks for.
        self.targets = {"row": np.arange(len(self) * batch_size), **(targets or {})}

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return 1 + -(-max(0, self.stream_length - self.length) // self.step)

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of the epochs from `first_epoch` up to, not including, `epochs`."""

        def texts():
            documents = len(self._splits) - 1
            for epoch in range(first_epoch, epochs):
                order = np.random.default_rng((self.seed, epoch)).permutation(documents)
                yield np.concatenate([np.arange(self._splits[d], self._splits[d + 1]) for d in order])

        return self._dataset(texts)

    def in_order(self) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of the documents in the order that they were given in."""
        # Keras asks a dataset that does not tell its length for one batch more than there is.
        length = tf.data.experimental.assert_cardinality(len(self))
        return self._dataset(lambda: iter([np.arange(self._splits[-1])])).apply(length)

    def _dataset(self, texts: Callable[[], Iterator[np.ndarray]]):
        def batches():
            for text in texts():
                for number in range(len(self)):
                    yield self._batch(text, number)

        shape = (self.batch_size, self.length)
        inputs = {
            "token_ids": tf.TensorSpec(shape, tf.int32),
            "segment_ids": tf.TensorSpec(shape, tf.int32),
            "padding_mask": tf.TensorSpec(shape, tf.bool),
            "is_start": tf.TensorSpec(shape[:1], tf.bool),
        }
        targets = {
            "row": tf.TensorSpec(shape[:1], tf.int64),
            "labels": tf.TensorSpec(shape, tf.int32),
            "weights": tf.TensorSpec(shape, tf.float32),
        }
        targets |= {name: tf.TensorSpec(shape, values.dtype) for name, values in self._columns.items()}
        return tf.data.Dataset.from_generator(batches, output_signature=(inputs, targets)).prefetch(4)

    def _batch(self, text, number):
        """One batch of a text, which is the places of its tokens."""
        places, is_real = self._places(len(text), number * self.step, self.length + 1)
        tokens, labels = np.split(self._tokens[text[places]] * is_real, [self.length], axis=1)
        labels = np.concatenate([tokens[:, 1:], labels], axis=1)
        here, behind = is_real[:, :-1], is_real[:, 1:]
        inputs = {
            "token_ids": tokens,
            "segment_ids": self._segments[text[places[:, :-1]]] * here,
            "padding_mask": here,
            "is_start": np.full(self.batch_size, number == 0),
        }
        targets = {
            "row": number * self.batch_size + np.arange(self.batch_size),
            "labels": labels,
            "weights": behind.astype("float32"),
        }
        for name, values in self._columns.items():
            targets[name] = values[text[places[:, :-1]]] * here
        return inputs, targets

    def _places(self, tokens, start, count):
        """Where in the text `count` tokens of every stream lie, int[B, count], and which of them there are."""
        streams = self.batch_size // (2 if self.both_directions else 1)
        firsts = np.arange(streams)[:, None] * self.stream_length
        sizes = np.clip(tokens - firsts, 0, self.stream_length)  # [streams, 1]
        offsets = start + np.arange(count)[None]
        is_real = offsets < sizes
        places = np.where(is_real, firsts + offsets, 0)
        if self.both_directions:
            backward = np.where(is_real, firsts + sizes - 1 - offsets, 0)
            places, is_real = np.concatenate([places, backward]), np.concatenate([is_real, is_real])
        return places, is_real
