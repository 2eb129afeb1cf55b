"""A tiny BERT learns the synthetic task; the baseline is computed beside it."""

import numpy as np
import pytest

from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.training import FitConfig, fit


@pytest.mark.learns
def test_a_tiny_bert_finds_the_keyword_where_the_majority_baseline_cannot(tmp_path):
    train, held_out = keyword_batches(512, share=0.4), keyword_batches(256, seed=1, share=0.4)
    model = tiny_classifier(dropout=0.0, attention_dropout=0.0)
    fit(model, train, held_out, FitConfig(epochs=6, learning_rate=1e-2), tmp_path, **classify())
    labels = held_out.targets["logits"]
    majority = np.bincount(train.targets["logits"]).argmax()
    baseline = np.mean(labels == majority)
    accuracy = np.mean(held_out.outputs_of(model)["logits"].argmax(axis=-1) == labels)
    assert baseline < 0.7
    assert accuracy > 0.95 > baseline, f"accuracy {accuracy:.3f}, majority {baseline:.3f}"
