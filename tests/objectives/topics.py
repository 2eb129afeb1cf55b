"""A language of topics: every row draws its tokens from three words of one of its topics, whatever their order."""

import numpy as np
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, MASK, SEP, SPECIAL_IDS
from tfmodels.objectives import BertReplacement, CorruptedBatches, MaskedText, TokenMasking
from tfmodels.training import Batches

TOPICS, WORDS = 6, 3
VOCABULARY_SIZE = len(SPECIAL_IDS) + TOPICS * WORDS


def topic_rows(rows, seed=0, topics=None):
    """Ragged token ids of 9 to 14 tokens with [CLS] and [SEP], and each row's topic."""
    random = np.random.default_rng(seed)
    topics = random.integers(TOPICS, size=rows) if topics is None else topics
    texts = [
        [CLS, *(len(SPECIAL_IDS) + WORDS * topic + random.integers(WORDS, size=random.integers(7, 13))), SEP]
        for topic in topics
    ]
    return tf.ragged.constant([[int(token) for token in text] for text in texts], dtype=tf.int32), topics


def topic_batches(rows, seed=0, choose=None, replace=None, targets=None, batch_size=32, **settings):
    """The language as corrupted batches."""
    token_ids, _ = topic_rows(rows, seed)
    batches = Batches(
        token_ids, {"row": np.arange(rows), **(targets or {})}, batch_size, bucket_lengths=[14], seed=seed
    )
    corruption = MaskedText(
        choose or TokenMasking(0.2, 3), replace or BertReplacement(MASK, VOCABULARY_SIZE, SPECIAL_IDS)
    )
    return CorruptedBatches(batches, corruption, special_ids=SPECIAL_IDS, seed=seed, **settings)


def topic_backbone(dtype=None, **overrides):
    """A tiny BERT that knows the language's tokens, without dropout."""
    sizes = {"vocabulary_size": VOCABULARY_SIZE, "num_layers": 1, "hidden_dim": 24, "intermediate_dim": 32}
    return tiny(dtype=dtype, **{**sizes, "dropout": 0.0, "attention_dropout": 0.0, **overrides})
