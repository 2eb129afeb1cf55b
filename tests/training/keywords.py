"""A synthetic task that a tiny model can learn: does a row hold the keyword?"""

import keras
import numpy as np
import tensorflow as tf

from tests.models.tiny import tiny
from tfmodels.models import TextClassifier
from tfmodels.training import Batches

KEYWORD = 7


def classify():
    """How `fit` is told to train a `TextClassifier`."""
    # Metrics keep their counts: every run needs its own.
    return {
        "loss": {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        "metrics": {"logits": [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
        "verbose": 0,
    }


def keyword_rows(rows=96, seed=0, share=0.5):
    """Ragged token ids of 3 to 15 tokens, and labels: 1 where the keyword is among them."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < share).astype("int64")
    texts = []
    for label in labels:
        text = random.integers(8, 51, random.integers(3, 16))
        if label:
            text[random.integers(len(text))] = KEYWORD
        texts.append(text.tolist())
    return tf.ragged.constant(texts, dtype=tf.int32), labels


def keyword_batches(rows=96, seed=0, batch_size=16, share=0.5, target="logits", **settings):
    """The task as `Batches`."""
    token_ids, labels = keyword_rows(rows, seed, share)
    return Batches(token_ids, {target: labels}, batch_size, **settings)


def tiny_classifier(dtype=None, **overrides):
    """A text classifier of two classes, with dropout, so that its seeds matter."""
    return TextClassifier(tiny(dtype=dtype, **{"num_layers": 1, **overrides}), 2, name="classifier")
