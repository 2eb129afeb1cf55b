"""Corrupted text, batch by batch: what to predict, and what the model sees instead.

A corruption is called on a batch and a `Draw` and returns `(inputs, targets)`. Targets have a fixed number of
predictions, P, so that the prediction head is computed at chosen positions only: `positions` int32[B, P] (ascending;
0 where there are fewer), `labels` int32[B, P] and `weights` float32[B, P], 1 at predictions and 0 at fillings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.objectives import attention
from tfmodels.objectives.choosing import Chooser, Units, bin_of, candidates, number_runs, tokens
from tfmodels.objectives.documents import IN_ORDER
from tfmodels.objectives.randomness import Draw

# What a batch may tell a corruption beside the model's inputs.
ANNOTATIONS = ("special_mask", "word_ids", "word_starts", "phrase_ids", "entity_ids", "entities", "pair")

# What a batch may hold beside what every backbone takes: the model sees it, or the mask that is made of it.
FURTHER_INPUTS = ("document_ids",)


class MaskedText:
    """Chosen tokens are replaced and must be predicted.

    Args:
        choose: A `Chooser`.
        replace: `replace(token_ids, groups, draw)`, such as `BertReplacement`.

    Call arguments:
        batch: A dict of `token_ids` int32[B, T], `padding_mask` bool[B, T], `special_mask` bool[B, T] and what the
            chooser reads.
        draw: A `Draw`.

    Returns:
        inputs: The batch with its tokens replaced and without annotations.
        targets: `positions`, `labels` and `weights` as above, and for span boundary objectives `left` and `right`
            int32[B, P], the observed tokens beside a prediction's span (-1 where the row has none), and `offset`
            int32[B, P], the prediction's place in its span, from 0.
    """

    def __init__(self, choose: Chooser, replace):
        self.choose = choose
        self.replace = replace

    def __call__(self, batch, draw):
        groups = self.choose(batch, draw)
        targets = predictions_at(batch["token_ids"], groups > 0, self.choose.max_predictions)
        targets |= _boundaries(groups > 0, batch["padding_mask"], targets)
        inputs = without_annotations(batch)
        return inputs | {"token_ids": self.replace(batch["token_ids"], groups, draw)}, targets


class PermutedText:
    """Chosen tokens come last in a random factorisation order and must be predicted one after the other.

    XLNet (arXiv:1906.08237), section 2.3, as its code has it: the tokens that are not predicted see one another, so
    that only the order of the predicted ones matters.

    Args:
        choose: A `Chooser`, such as `PartialPrediction`.
        reuse_length: R, the first tokens of a stretch of text that are remembered, where the next stretch begins behind
            them (`TextStreams`' `step`). They see none of the others, which the next stretch will predict with them in
            its memory; None where stretches do not overlap.

    Call arguments:
        batch: As for `MaskedText`; where it has `document_ids` int32[B, T], a row's documents do not see each other.
        draw: A `Draw`.

    Returns:
        inputs: The batch without annotations, with `permutation_mask` bool[B, T, T], True where the token of the
            second axis comes before that of the first: what the query stream may attend to. The content stream may
            attend to itself too, see `content_mask`. And `target_mapping` float32[B, P, T], a 1 at the token of every
            prediction, as `XLNetBackbone.two_streams` takes it.
        targets: `positions`, `labels` and `weights`.
    """

    def __init__(self, choose: Chooser, reuse_length: int | None = None):
        self.choose = choose
        self.reuse_length = reuse_length

    def __call__(self, batch, draw):
        chosen = self.choose(batch, draw) > 0
        order = tf.where(chosen, draw(tf.shape(chosen)[1]), -1.0)  # [B, T]
        inputs = without_annotations(batch)
        inputs["permutation_mask"] = permutation_mask(order, batch["padding_mask"])
        documents = inputs.pop("document_ids", None)
        if documents is not None:
            inputs["permutation_mask"] &= tf.equal(documents[:, :, None], documents[:, None, :])
        if self.reuse_length is not None:
            is_kept = tf.range(tf.shape(chosen)[1]) < self.reuse_length
            inputs["permutation_mask"] &= ~is_kept[:, None] | is_kept[None, :]
        targets = predictions_at(batch["token_ids"], chosen, self.choose.max_predictions)
        inputs["target_mapping"] = target_mapping(targets["positions"], tf.shape(chosen)[1])
        return inputs, targets


class WithNgram:
    """Another corruption, and one n-gram of every row that the model does not see (InfoWord, arXiv:1910.08350).

    The n-gram lies in one segment and starts at a token drawn uniformly; its length is a normal number of mean 5 and
    deviation 1, rounded and held between 1 and 10, or what the segment has room for.

    Args:
        corruption: `corruption(batch, draw) -> (inputs, targets)`.
        mask_id: Stands in place of the n-gram's tokens.
        cls_id: Begins the n-gram as a text of its own.

    Call arguments:
        batch: As for `MaskedText`.
        draw: A `Draw`.

    Returns:
        inputs: Those of the corruption, with the n-gram masked.
        targets: Those of the corruption, and for the `InfoWord` objective `ngram_ids` int32[B, 11] and `ngram_mask`
            bool[B, 11]; a row without text has [CLS] alone.
    """

    LONGEST = 10

    def __init__(self, corruption, mask_id: int, cls_id: int):
        self.corruption = corruption
        self.mask_id = mask_id
        self.cls_id = cls_id
        edges = np.arange(0.5, self.LONGEST + 1)
        below = np.array([math.erf((edge - 5) / math.sqrt(2)) for edge in edges])
        below[[0, -1]] = -1, 1
        self.length_probabilities = np.diff(below) / 2

    def __call__(self, batch, draw):
        inputs, targets = self.corruption(batch, draw)
        layout = Units(candidates(batch), tokens(batch))
        rows, length = tf.unstack(tf.shape(batch["token_ids"]))
        chosen = layout.take(tf.fill([rows], self.LONGEST), 1, draw, self.length_probabilities)
        size = tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1, keepdims=True)
        places = _with_end(_places(chosen))[:, :1] + tf.range(self.LONGEST)[None]  # [B, 10]
        is_token = tf.range(self.LONGEST)[None] < size
        found = tf.gather(_with_end(batch["token_ids"]), tf.minimum(places, length), batch_dims=1)
        targets["ngram_ids"] = tf.pad(tf.where(is_token, found, 0), [[0, 0], [1, 0]], constant_values=self.cls_id)
        targets["ngram_mask"] = tf.pad(is_token, [[0, 0], [1, 0]], constant_values=True)
        return inputs | {"token_ids": tf.where(chosen, self.mask_id, inputs["token_ids"])}, targets


class LanguageModels:
    """Another corruption, and for every row one of UniLM's four language models (arXiv:1905.03197, section 2.4).

    A row's segment ids say which one it is, to the model and to `attention.unilm`, which makes its mask of them. Only
    the bidirectional rows are asked whether their segments follow each other (section 2.3), so that half of them have
    two texts, and all others one: a text of two segments in sequence-to-sequence rows, and of one segment in left-to-
    right and right-to-left ones. The separator between the halves of the latter stays, which the paper does not have.

    Args:
        corruption: `corruption(batch, draw) -> (inputs, targets)`.
        apart: fraction of the rows whose segments are of two texts, as the rows were made.
        shares: The fractions of bidirectional, sequence-to-sequence, left-to-right and right-to-left rows.

    Call arguments:
        batch: As for `MaskedText`, with `segment_ids` int32[B, T] of 0 and 1, and `pair` int[B]: 0 where the second
            segment follows the first, 1 where it does not.
        draw: A `Draw`.

    Returns:
        inputs: Those of the corruption, with `segment_ids` of `attention.UNILM_SEGMENTS`.
        targets: Those of the corruption, and `next_sentence` int32[B], -1 in rows that are not bidirectional.
    """

    def __init__(self, corruption, apart=1 / 6, shares=attention.UNILM_SHARES):
        if len(shares) != 4 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
            raise ValueError(f"shares={shares}: UniLM has four masks, whose shares add up to 1.")
        if not 0 <= apart <= shares[attention.BIDIRECTIONAL] or apart == 1:
            raise ValueError(
                f"apart={apart}: rows of two texts are bidirectional, whose share is {shares[attention.BIDIRECTIONAL]}."
            )
        self.corruption = corruption
        # Of the rows of one text; those of two texts are bidirectional beforehand.
        of_one_text = np.array(shares) - apart * np.eye(4)[attention.BIDIRECTIONAL]
        self.bounds = (np.cumsum(of_one_text) / of_one_text.sum())[:-1].astype("float32")

    def __call__(self, batch, draw):
        inputs, targets = self.corruption(batch, draw)
        pair = tf.cast(batch["pair"], tf.int32)
        kinds = tf.where(pair == IN_ORDER, bin_of(draw(1)[:, 0], self.bounds), attention.BIDIRECTIONAL)  # [B]
        segments = tf.gather(tf.constant(attention.UNILM_SEGMENTS, tf.int32), kinds)  # [B, 2]
        inputs["segment_ids"] = tf.gather(segments, inputs["segment_ids"], batch_dims=1)
        targets["next_sentence"] = tf.where(kinds == attention.BIDIRECTIONAL, pair, -1)
        return inputs, targets


class ForTask:
    """Another corruption, and the number of the task that its rows are for (ERNIE 2.0).

    Args:
        corruption: `corruption(batch, draw) -> (inputs, targets)`.
        task_id: The number.

    Call arguments:
        batch: As the corruption takes it.
        draw: A `Draw`.

    Returns:
        inputs: Those of the corruption, with `task_ids` int32[B].
        targets: Those of the corruption.
    """

    def __init__(self, corruption, task_id: int):
        self.corruption = corruption
        self.task_id = task_id

    def __call__(self, batch, draw):
        inputs, targets = self.corruption(batch, draw)
        return inputs | {"task_ids": tf.fill(tf.shape(batch["token_ids"])[:1], self.task_id)}, targets


class WithEntities:
    """Another corruption, and the entities that the text names, of which some are hidden or wrong.

    For denoising entity auto-encoding (arXiv:1905.07129, section 3.4): one alignment in twenty names another entity,
    as linkers err; 15 % are not told, as linkers miss them; the others stay.

    Args:
        corruption: `corruption(batch, draw) -> (inputs, targets)`.
        num_entities: The number of entities of the graph.
        wrong: fraction of the alignments that name another entity, drawn uniformly.
        hidden: fraction that are not told.

    Call arguments:
        batch: As the corruption takes it, with `entities` int32[B, T], see `KnowledgeEncoder`.
        draw: A `Draw`.

    Returns:
        inputs: Those of the corruption, with `entities` as the model is told them.
        targets: Those of the corruption, with `entities` as they are.

    Raises:
        UserError: There is but one entity, of which there is no other.
    """

    def __init__(self, corruption, num_entities: int, wrong=0.05, hidden=0.15):
        if num_entities < 2:
            raise UserError(f"num_entities={num_entities}: a graph to learn from has at least two entities.")
        if min(wrong, hidden) < 0 or wrong + hidden > 1:
            raise ValueError(f"wrong={wrong} and hidden={hidden} must be fractions with a sum of at most 1.")
        self.corruption = corruption
        self.num_entities = num_entities
        self.wrong = wrong
        self.hidden = hidden

    def __call__(self, batch, draw):
        inputs, targets = self.corruption(batch, draw)
        entities = tf.cast(batch["entities"], tf.int32)
        length = tf.shape(entities)[1]
        fate, step = draw(length), tf.cast(draw(length) * (self.num_entities - 1), tf.int32)  # step: 0 to n - 2
        # Float32 rounds the largest products up to n - 1.
        other = 1 + (entities + tf.minimum(step, self.num_entities - 2)) % self.num_entities
        told = tf.where(fate < self.wrong, other, tf.where(fate < self.wrong + self.hidden, 0, entities))
        told = tf.where(entities > 0, told, 0)
        return inputs | {"entities": told}, targets | {"entities": entities}


def permutation_mask(order, padding_mask):
    """Which tokens precede which in a factorisation order.

    Args:
        order: float[B, T]: ascending in the order at predicted tokens, -1 at tokens that are given.
        padding_mask: bool[B, T].

    Returns:
        bool[B, T, T], True where the query (second axis) may attend to the key (third axis): given tokens are seen by
        all, a predicted one by those behind it. Transformers' `perm_mask` is its negation.
    """
    earlier = order[:, None, :] < order[:, :, None]
    return (earlier | (order < 0)[:, None, :]) & tf.cast(padding_mask, tf.bool)[:, None, :]


def content_mask(mask):
    """bool[B, T, T]: a permutation mask under which every token sees itself too, for XLNet's content stream."""
    return mask | tf.eye(tf.shape(mask)[1], dtype=tf.bool)[None]


def target_mapping(positions, length):
    """float32[B, P, T]: one-hot rows that pick the predicted positions, as XLNet's query stream takes them."""
    return tf.one_hot(positions, length, dtype=tf.float32)


def predictions_at(token_ids, chosen, max_predictions) -> dict:
    """`positions`, `labels` and `weights` of chosen tokens, [B, P] each; at most P tokens of a row are chosen."""
    places = tf.pad(_places(chosen), [[0, 0], [0, max_predictions]])[:, :max_predictions]  # [B, P]
    number = tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1, keepdims=True)
    is_real = tf.range(max_predictions)[None] < number  # [B, P]
    positions = tf.where(is_real, places, 0)
    labels = tf.where(is_real, tf.gather(_with_end(token_ids), positions, batch_dims=1), 0)
    return {"positions": positions, "labels": labels, "weights": tf.cast(is_real, tf.float32)}


