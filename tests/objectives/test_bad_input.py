"""Rows that a language without blanks, or hardly any text, makes: nothing wrong is chosen, and nothing fails."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, MASK, SEP, SPECIAL_IDS, VOCABULARY_SIZE, uniform_rows
from tfmodels.errors import UserError
from tfmodels.models import AdaptiveLM, MaskedLM, ReplacedTokenDetector
from tfmodels.objectives import (
    BertReplacement,
    CausalPretrainer,
    CorruptedBatches,
    Draw,
    ElectraPretrainer,
    MaskedLanguageModel,
    MaskedText,
    MixedBatches,
    Pretrainer,
    SpanMasking,
    TextStreams,
    TokenMasking,
    WholeWordMasking,
)
from tfmodels.training import Batches, FitConfig, fit


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


def corrupted_rows(last):
    rows = tf.ragged.constant([[CLS, 9, 10, SEP], [CLS, 9, last, SEP]], dtype=tf.int32)
    corruption = MaskedText(TokenMasking(0.2, 2), BertReplacement(MASK, VOCABULARY_SIZE))
    return CorruptedBatches(Batches(rows, {"row": np.arange(2)}, 2), corruption, special_ids=SPECIAL_IDS)


def streamed(last):
    return TextStreams(tf.ragged.constant([[9, 10, 11], [9, last]], dtype=tf.int32), 1, 2)


def electra():
    sizes = {"vocabulary_size": VOCABULARY_SIZE}
    return ElectraPretrainer(MaskedLM(tiny(**sizes)), ReplacedTokenDetector(tiny(**sizes)))


def causal():
    task = AdaptiveLM(tiny("transformer_xl_standard", vocabulary_size=VOCABULARY_SIZE, cutoffs=(), memory_length=2))
    return CausalPretrainer(task, 1)


TRAINED = {
    "corrupted": (lambda: Pretrainer(tiny(vocabulary_size=VOCABULARY_SIZE), [MaskedLanguageModel()]), corrupted_rows),
    "electra": (electra, corrupted_rows),
    "mixed": (
        lambda: Pretrainer(tiny(vocabulary_size=VOCABULARY_SIZE), [MaskedLanguageModel()]),
        lambda last: MixedBatches({"one": corrupted_rows(10), "two": corrupted_rows(last)}),
    ),
    "streams": (causal, streamed),
}


@pytest.mark.parametrize(("model", "batches"), TRAINED.values(), ids=TRAINED)
def test_a_token_that_the_encoder_does_not_know_is_told_before_training(model, batches, tmp_path):
    config = FitConfig(epochs=1, monitor="val_loss")
    for train, validation in ((VOCABULARY_SIZE, 10), (10, VOCABULARY_SIZE)):
        with pytest.raises(UserError, match=f"row 1 holds the token {VOCABULARY_SIZE}, but .* from 0 to "):
            fit(model(), batches(train), batches(validation), config, tmp_path, verbose=0)
