"""Notes on rare words, kept while pre-training (TNF: Wu et al., arXiv:2008.01466).

A rare word's embedding learns little, because the word comes seldom; what was said around it does not get lost if it is
noted down, and read when the word comes again. Notes are moving averages, not weights: they have no gradient.

    rare = RareWords.counted(batches, special_ids)                      # which words, and their numbers
    train = CorruptedBatches(batches, WithNotes(corruption, rare), special_ids=special_ids)
    notes = NoteDictionary(len(rare), backbone.config.hidden_dim)
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], notes=notes)

Fine-tuning has no notes (section 3.2): `pretrainer.backbone` never knew them.

Differences from the paper: a window that reaches over the row's end, or over padding, is averaged over the tokens that
there are (equation 1 divides by its nominal length), and several occurrences in one batch count as one, their mean.
Notes are mixed with what the embedding layer makes, its normalisation included. A word that must be predicted, in part
or whole, is given no note: it would say which word it is.

Batches are read whole: `fit` takes no micro-batches and one replica with them.

Cost: R D numbers for R rare words; O(B T D) a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.models.backbone import TokenModel
from tfmodels.objectives.choosing import Units, candidates, words
from tfmodels.objectives.corruption import special_mask


class NoteDictionary(Layer):
    """What was last seen around each rare word.

    Rare words are numbered from 1; 0 is every other token. The pieces of one word carry its number.

    Args:
        num_words: R.
        hidden_dim: D.
        half_window: k, tokens on each side of the word that its note is the mean of.
        decay: gamma, the share of a new note in the dictionary.
        mix: lambda, the share of the note in a rare word's embedding.

    Call arguments:
        embeddings: float[B, T, D], token and position vectors.
        word_numbers: int[B, T].

    Returns:
        float[B, T, D]: (1 - lambda) embedding + lambda note at rare words (equation 3), unchanged elsewhere.
    """

    def __init__(self, num_words, hidden_dim, half_window=16, decay=0.1, mix=0.5, **kwargs):
        super().__init__(**kwargs)
        self.num_words = num_words
        self.hidden_dim = hidden_dim
        self.half_window = half_window
        self.decay = decay
        self.mix = mix

    def build(self, embeddings_shape=None, word_numbers_shape=None):
        self.notes = self.add_weight(
            name="notes",
            shape=(self.num_words, self.hidden_dim),
            initializer=truncated_normal(),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def call(self, embeddings, word_numbers):
        note = ops.take(self.notes, ops.maximum(word_numbers - 1, 0), axis=0)  # [B, T, D]
        mixed = (1 - self.mix) * embeddings + self.mix * ops.cast(note, embeddings.dtype)
        return ops.where((word_numbers > 0)[..., None], mixed, embeddings)

    def compute_output_shape(self, embeddings_shape, word_numbers_shape=None):
        return embeddings_shape

    def read_by(self, backbone, inputs) -> keras.Model:
        """A model on a backbone's layers and weights that reads the notes before its blocks.

        Args:
            backbone: A backbone whose `parts` hold the `embeddings`.
            inputs: What it is called on, symbolic tensors by name, as in `backbone.input`.

        Returns:
            A model whose inputs add `word_numbers` int[B, T].
        """
        inputs = {**inputs, "word_numbers": keras.Input((None,), dtype="int32", name="word_numbers")}
        embeddings = backbone.parts["embeddings"]

        def mixed(*arguments, **further):
            return self(embeddings(*arguments, **further), inputs["word_numbers"])

        outputs = backbone.wire({**backbone.parts, "embeddings": mixed}, inputs)
        return TokenModel(inputs, outputs, name=f"{backbone.name}_with_notes")

    def update(self, contexts, word_numbers, padding_mask):
        """Takes notes of a batch: NoteDict(w) = (1 - gamma) NoteDict(w) + gamma Note(w, x) (equations 1 and 2).

        Args:
            contexts: float[B, T, D], the encoder's last states.
            word_numbers: int[B, T].
            padding_mask: bool[B, T].
        """
        taken, counts = self.notes_of(contexts, word_numbers, padding_mask)
        seen = (counts > 0)[:, None]
        kept = ops.convert_to_tensor(self.notes)
        self.notes.assign(ops.where(seen, (1 - self.decay) * kept + self.decay * taken, kept))

    def notes_of(self, contexts, word_numbers, padding_mask):
        """The mean note of each rare word of a batch, float32[R, D], and how often each occurs, float32[R]."""
        contexts = ops.stop_gradient(ops.cast(contexts, "float32"))
        batch, length, width = ops.shape(contexts)
        numbers = ops.cast(word_numbers, "int32")
        real = ops.cast(padding_mask, "float32")
        before = ops.pad(numbers[:, :-1], ((0, 0), (1, 0)))
        behind = ops.pad(numbers[:, 1:], ((0, 0), (0, 1)))
        is_start = (numbers > 0) & ops.not_equal(numbers, before)
        is_end = (numbers > 0) & ops.not_equal(numbers, behind)
        places = ops.arange(length, dtype="int32")[None]
        # The o-th start belongs to the o-th end; `length` stands where there are no more.
        starts, ends = (ops.sort(ops.where(flags, places, length), axis=1) for flags in (is_start, is_end))
        exists = starts < length  # [B, T]
        low = ops.maximum(starts - self.half_window, 0)
        high = ops.minimum(ends + self.half_window + 1, length)

        def window_sum(values):
            """The sums from `low` up to, not including, `high`: float32[B, T, ...]."""
            sums = ops.pad(ops.cumsum(values * real[..., None], axis=1), ((0, 0), (1, 0), (0, 0)))  # [B, T + 1, D]
            rows = ops.reshape(sums, (batch * (length + 1), ops.shape(sums)[-1]))
            shift = ops.arange(batch, dtype="int32")[:, None] * (length + 1)
            return ops.take(rows, high + shift, axis=0) - ops.take(rows, ops.minimum(low, length) + shift, axis=0)

        sizes = window_sum(ops.ones_like(contexts[..., :1]))  # [B, T, 1]
        notes = window_sum(contexts) / ops.maximum(sizes, 1.0)  # [B, T, D]
        shift = ops.arange(batch, dtype="int32")[:, None] * length
        words = ops.take(ops.reshape(numbers, (-1,)), ops.minimum(starts, length - 1) + shift, axis=0)  # [B, T]
        # Segment 0 collects what is no occurrence.
        words = ops.reshape(ops.where(exists, words, 0), (-1,))
        flat = ops.reshape(notes, (batch * length, width))
        totals = ops.segment_sum(flat, words, num_segments=self.num_words + 1)[1:]
        counts = ops.segment_sum(ops.ones_like(flat[:, 0]), words, num_segments=self.num_words + 1)[1:]
        return totals / ops.maximum(counts, 1.0)[:, None], counts


class RareWords:
    """Numbers the rare words of a batch, from 1; whole words: every piece of a word carries its number.

    Args:
        words: The pieces of each word, token ids; the first word has number 1.

    Call arguments:
        batch: A dict of `token_ids` int32[B, T], `padding_mask` and `special_mask` bool[B, T], and the words, see
            `choosing.words`.

    Returns:
        int32[B, T]: 0 at all other tokens.

    Raises:
        UserError: There are no words.
    """

    def __init__(self, words: Sequence[Sequence[int]]):
        if not words:
            raise UserError("there are no rare words to take notes of: count with a wider range, or give more text.")
        self.words = [tuple(int(piece) for piece in word) for word in words]
        keys = [" ".join(map(str, word)) for word in self.words]
        numbers = tf.range(1, len(keys) + 1, dtype=tf.int32)
        self._numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, numbers), 0)

    @classmethod
    def counted(
        cls, batches: Iterable, special_ids: Sequence[int] = (), least: int = 100, most: int = 500
    ) -> RareWords:
        """The words that stand in a corpus at least and at most so often (section 3.1: 100 to 500 times).

        Args:
            batches: The corpus once, as batches `(inputs, targets)` whose targets hold the words: `in_order()` of what
                `CorruptedBatches` is made of.
            special_ids: The tokens that are no word, where the targets hold no "special_mask".
            least: occurrences.
            most: occurrences.

        Returns:
            The rare words, the most frequent one first.

        Raises:
            UserError: No word comes that often.
        """
        counts: Counter[bytes] = Counter()
        for inputs, targets in batches:
            batch = {"special_mask": special_mask(inputs["token_ids"], special_ids), **inputs, **targets}
            keys, _, times = tf.unique_with_counts(_keys(batch, _places(batch)))
            counts.update(dict(zip(keys.numpy().tolist(), times.numpy().tolist())))
        del counts[b""]  # where a row has fewer words than tokens
        rare = sorted((-count, key) for key, count in counts.items() if least <= count <= most)
        return cls([key.split() for _, key in rare])

    def __len__(self) -> int:
        """R."""
        return len(self.words)

    def __call__(self, batch):
        places = _places(batch)
        return _at(places, self._numbers.lookup(_keys(batch, places)))


class WithNotes:
    """Another corruption, and which tokens are of rare words.

    Args:
        corruption: `corruption(batch, draw) -> (inputs, targets)`, whose targets hold `positions` and `weights`.
        rare_words: A `RareWords`.

    Call arguments:
        batch: As for `MaskedText`, with the words, see `choosing.words`.
        draw: A `Draw`.

    Returns:
        inputs: Those of the corruption, and `word_numbers` int32[B, T] of the words whose notes may be read: none of
            their tokens is predicted.
        targets: Those of the corruption, and `word_numbers` int32[B, T] of all rare words, to take notes of.
    """

    def __init__(self, corruption, rare_words: RareWords):
        self.corruption = corruption
        self.rare_words = rare_words

    def __call__(self, batch, draw):
        inputs, targets = self.corruption(batch, draw)
        numbers, places = self.rare_words(batch), _places(batch)
        length = tf.shape(numbers)[1]
        predicted = tf.one_hot(targets["positions"], length, dtype=tf.int32)  # [B, P, T]
        predicted = tf.reduce_sum(predicted * tf.cast(targets["weights"] > 0, tf.int32)[..., None], axis=1)  # [B, T]
        flat, size = tf.reshape(places, [-1]), tf.size(places)
        by_word = tf.math.unsorted_segment_sum(tf.reshape(predicted, [-1]), flat, size + 1)[:size]
        hidden = _at(places, by_word) > 0
        return inputs | {"word_numbers": tf.where(hidden, 0, numbers)}, targets | {"word_numbers": numbers}


def _places(batch):
    """int32[B, T]: which word of the batch every token is of, a number below B T; B T where it is of none."""
    layout = Units(candidates(batch), words(batch))
    rows, length = tf.unstack(tf.shape(layout.index))
    return tf.where(layout.allowed, layout.index + tf.range(rows)[:, None] * length, rows * length)


def _keys(batch, places):
    """string[B T]: the pieces of every word of a batch, "" where there is none."""
    pieces = tf.strings.as_string(tf.reshape(batch["token_ids"], [-1]))
    size = tf.size(places)
    return tf.strings.unsorted_segment_join(pieces, tf.reshape(places, [-1]), size + 1, separator=" ")[:size]


def _at(places, by_word):
    """[B, T]: at every token what belongs to its word, 0 where it is of none."""
    return tf.gather(tf.pad(by_word, [[0, 1]]), places)
