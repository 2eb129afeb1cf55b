"""Rows that a language without blanks, or hardly any text, makes: nothing wrong is chosen, and nothing fails."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, MASK, SEP, VOCABULARY_SIZE, uniform_rows
from tfmodels.objectives import (
    BertReplacement,
    Draw,
    MaskedLanguageModel,
    MaskedText,
    Pretrainer,
    SpanMasking,
    TokenMasking,
    WholeWordMasking,
)


def corrupted(chooser, batch):
    rows = tf.range(len(batch["token_ids"]), dtype=tf.int64)
    corruption = MaskedText(chooser, BertReplacement(MASK, VOCABULARY_SIZE))
    return corruption({name: tf.constant(value) for name, value in batch.items()}, Draw(0, 0, rows))


@pytest.mark.parametrize("chooser", [WholeWordMasking(0.15, 20), SpanMasking(0.15, 20)])
def test_a_row_that_is_one_word_has_nothing_to_predict(chooser):
    # Of Thai without a segmenter: a word that does not fit the budget is never cut.
    inputs, targets = corrupted(chooser, uniform_rows(3, 40, pieces=40))
    np.testing.assert_array_equal(inputs["token_ids"], uniform_rows(3, 40)["token_ids"])
    assert not targets["weights"].numpy().any()
    # Single tokens are masked whatever words they belong to.
    _, targets = corrupted(TokenMasking(0.15, 20), uniform_rows(3, 40, pieces=40))
    assert (targets["weights"].numpy().sum(axis=1) == 6).all()


@pytest.mark.parametrize("chooser", [TokenMasking(0.15, 20), WholeWordMasking(0.15, 20), SpanMasking(0.15, 20)])
def test_a_text_of_one_token_is_predicted(chooser):
    batch = {
        "token_ids": np.array([[CLS, 9, SEP]], "int32"),
        "segment_ids": np.zeros((1, 3), "int32"),
        "padding_mask": np.ones((1, 3), bool),
        "special_mask": np.array([[True, False, True]]),
        "word_ids": np.array([[0, 1, 2]], "int32"),
    }
    inputs, targets = corrupted(chooser, batch)
    assert targets["weights"].numpy().sum() == 1 and targets["labels"].numpy()[0, 0] == 9
    assert targets["positions"].numpy()[0, 0] == 1
    pretrainer = Pretrainer(tiny(vocabulary_size=VOCABULARY_SIZE), [MaskedLanguageModel()])
    # About log V, before anything is learnt.
    loss = float(pretrainer.compute_loss(inputs, targets, pretrainer(inputs, training=True), training=True))
    assert abs(loss - np.log(VOCABULARY_SIZE)) < 1
