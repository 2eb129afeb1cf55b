"""ULMFiT's two learners in small: a language model of real reviews, and a classifier that is unfrozen layer by layer.

That the first helps the second, as the paper has it, does not show at sizes that a test can afford: on 2,000 labelled
reviews a language model of 600,000 tokens made the classifier worse than random weights did.
"""

import keras
import numpy as np
import tensorflow as tf

from tests.training.keywords import classify, keyword_batches
from tfmodels import create_model, datasets
from tfmodels.models import TextClassifier, TiedLM
from tfmodels.objectives import CausalPretrainer, TextStreams
from tfmodels.training import FitConfig, fit

LENGTH = 16
UNKNOWN, END = 1, 2  # 0 is padding


def backbone(vocabulary_size, **settings):
    drops = {"input_dropout": 0.1, "layer_dropout": 0.1, "output_dropout": 0.1, "weight_dropout": 0.1}
    sizes = {"hidden_dim": 32, "intermediate_dim": 24, "classifier_dim": 16, "word_dropout": 0.0}
    return create_model("ulmfit", vocabulary_size=vocabulary_size, **{**drops, **sizes, **settings})


def reviews(vocabulary_size):
    """The reviews of the training and the validation split, as ids."""
    rows = datasets.movie_reviews()
    texts = {
        split: [row.text.lower().split() for row in rows if row.split == split] for split in ("train", "validation")
    }
    words, counts = np.unique([word for text in texts["train"] for word in text], return_counts=True)
    kept = words[np.argsort(-counts, kind="stable")][: vocabulary_size - 3]
    numbers = {str(word): rank + 3 for rank, word in enumerate(kept)}
    return [
        tf.ragged.constant([[*(numbers.get(w, UNKNOWN) for w in text[: LENGTH - 1]), END] for text in part], tf.int32)
        for part in texts.values()
    ]


def test_a_language_model_of_reviews_beats_a_unigram_model(tmp_path):
    keras.utils.set_random_seed(0)
    train, held_out = reviews(600)
    lm = CausalPretrainer(TiedLM(backbone(600, num_layers=1)), batch_size=16)
    config = FitConfig(epochs=1, learning_rate=3e-2, monitor="val_loss", schedule="slanted_triangular")
    streams = (TextStreams(ids, 16, LENGTH) for ids in (train, held_out))
    (loss,) = fit(lm, *streams, config, tmp_path, verbose=0)["val_loss"]
    counts = np.bincount(train.values.numpy(), minlength=600) + 1
    unigram = -np.log(counts / counts.sum())[held_out.values.numpy()].mean()
    assert loss < unigram - 0.2, f"{loss:.3f} nats, unigram {unigram:.3f}"


def test_a_classifier_that_is_unfrozen_gradually_finds_the_keyword(tmp_path):
    keras.utils.set_random_seed(0)
    train, held_out = keyword_batches(512, share=0.4), keyword_batches(256, seed=1, share=0.4)
    model = TextClassifier(backbone(51, num_layers=2), 2)
    config = FitConfig(
        epochs=8,
        learning_rate=3e-2,
        schedule="slanted_triangular",
        layer_decay=1 / 2.6,
        unfreezing="gradual",
        unfreeze_epochs=(0.5,),
    )
    fit(model, train, held_out, config, tmp_path, **classify())
    labels = held_out.targets["logits"]
    baseline = np.mean(labels == np.bincount(train.targets["logits"]).argmax())
    accuracy = np.mean(held_out.outputs_of(model)["logits"].argmax(axis=-1) == labels)
    assert accuracy > 0.9 > 0.7 > baseline, f"accuracy {accuracy:.3f}, majority {baseline:.3f}"
