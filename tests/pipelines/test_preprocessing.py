"""What Transform makes of the examples; that it runs in Transform's graph is part of the pipeline's test."""

import pytest
import tensorflow as tf

from pipelines.text_classification import preprocessing
from tfmodels.text import TextPreprocessor, WordPieceTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film"]


@pytest.fixture
def settings(tmp_path):
    def make(pair=False):
        TextPreprocessor(WordPieceTokenizer(PIECES), sequence_length=16, pair=pair).save(tmp_path)
        preprocessing._preprocessor.cache_clear()
        return {"preprocessor": str(tmp_path), "labels": ["bad", "good", "mixed"], "length_edges": [1, 3]}

    return make


def column(*values):
    return tf.constant([[value] for value in values])


def test_labels_become_their_place_in_the_sorted_list(settings):
    inputs = {"text": column("film", "film", "film"), "label": column("mixed", "bad", "unheard of")}
    assert preprocessing.preprocessing_fn(inputs, settings())["label"].numpy().tolist() == [2, 0, -1]


def test_texts_become_tokens_and_stay_as_they_are(settings):
    inputs = {"text": column("A good film", "bad"), "label": column("good", "bad")}
    outputs = preprocessing.preprocessing_fn(inputs, settings())
    assert outputs["token_ids"].to_list() == [[2, 4, 5, 7, 3], [2, 6, 3]]
    assert outputs["token_ids"].dtype == tf.int64
    assert outputs["text"].numpy().tolist() == [b"A good film", b"bad"]


def test_lengths_fall_into_buckets_at_their_edges(settings):
    inputs = {"text": column("one", "one two", "one two three", "one two three four"), "label": column(*4 * ["bad"])}
    buckets = preprocessing.preprocessing_fn(inputs, settings())["length_bucket"].numpy().tolist()
    assert buckets == [b"1-1 words", b"2-3 words", b"2-3 words", b"4+ words"]


def test_pairs_are_packed_and_counted_together(settings):
    inputs = {"text": column("a film"), "text_pair": column("good film"), "label": column("good")}
    outputs = preprocessing.preprocessing_fn(inputs, settings(pair=True))
    assert outputs["token_ids"].to_list() == [[2, 4, 7, 3, 5, 7, 3]]
    assert outputs["length_bucket"].numpy().tolist() == [b"4+ words"]
    assert set(outputs) == {"text", "text_pair", "label", "length_bucket", "token_ids"}