def special_mask(token_ids, special_ids: Sequence[int]):
    """bool[B, T]: the tokens whose number is one of `special_ids`."""
    found = tf.equal(token_ids[..., None], tf.constant(list(special_ids), token_ids.dtype))
    return tf.reduce_any(found, axis=-1)


def without_annotations(batch) -> dict:
    """A batch of model inputs alone."""
    return {name: value for name, value in batch.items() if name not in ANNOTATIONS}


class CorruptedBatches:
    """Batches that are corrupted as they are read: what `training.fit` trains a `Pretrainer` on.

    Args:
        batches: `training.Batches`, or anything with its `dataset`, `in_order` and length. Its targets hold "row", the
            number of every row, what the corruption reads ("word_ids" ...) and what the model sees beside every
            backbone's inputs ("document_ids"); all others are handed on.
        corruption: `corruption(batch, draw) -> (inputs, targets)`.
        special_ids: The tokens that are never chosen, where the targets hold no "special_mask".
        copies: How many corruptions of a row there are: 1 is the static mask, 10 are BERT's, and None draws a new one
            every epoch (RoBERTa's dynamic masks, arXiv:1907.11692, section 4.1).
        seed: Decides what is drawn, together with the epoch and the row's number.

    Raises:
        UserError: The batches do not number their rows.
    """

    def __init__(self, batches, corruption, *, special_ids: Sequence[int], copies: int | None = None, seed: int = 0):
        if "row" not in batches.targets:
            raise UserError('corrupted batches need a target "row", the number of every row: numpy.arange(rows).')
        if copies is not None and copies < 1:
            raise ValueError(f"copies={copies}: give at least 1, or None for a new corruption every epoch.")
        self.batches = batches
        self.corruption = corruption
        self.special_ids = tuple(special_ids)
        self.copies = copies
        self.seed = seed

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.batches)

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of the epochs from `first_epoch` up to, not including, `epochs`."""

        def corrupt(number, batch):
            epoch = first_epoch + number // len(self)
            return self._corrupt(*batch, epoch if self.copies is None else epoch % self.copies)

        dataset = self.batches.dataset(first_epoch, epochs).enumerate()
        return dataset.map(corrupt, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)

    def in_order(self) -> tf.data.Dataset:
        """The batches of all rows in their order, always corrupted alike: what validation is comparable on."""
        return self.batches.in_order().map(
            # An epoch that training does not reach, so that held-out rows have a corruption of their own.
            lambda inputs, targets: self._corrupt(inputs, targets, 2**24 - 1),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def __iter__(self) -> Iterator:
        """The batches of epoch 0."""
        return iter(self.dataset())

    def _corrupt(self, inputs, targets, epoch):
        told = {name: value for name, value in targets.items() if name in (*ANNOTATIONS, *FURTHER_INPUTS)}
        if "special_mask" not in told:
            told["special_mask"] = special_mask(inputs["token_ids"], self.special_ids)
        corrupted, predictions = self.corruption({**inputs, **told}, Draw(self.seed, epoch, targets["row"]))
        kept = {name: value for name, value in targets.items() if name not in (*told, "row")}
        return corrupted, {**kept, **predictions}


def _boundaries(chosen, padding_mask, targets):
    """Where the span of every prediction is observed from: `left`, `right` and `offset`, int32[B, P]."""
    runs = number_runs(chosen)
    run = tf.maximum(tf.gather(_with_end(runs), targets["positions"], batch_dims=1) - 1, 0)  # [B, P], from 0
    starts = chosen & ~tf.pad(chosen[:, :-1], [[0, 0], [1, 0]])
    ends = chosen & ~tf.pad(chosen[:, 1:], [[0, 0], [0, 1]])
    start = tf.gather(_with_end(_places(starts)), run, batch_dims=1)
    left, right = start - 1, tf.gather(_with_end(_places(ends)), run, batch_dims=1) + 1
    real = targets["weights"] > 0
    is_token = _with_end(tf.cast(padding_mask, tf.bool))

    def seen(place):
        """The place, or -1 where the row has none or only padding."""
        inside = (place >= 0) & tf.gather(is_token, tf.maximum(place, 0), batch_dims=1)
        return tf.where(real & inside, place, -1)

    # Fillings have no span: their places are clipped to be gathered at all.
    left, right = (tf.minimum(place, tf.shape(chosen)[1]) for place in (left, right))
    return {
        "left": seen(left),
        "right": seen(right),
        "offset": tf.where(real, targets["positions"] - start, 0),
    }


def _places(flags):
    """int32[B, T]: the positions of the flags in order, then T."""
    length = tf.shape(flags)[1]
    return tf.sort(tf.where(flags, tf.range(length)[None], length), axis=1)


def _with_end(values):
    """[B, T + 1]: one more of nothing, so that a batch of no tokens has something to gather."""
    return tf.pad(values, [[0, 0], [0, 1]])
