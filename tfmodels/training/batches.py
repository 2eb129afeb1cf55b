"""Batches of token sequences: grouped by length so that little is padding, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError

# Rows are sorted by length within pools of this many batches: small enough to stay random, large enough to pad little.
_POOL = 64

# What every model is called on, as TensorFlow traces it.
INPUT_SIGNATURE = {
    "token_ids": tf.TensorSpec([None, None], tf.int32),
    "segment_ids": tf.TensorSpec([None, None], tf.int32),
    "padding_mask": tf.TensorSpec([None, None], tf.bool),
}


class Batches:
    """Rows of token ids with their targets, as length-bucketed batches in a new order every epoch.

    The order of epoch e depends only on the seed and on e, so that a run which was killed goes on with the batches
    that it would have seen.

    Args:
        token_ids: Ragged int[rows, None], special tokens included.
        targets: Arrays or ragged tensors with one row for each row of `token_ids`, by name. A ragged target is padded
            with zeros to the length of its batch.
        batch_size: rows.
        segment_ids: Ragged int[rows, None]; the default is all zeros.
        bucket_lengths: tokens, ascending; a batch is padded to the first bucket that holds its longest row. The
            default pads to the next multiple of 8. Give a few buckets where every new shape means a compilation.
        features: Further inputs, as `targets`, for models that take more than tokens; a ragged one is padded with zeros
            to its own longest row in the batch, rounded up to a multiple of 8.
        groups: int[rows], a number for every row; rows of one number follow each other and come in one batch, such as
            the candidates of a query that are compared with each other. A batch has as many groups as the largest one
            leaves room for, so that it may have fewer rows than `batch_size`. The default is a group for every row.
        seed: Decides the order.

    Raises:
        UserError: Rows of a group do not follow each other, or are more than a batch has.
        ValueError: There are no rows, a row is longer than the last bucket, or a target or a feature has another number
            of rows.
    """

    def __init__(
        self,
        token_ids: tf.RaggedTensor,
        targets: Mapping[str, np.ndarray | tf.RaggedTensor],
        batch_size: int,
        *,
        segment_ids: tf.RaggedTensor | None = None,
        bucket_lengths: Sequence[int] | None = None,
        features: Mapping[str, np.ndarray | tf.RaggedTensor] | None = None,
        groups: np.ndarray | None = None,
        seed: int = 0,
    ):
        self.token_ids = tf.cast(token_ids, tf.int32)
        self.targets = dict(targets)
        self.features = dict(features or {})
        self.batch_size = batch_size
        self.segment_ids = None if segment_ids is None else tf.cast(segment_ids, tf.int32)
        self.lengths = token_ids.row_lengths().numpy()
        self.seed = seed
        if not len(self.lengths):
            raise ValueError("there are no rows to make batches of.")
        for kind, arrays in (("target", self.targets), ("feature", self.features)):
            for name, values in arrays.items():
                if values.shape[0] != len(self.lengths):
                    raise ValueError(f"{kind} {name!r} has {values.shape[0]} rows, but there are {len(self.lengths)}.")
        if bucket_lengths is None:
            bucket_lengths = range(8, int(self.lengths.max()) + 8, 8)
        self.bucket_lengths = np.asarray(bucket_lengths)
        if self.lengths.max() > self.bucket_lengths[-1]:
            raise ValueError(
                f"a row of {self.lengths.max()} tokens is longer than the last bucket, {bucket_lengths[-1]}."
            )
        self.groups = np.arange(len(self.lengths)) if groups is None else np.asarray(groups)
        self._bounds, self._groups_a_batch = _bounds_of(self.groups, len(self.lengths), batch_size)

    def check(self, backbone) -> None:
        """Makes sure that a backbone can read every row.

        Raises:
            UserError: A row has a token that the backbone does not know, or is too long for it; it is named.
        """
        size, longest = backbone.config.vocabulary_size, backbone.max_length
        ids = self.token_ids.values.numpy()
        unknown = np.flatnonzero((ids < 0) | (ids >= size))
        if len(unknown):
            row = np.searchsorted(self.token_ids.row_splits, unknown[0], side="right") - 1
            raise UserError(
                f"row {row} holds the token {ids[unknown[0]]}, but {backbone.name} knows those from 0 to {size - 1}: "
                "use the tokeniser that the model was made for."
            )
        if longest is not None and self.lengths.max() > longest:
            row = self.lengths.argmax()
            raise UserError(
                f"row {row} has {self.lengths[row]} tokens, but {backbone.name} takes at most {longest}: cut the rows, "
                "or make the model with a larger max_sequence_length."
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-(len(self._bounds) - 1) // self._groups_a_batch)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of every batch of an epoch, in order."""
        random = np.random.default_rng((self.seed, epoch))
        groups = random.permutation(len(self._bounds) - 1)
        lengths = np.maximum.reduceat(self.lengths, self._bounds[:-1])
        batches, size = [], self._groups_a_batch
        for start in range(0, len(groups), size * _POOL):
            pool = groups[start : start + size * _POOL]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [self._rows_of(pool[i : i + size]) for i in range(0, len(pool), size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _rows_of(self, groups) -> np.ndarray:
        """The row numbers of groups."""
        if len(self._bounds) > len(self.lengths):  # a group for every row
            return groups
        return np.concatenate([np.arange(self._bounds[group], self._bounds[group + 1]) for group in groups])

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of the epochs from `first_epoch` up to, not including, `epochs`."""

        def row_numbers():
            for epoch in range(first_epoch, epochs):
                yield from self.plan(epoch)

        return self._batches(row_numbers)

    def in_order(self) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of all rows in the order that they were given in."""
        rows = np.arange(len(self.lengths))
        starts = self._bounds[: -1 : self._groups_a_batch]
        dataset = self._batches(lambda: iter(np.split(rows, starts[1:])))
        # Keras would look for one batch more, and the means that count batches would count it.
        return dataset.apply(tf.data.experimental.assert_cardinality(len(starts)))

    def with_targets(self, targets: Mapping[str, np.ndarray | tf.RaggedTensor]) -> Batches:
        """The same rows with more targets."""
        return Batches(
            self.token_ids,
            {**self.targets, **targets},
            self.batch_size,
            segment_ids=self.segment_ids,
            bucket_lengths=self.bucket_lengths,
            features=self.features,
            groups=self.groups,
            seed=self.seed,
        )

    def outputs_of(self, model, dtype="float32") -> dict[str, np.ndarray | tf.RaggedTensor]:
        """A model's outputs for every row, in the rows' order, computed in batches of equal length.

        Args:
            model: Takes a batch's inputs and returns a dict of [B, ...] and [B, T, ...] tensors.
            dtype: What the outputs are kept in; float16 halves the memory of hidden states.

        Returns:
            Arrays [rows, ...] by name; ragged [rows, None, ...] tensors where an output has a length axis.

        Raises:
            ValueError: An output has a length on a later axis, as attention scores have.
        """
        by_length = np.argsort(self.lengths, kind="stable")
        starts = range(0, len(by_length), self.batch_size)

        signature = {**INPUT_SIGNATURE, **{name: _signature(values) for name, values in self.features.items()}}

        @tf.function(input_signature=[signature])
        def apply(inputs):
            return model(inputs, training=False)

        shapes = {name: spec.shape for name, spec in apply.get_concrete_function().structured_outputs.items()}
        for name, shape in shapes.items():
            if None in shape[2:]:
                raise ValueError(f"{name} {shape} has a length beside its second axis: compute it batch by batch.")
        parts = {}
        for inputs, _ in self._batches(lambda: (by_length[start : start + self.batch_size] for start in starts)):
            for name, value in apply(inputs).items():
                value = tf.cast(value, dtype)
                if shapes[name].rank > 1 and shapes[name][1] is None:
                    value = tf.RaggedTensor.from_tensor(
                        value, lengths=tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int64), 1)
                    )
                parts.setdefault(name, []).append(value)
        back = np.argsort(by_length)
        outputs = {name: tf.gather(tf.concat(values, axis=0), back) for name, values in parts.items()}
        return {name: v if isinstance(v, tf.RaggedTensor) else v.numpy() for name, v in outputs.items()}

    def _batches(self, row_numbers):
        dataset = tf.data.Dataset.from_generator(row_numbers, output_signature=tf.TensorSpec([None], tf.int64))
        return untuned(dataset.map(self._gather, num_parallel_calls=2).prefetch(4))

    def _gather(self, rows):
        token_ids = tf.gather(self.token_ids, rows)
        longest = tf.cast(tf.reduce_max(token_ids.row_lengths()), tf.int32)
        bucket = tf.searchsorted(tf.constant(self.bucket_lengths, tf.int32), longest[None])[0]
        length = tf.constant(self.bucket_lengths, tf.int32)[bucket]

        def pad(ragged, length=length):
            dense = ragged.to_tensor()  # [B, longest, ...]
            missing = length - tf.shape(dense)[1]
            return tf.pad(dense, [[0, 0], [0, missing]] + [[0, 0]] * (dense.shape.rank - 2))  # [B, T, ...]

        padded = pad(token_ids)  # [B, T]
        inputs = {
            "token_ids": padded,
            "segment_ids": tf.zeros_like(padded)
            if self.segment_ids is None
            else pad(tf.gather(self.segment_ids, rows)),
            "padding_mask": tf.sequence_mask(token_ids.row_lengths(), length),
        }
        for name, values in self.features.items():
            gathered = tf.gather(values, rows)
            if isinstance(gathered, tf.RaggedTensor):
                own = tf.cast(tf.reduce_max(gathered.row_lengths()), tf.int32)
                gathered = pad(gathered, -(-own // 8) * 8)
            inputs[name] = gathered
        targets = {}
        for name, values in self.targets.items():
            gathered = tf.gather(values, rows)
            targets[name] = pad(gathered) if isinstance(gathered, tf.RaggedTensor) else gathered
        return inputs, targets


def _bounds_of(groups: np.ndarray, rows: int, batch_size: int) -> tuple[np.ndarray, int]:
    """Where each group begins, and the last one ends; and how many groups a batch has."""
    if groups.shape != (rows,):
        raise ValueError(f"groups {groups.shape} must be a number for each of the {rows} rows.")
    bounds = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1], [True]]))
    if len(np.unique(groups)) < len(bounds) - 1:
        raise UserError("rows of one group must follow each other: sort the rows by their group.")
    largest = int(np.diff(bounds).max())
    if largest > batch_size:
        raise UserError(f"a group of {largest} rows does not fit a batch of {batch_size}: raise batch_size.")
    return bounds, batch_size // largest


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset that TensorFlow does not tune while it is read.

    The thread that tunes sleeps for longer and longer, up to a minute, and the end of an iterator waits for it. It is
    woken a moment before there is a reason to get up: on one core it goes to sleep again nearly every time, on two now
    and then. On one core a training of 109 seconds took 156.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def token_features(token_ids: tf.RaggedTensor, prefix: str, segment_ids: tf.RaggedTensor | None = None) -> dict:
    """A second text of every row, as `features` of `Batches`: such as what a teacher reads, with the prefix "teacher/".

    Args:
        token_ids: Ragged int[rows, None], special tokens included.
        prefix: What the names of the model's inputs begin with.
        segment_ids: Ragged int[rows, None]; the default is all zeros.

    Returns:
        Ragged tensors by the prefixed names of the three inputs of a backbone.
    """
    token_ids = tf.cast(token_ids, tf.int32)
    features = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids) if segment_ids is None else tf.cast(segment_ids, tf.int32),
        "padding_mask": tf.ones_like(token_ids, tf.bool),
    }
    return {prefix + name: values for name, values in features.items()}


def _signature(values):
    """A further input of a batch, as TensorFlow traces it."""
    inner = values.shape[2:] if isinstance(values, tf.RaggedTensor) else values.shape[1:]
    length = [None] if isinstance(values, tf.RaggedTensor) else []
    return tf.TensorSpec([None, *length, *inner], values.dtype)
