"""Notes on rare words, kept while pre-training (TNF: Wu et al., arXiv:2008.01466).

A rare word's embedding learns little, because the word comes seldom; what was said around it does not get lost if it is
noted down, and read when the word comes again. Notes are moving averages, not weights: they have no gradient.

Differences from the paper: a window that reaches over the row's end, or over padding, is averaged over the tokens that
there are (equation 1 divides by its nominal length), and several occurrences in one batch count as one, their mean.

Cost: R D numbers for R rare words; O(B T D) a step.
"""

from keras import ops

from tfmodels.layers.base import Layer, truncated_normal


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
