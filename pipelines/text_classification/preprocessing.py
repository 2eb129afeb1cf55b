"""What Transform does to the examples: labels become numbers, texts become tokens."""

from __future__ import annotations

import functools

import tensorflow as tf

from pipelines.components.files import local_copy
from tfmodels.text import TextPreprocessor


def preprocessing_fn(inputs: dict, custom_config: dict) -> dict:
    """TFX Transform's callback.

    The model is served on raw texts and holds the same `TextPreprocessor`, so that this graph is for training alone.

    Args:
        inputs: `text`, `text_pair` for pairs, and `label`, each string[B, 1].
        custom_config: `preprocessor`, the folder of the saved `TextPreprocessor`; `labels`, the classes in order;
            `length_edges`, see `EvaluationConfig`.

    Returns:
        The texts, unchanged, as string[B]; `label`: int64[B], -1 for a label that is none of the classes;
        `length_bucket`: string[B]; `token_ids`: ragged int64[B, None] with special tokens.
    """
    preprocessor = _preprocessor(custom_config["preprocessor"])
    texts = {name: tf.reshape(inputs[name], [-1]) for name in preprocessor.feature_names}
    return {
        **texts,
        "label": _class_numbers(tf.reshape(inputs["label"], [-1]), custom_config["labels"]),
        "length_bucket": _length_buckets(texts.values(), custom_config["length_edges"]),
        "token_ids": tf.cast(preprocessor.tokenize(*texts.values()), tf.int64),
    }


@functools.cache
def _preprocessor(directory: str) -> TextPreprocessor:
    # Transform traces this module's function half a dozen times; reading the vocabulary each time takes seconds.
    with tf.init_scope(), local_copy(directory) as local:
        return TextPreprocessor.load(local)


def _class_numbers(labels, classes):
    # Comparing with every class needs no table, whose initialisation graphs have to carry about.
    matches = tf.equal(labels[:, tf.newaxis], tf.constant(list(classes)))  # [B, C]
    return tf.where(tf.reduce_any(matches, axis=1), tf.argmax(matches, axis=1), -1)


def _length_buckets(texts, edges):
    words = tf.add_n([tf.strings.split(text).row_lengths() for text in texts])
    starts = [1, *(edge + 1 for edge in edges)]
    names = [f"{first}-{last} words" for first, last in zip(starts, edges)] + [f"{starts[-1]}+ words"]
    return tf.gather(tf.constant(names), tf.searchsorted(tf.constant(edges, tf.int64), words))
