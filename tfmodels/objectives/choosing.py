"""Which tokens a model has to predict: the first half of a corruption, `replacing` is the other.

A chooser is called on a batch and a `Draw` and returns the chosen tokens as numbered groups. Groups matter to what
comes after: whole-word masks are groups of one word, and SpanBERT replaces a group alike.

Every chooser keeps to its budget, `rate` of the row's tokens that are neither special nor padding (at least one where
there is any, at most `max_predictions`), and never chooses special tokens or padding. A row whose every unit is larger
than that, or that falls between XLNet's windows, has none. BERT counts the special tokens
too, which makes the budget of a row of 512 tokens greater by a third of a token.

Cost: O(B T log T) for tokens; O(B T) for every chosen unit for words, phrases and spans, vectorised over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

# Unit numbers from different sources are kept apart by this offset: a row has fewer tokens.
_FAR = 1 << 24


class Chooser:
    """The base of all choosers.

    Args:
        max_predictions: P, the largest number of tokens chosen in a row.

    Call arguments:
        batch: A dict of `padding_mask` bool[B, T], `special_mask` bool[B, T] and what else the chooser names.
        draw: A `Draw` for the batch's rows.

    Returns:
        int32[B, T]: 0 at tokens that are not chosen; the chosen ones carry the number of their group, 1 to T.
    """

    def __init__(self, max_predictions: int):
        if max_predictions < 1:
            raise ValueError(f"max_predictions={max_predictions}: at least one token must be predicted.")
        self.max_predictions = max_predictions

    def __call__(self, batch: Mapping[str, tf.Tensor], draw) -> tf.Tensor:
        raise NotImplementedError


class TokenMasking(Chooser):
    """Single tokens, uniformly without replacement (BERT, arXiv:1810.04805, section 3.1).

    Args:
        rate: fraction of the tokens.
        max_predictions: P.
    """

    def __init__(self, rate=0.15, max_predictions=20):
        super().__init__(max_predictions)
        self.rate = _fraction(rate)

    def __call__(self, batch, draw):
        allowed = candidates(batch)
        keys = tf.where(allowed, draw(tf.shape(allowed)[1]), 2.0)
        ranks = tf.argsort(tf.argsort(keys, axis=1, stable=True), axis=1, stable=True)  # [B, T]
        chosen = allowed & (ranks < _budget(allowed, self.rate, self.max_predictions)[:, None])
        return tf.where(chosen, tf.range(1, tf.shape(allowed)[1] + 1)[None], 0)


class NoMasking(Chooser):
    """No token, for a task that reads the text as it is beside others that predict tokens.

    Args:
        max_predictions: P.
    """

    def __call__(self, batch, draw):
        return tf.zeros_like(batch["token_ids"])


class SpanMasking(Chooser):
    """Spans of whole words whose length is geometric (SpanBERT, arXiv:1907.10529, section 3.1).

    A span starts at a word drawn uniformly from those that are free and fit the rest of the budget, and takes as many
    words as drawn: fewer at the end of a segment, before a chosen word, or where the budget ends. Spans that touch are
    one, so that the tokens beside a span are always observed. SpanBERT's code draws again where a span meets another
    and cuts the last word; here words stay whole.

    Args:
        rate: fraction of the tokens.
        max_predictions: P.
        success: The p of the geometric distribution.
        max_length: words; the distribution is cut there and normalised. The mean is 3.8 for the defaults.
        length_probabilities: of spans of 1, 2 ... words, instead of the geometric ones.
        units: What the spans are made of: `words`, `tokens`, or another function of the batch, see `words`.
    """

    def __init__(
        self, rate=0.15, max_predictions=20, success=0.2, max_length=10, length_probabilities=None, units=None
    ):
        super().__init__(max_predictions)
        self.rate = _fraction(rate)
        if length_probabilities is None:
            length_probabilities = success * (1 - success) ** np.arange(max_length)
        self.length_probabilities = np.asarray(length_probabilities, "float64") / np.sum(length_probabilities)
        self.units = units or words

    def __call__(self, batch, draw):
        layout = Units(candidates(batch), self.units(batch))
        chosen = layout.take(
            _budget(layout.allowed, self.rate, self.max_predictions),
            self.max_predictions,
            draw,
            self.length_probabilities,
        )
        return number_runs(chosen)


class WholeWordMasking(Chooser):
    """Whole words: every piece of a chosen word is chosen (BERT's later releases; Chinese: arXiv:1906.08101).

    Words are drawn uniformly without replacement; one that does not fit the rest of the budget is passed over.

    Args:
        rate: fraction of the tokens.
        max_predictions: P.
        units: What stays whole, see `words`.
    """

    def __init__(self, rate=0.15, max_predictions=20, units=None):
        super().__init__(max_predictions)
        self.rate = _fraction(rate)
        self.units = units or words

    def __call__(self, batch, draw):
        layout = Units(candidates(batch), self.units(batch))
        budget = _budget(layout.allowed, self.rate, self.max_predictions)
        chosen = layout.take(budget, self.max_predictions, draw, np.ones(1))
        return tf.where(chosen, layout.index + 1, 0)


class PhraseMasking(WholeWordMasking):
    """Whole phrases or entities where there are any, whole words elsewhere (ERNIE 1.0, arXiv:1904.09223, section 3.2).

    ERNIE's three levels are `TokenMasking` or `WholeWordMasking`, `PhraseMasking("phrase_ids")` and
    `PhraseMasking("entity_ids")`; `MaskingMixture` makes a mixture of them.

    Args:
        spans: The batch's key of int32[B, T]: 0 outside, else a number that neighbouring phrases do not share.
        rate: fraction of the tokens.
        max_predictions: P.
        units: What stays whole outside the phrases, see `words`.
    """

    def __init__(self, spans="phrase_ids", rate=0.15, max_predictions=20, units=None):
        inner = units or words

        def phrases(batch):
            return tf.where(batch[spans] > 0, tf.cast(batch[spans], tf.int32) + _FAR, inner(batch))

        super().__init__(rate, max_predictions, phrases)


class PartialPrediction(Chooser):
    """One token in K, as short spans spread over the row (XLNet, arXiv:1906.08237, sections 2.3 and 3.1).

    The row is cut into windows of K L units, where L is drawn uniformly from 1 to `max_length`, and L neighbouring
    units of each window are chosen. XLNet's code draws L with weights 1/L and puts K L units around the span, which
    chooses 1 in K + 1, then fills up; here it is as in the paper.

    Args:
        inverse_rate: K.
        max_predictions: P; a row that would have more gets the first P.
        max_length: units.
        units: `tokens`, `words`, or another function of the batch, see `words`.
    """

    def __init__(self, inverse_rate=6, max_predictions=85, max_length=5, units=None):
        super().__init__(max_predictions)
        if inverse_rate < 1 or max_length < 1:
            raise ValueError(f"inverse_rate={inverse_rate} and max_length={max_length} must be at least 1.")
        self.inverse_rate = inverse_rate
        self.max_length = max_length
        self.units = units or tokens

    def __call__(self, batch, draw):
        layout = Units(candidates(batch), self.units(batch))
        length = tf.shape(layout.index)[1]
        windows = length // self.inverse_rate + 1
        sizes = 1 + tf.cast(draw(windows) * self.max_length, tf.int32)  # [B, I]
        starts = tf.cumsum(self.inverse_rate * sizes, axis=1, exclusive=True)  # [B, I]
        shifts = tf.cast(draw(windows) * tf.cast((self.inverse_rate - 1) * sizes + 1, tf.float32), tf.int32)
        # The window of every unit: the last that starts at or before it.
        window = tf.maximum(bin_of(layout.index, starts[:, None, :]) - 1, 0)  # [B, T]
        first = tf.gather(starts + shifts, window, batch_dims=1)
        offset = layout.index - first
        chosen = layout.allowed & (offset >= 0) & (offset < tf.gather(sizes, window, batch_dims=1))
        # A unit that would cross the limit is dropped whole, and all after it.
        unit_ends = tf.gather(layout.ends, tf.maximum(layout.index, 0), batch_dims=1)  # [B, T], exclusive
        counted = tf.cumsum(tf.cast(chosen, tf.int32), axis=1)
        counted = tf.gather(counted, tf.maximum(unit_ends - 1, 0), batch_dims=1)
        return number_runs(chosen & (counted <= self.max_predictions))


class MaskingMixture(Chooser):
    """For every row one of several choosers.

    Args:
        choosers: The choosers.
        shares: The fraction of rows for each; the default is equal shares.
    """

    def __init__(self, choosers: Sequence[Chooser], shares: Sequence[float] | None = None):
        super().__init__(max(chooser.max_predictions for chooser in choosers))
        shares = np.ones(len(choosers)) if shares is None else np.asarray(shares, "float64")
        if len(shares) != len(choosers) or (shares < 0).any() or not shares.sum():
            raise ValueError(f"{len(choosers)} choosers need as many shares, none of them negative.")
        self.choosers = list(choosers)
        self.shares = shares / shares.sum()

    def __call__(self, batch, draw):
        which = bin_of(draw(1)[:, 0], np.cumsum(self.shares)[:-1].astype("float32"))  # [B]
        groups = tf.stack([chooser(batch, draw) for chooser in self.choosers], axis=1)  # [B, choosers, T]
        return tf.gather(groups, which, batch_dims=1)


def candidates(batch) -> tf.Tensor:
    """bool[B, T]: the tokens that may be chosen, neither special nor padding."""
    return tf.cast(batch["padding_mask"], tf.bool) & ~tf.cast(batch["special_mask"], tf.bool)


def tokens(batch) -> tf.Tensor:
    """int32[B, T]: every token is a unit of its own."""
    length = tf.shape(batch["padding_mask"])[1]
    return tf.broadcast_to(tf.range(length)[None], tf.shape(batch["padding_mask"]))


def words(batch) -> tf.Tensor:
    """int32[B, T]: neighbours with one number are one word.

    Read from `word_ids` int[B, T], or from `word_starts` bool[B, T], True at the first piece of a word. Words of a
    language without spaces come the same way, from a segmenter.
    """
    if "word_ids" in batch:
        return tf.cast(batch["word_ids"], tf.int32)
    return tf.cumsum(tf.cast(batch["word_starts"], tf.int32), axis=1)


class Units:
    """The units of every row: runs of allowed tokens with one number, counted from 0.

    `index` int32[B, T] is the unit of each allowed token; by unit, in arrays that are T wide: `sizes`, `ends` (one
    past the last token) and `follows`, whether a unit stands directly behind the one before it.
    """

    def __init__(self, allowed, numbers):
        shape = tf.shape(allowed)
        self.allowed = allowed
        before = tf.pad(allowed[:, :-1], [[0, 0], [1, 0]]) & tf.equal(
            numbers, tf.pad(numbers[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        )
        is_start = allowed & ~before
        self.index = tf.cumsum(tf.cast(is_start, tf.int32), axis=1) - 1  # [B, T]
        # One number for every unit of the batch; tokens that are not allowed are dropped by a negative one.
        flat = tf.where(allowed, self.index + tf.range(shape[0])[:, None] * shape[1], -1)

        def by_unit(reduce, values):
            reduced = reduce(tf.reshape(values, [-1]), tf.reshape(flat, [-1]), shape[0] * shape[1])
            return tf.reshape(reduced, shape)  # [B, T]

        self.sizes = by_unit(tf.math.unsorted_segment_sum, tf.cast(allowed, tf.int32))
        places = tf.broadcast_to(tf.range(shape[1])[None], shape)
        self.ends = tf.maximum(by_unit(tf.math.unsorted_segment_max, places), -1) + 1
        starts = self.ends - self.sizes
        self.follows = (self.sizes > 0) & tf.equal(starts, tf.pad(self.ends[:, :-1], [[0, 0], [1, 0]]))

    def take(self, budget, most, draw, length_probabilities):
        """bool[B, T]: the tokens of spans of units until the budget is spent.

        Args:
            budget: int32[B], tokens.
            most: The largest budget there may be.
            draw: A `Draw`.
            length_probabilities: of a span of 1, 2 ... units.
        """
        place, lengths = draw(most), draw(most)  # [B, most]
        bounds = np.cumsum(length_probabilities)[:-1].astype("float32")
        lengths = 1 + bin_of(lengths, bounds)  # [B, most]
        units = tf.range(tf.shape(self.sizes)[1])[None]

        def free_of(taken, left):
            return ~taken & (self.sizes > 0) & (self.sizes <= left[:, None])

        def step(number, taken, left):
            free = free_of(taken, left)
            count = tf.reduce_sum(tf.cast(free, tf.int32), axis=1)  # [B]
            pick = tf.minimum(tf.cast(place[:, number] * tf.cast(count, tf.float32), tf.int32), count - 1)
            # The position of the pick-th free unit.
            is_anchor = free & tf.equal(tf.cumsum(tf.cast(free, tf.int32), axis=1), pick[:, None] + 1)
            anchor = tf.argmax(is_anchor, axis=1, output_type=tf.int32)[:, None]  # [B, 1]
            within = (units >= anchor) & (units < anchor + lengths[:, number, None]) & (count > 0)[:, None]
            gaps = within & (units > anchor) & (taken | ~self.follows)
            within &= tf.equal(tf.cumsum(tf.cast(gaps, tf.int32), axis=1), 0)
            within &= tf.cumsum(tf.where(within, self.sizes, 0), axis=1) <= left[:, None]
            return number + 1, taken | within, left - tf.reduce_sum(tf.where(within, self.sizes, 0), axis=1)

        # Every step spends at least one token of every row that has free units.
        _, taken, _ = tf.while_loop(
            lambda number, taken, left: (number < most) & tf.reduce_any(free_of(taken, left)),
            step,
            (tf.constant(0), tf.zeros_like(self.allowed), budget),
        )
        return self.allowed & tf.gather(taken, tf.maximum(self.index, 0), batch_dims=1)


def _budget(allowed, rate, most):
    """int32[B]: how many tokens of each row to choose."""
    count = tf.reduce_sum(tf.cast(allowed, tf.int32), axis=1)
    wanted = tf.cast(tf.floor(rate * tf.cast(count, tf.float32) + 0.5), tf.int32)
    return tf.minimum(count, tf.clip_by_value(wanted, 1, most))


def bin_of(values, bounds):
    """int32[...]: how many of the ascending bounds are at most the value. `tf.searchsorted` refuses empty batches."""
    return tf.reduce_sum(tf.cast(values[..., None] >= bounds, tf.int32), axis=-1)


def number_runs(chosen):
    """int32[B, T]: runs of chosen tokens, numbered from 1; 0 elsewhere."""
    starts = chosen & ~tf.pad(chosen[:, :-1], [[0, 0], [1, 0]])
    return tf.where(chosen, tf.cumsum(tf.cast(starts, tf.int32), axis=1), 0)


def _fraction(rate):
    if not 0 < rate <= 1:
        raise ValueError(f"rate={rate} must be a fraction above 0 and at most 1.")
    return rate
