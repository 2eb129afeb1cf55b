"""Models whose losses are means over unlike things, each with one batch in which these are spread unevenly.

    python -m tests.training.large_batches OUTPUT.npz

trains them on two replicas, logical CPUs, and writes the weights: devices must be made before TensorFlow starts.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import MASK, rows_of
from tests.objectives.test_corruption import bert, corrupted
from tests.objectives.test_pretrainer import spread_out
from tests.support import token_batch
from tests.training.keywords import classify
from tfmodels.distillation import AttentionScores, Distiller, Embeddings, HiddenStates, SoftLabels
from tfmodels.models import MaskedLM, ReplacedTokenDetector, TextClassifier
from tfmodels.objectives import (
    Classification,
    ElectraPretrainer,
    MaskedLanguageModel,
    MaskedText,
    MaskReplacement,
    NextSentence,
    Pretrainer,
    SentenceOrder,
    Similarity,
    SpanBoundary,
    SpanMasking,
    SpanReplacement,
    TokenClassification,
    TokenMasking,
)
from tfmodels.objectives.losses import put_at_positions
from tfmodels.training import Lamb, micro_batches

V = 60
LENGTHS = (30, 22, 3, 5, 41, 9, 12, 2, 4, 17, 28, 1, 8)  # 13 rows: eight parts of one batch are uneven too


def _backbone(**sizes):
    settings = {"vocabulary_size": V, "max_sequence_length": 64, "num_layers": 1, "dropout": 0.0}
    return tiny(**{**settings, "attention_dropout": 0.0, **sizes})


def classifier():
    """A compiled loss: a mean over rows."""
    inputs = token_batch(LENGTHS, vocabulary_size=V)
    return TextClassifier(_backbone(), 3, dropout=0.0), inputs, {"logits": np.arange(13) % 3}


def pretrainer():
    """Means over predictions, over spans, over rows with a label and over their tokens."""
    inputs, targets = corrupted(MaskedText(SpanMasking(0.3, 12), bert(SpanReplacement)), rows_of(list(LENGTHS)))
    rows = np.arange(13)
    targets |= {"next_sentence": rows % 2, "sentence_order": np.where(rows < 5, -1, rows % 2)}
    targets |= {"topic": np.where(rows == 6, 1, -1), "score": np.where(rows > 8, 0.1 * rows, np.nan).astype("float32")}
    targets |= {"token": np.where(rows_of(list(LENGTHS))["word_starts"], 1, -1)}
    objectives = [
        MaskedLanguageModel(),
        SpanBoundary(max_span_length=6, position_dim=5, weight=0.5),
        NextSentence(weight=0.25),
        SentenceOrder(weight=2.0),
        Classification("topic", 3, dropout=0.0),
        Similarity("score", dropout=0.0, weight=0.3),
        TokenClassification("token", 2, dropout=0.0),
    ]
    return Pretrainer(_backbone(), objectives), inputs, targets


class _Electra(ElectraPretrainer):
    """With samples that are no draws, so that parts have those of the batch."""

    def replace(self, logits, inputs, targets, training=True):
        sampled = (targets["labels"] * 7 + 1) % V
        original, token_ids = (
            put_at_positions(inputs["token_ids"], targets["positions"], targets["weights"], ids)
            for ids in (targets["labels"], sampled)
        )
        return {"sampled": sampled, "token_ids": token_ids, "is_replaced": token_ids != original}


def electra():
    """A mean over predictions and one over all tokens."""
    inputs, targets = corrupted(MaskedText(TokenMasking(0.3, 12), MaskReplacement(MASK)), rows_of(list(LENGTHS)))
    model = _Electra(MaskedLM(_backbone(hidden_dim=10)), ReplacedTokenDetector(_backbone()), discriminator_weight=5.0)
    return model, inputs, targets


def distiller():
    """Means over rows with a label, over rows, over tokens and over pairs of tokens."""
    inputs = token_batch(LENGTHS, vocabulary_size=V)
    teacher, student = (TextClassifier(_backbone(num_layers=layers), 3, dropout=0.0) for layers in (4, 2))
    spread_out(teacher)
    losses = [
        SoftLabels(2.0, weight=0.7, name="soft_labels"),
        HiddenStates({1: 2, 2: 4}, weight=0.5, name="hidden_states"),
        AttentionScores({0: 1, 1: 3}, weight=0.3, name="attention_scores"),
        Embeddings(weight=0.2, name="embeddings"),
    ]
    labels = np.array([1, -1, -1, 2, 0, -1, -1, -1, 1, -1, -1, -1, -1])
    return Distiller(student, teacher, losses, hard_label_weight=0.4), inputs, {"labels": labels}


MODELS = {make.__name__: make for make in (classifier, pretrainer, electra, distiller)}


def replicated():
    """How each model is trained on replicas: in how many parts, and by which optimiser."""
    return {"classifier": (4, lamb), "pretrainer": (4, sgd), "electra": (1, sgd), "distiller": (1, lamb)}


class DenseSGD(keras.optimizers.SGD):
    """Keras takes the norm of a sparse gradient row by row, a dense one's as it is."""

    def apply(self, grads, trainable_variables=None):
        super().apply([None if g is None else tf.convert_to_tensor(g) for g in grads], trainable_variables)


def sgd():
    """Steps that show every difference of the gradients; the clipping bites."""
    return DenseSGD(5.0, global_clipnorm=0.05)


def lamb():
    """What large batches are made for; here with a scaled loss, as float16 wants it."""
    return keras.optimizers.LossScaleOptimizer(Lamb(0.01, global_clipnorm=0.05), initial_scale=64.0)


def train(name, parts, make_optimizer, steps=2):
    """The model after steps on its batch, each in `parts`, and the figures of all steps; None for Keras's own step."""
    keras.utils.set_random_seed(0)
    model, inputs, targets = MODELS[name]()
    spread_out(model.student if name == "distiller" else model)
    own = {} if name != "classifier" else {part: classify()[part] for part in ("loss", "metrics")}
    model.compile(make_optimizer(), jit_compile=False, **own)
    data = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(len(LENGTHS)).repeat(steps)
    settings = {"epochs": 1, "steps_per_epoch": steps, "verbose": 0}
    if parts is None:
        history = model.fit(data, **settings)
    else:
        with micro_batches(model, parts):
            history = model.fit(data, **settings)
    return model, {figure: values[0] for figure, values in history.history.items()}


def main(path):
    """Trains everything on two replicas and writes the weights."""
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    found = {}
    for name, (parts, make_optimizer) in replicated().items():
        with strategy.scope():
            model, figures = train(name, parts, make_optimizer)
        for index, variable in enumerate(model.trainable_variables):
            found[f"{name}/{index}"] = variable.numpy()
        found[f"{name}/loss"] = figures["loss"]
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
