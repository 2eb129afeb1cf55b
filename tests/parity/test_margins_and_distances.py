"""The survey's losses beside torch's: Keras's own, and the two of `tfmodels.training` that it has not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import ops
from torch.nn import functional

from tests.support import check_parity
from tfmodels.training import ExponentialLoss, PerceptronLoss

pytestmark = pytest.mark.parity

ROWS, CLASSES = 7, 5
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(ROWS, CLASSES)).astype("float32")
TARGETS = RANDOM.normal(size=(ROWS, CLASSES)).astype("float32")
SHARES = np.exp(TARGETS) / np.exp(TARGETS).sum(-1, keepdims=True)
SIGNS = np.where(TARGETS > 0, 1.0, -1.0).astype("float32")
LABELS = TARGETS.argmax(-1)


def hinge(scores, signs):
    return torch.clamp(1 - signs * scores, min=0)


# name -> the loss, what it is given as the truth, and torch's of torch's scores and that.
LOSSES = {
    "squared": (keras.losses.MeanSquaredError(), TARGETS, functional.mse_loss),
    "absolute": (keras.losses.MeanAbsoluteError(), TARGETS, functional.l1_loss),
    "Huber": (keras.losses.Huber(0.7), TARGETS, lambda x, y: functional.huber_loss(x, y, delta=0.7)),
    "cross-entropy": (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        LABELS,
        functional.cross_entropy,
    ),
    "smoothed cross-entropy": (
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        np.eye(CLASSES, dtype="float32")[LABELS],
        lambda x, y: functional.cross_entropy(x, y.argmax(-1), label_smoothing=0.1),
    ),
    "logistic": (
        keras.losses.BinaryCrossentropy(from_logits=True),
        (SIGNS + 1) / 2,
        lambda x, y: functional.soft_margin_loss(x, 2 * y - 1),
    ),
    "hinge": (keras.losses.Hinge(), SIGNS, lambda x, y: hinge(x, y).mean()),
    "squared hinge": (keras.losses.SquaredHinge(), SIGNS, lambda x, y: (hinge(x, y) ** 2).mean()),
    "cosine": (
        keras.losses.CosineSimilarity(),
        TARGETS,
        lambda x, y: -functional.cosine_similarity(x, y, dim=-1).mean(),
    ),
    "perceptron": (PerceptronLoss(), SIGNS, lambda x, y: functional.relu(-y * x).mean()),
    "exponential": (ExponentialLoss(), SIGNS, lambda x, y: torch.exp(-y * x).mean()),
}


def compare(name, loss, truth, theirs):
    ours = tf.Variable(SCORES)
    with tf.GradientTape() as tape:
        value = loss(truth, ours)
    reference = torch.tensor(SCORES, requires_grad=True)
    expected = theirs(reference, torch.tensor(truth))
    expected.backward()
    gradient = tf.convert_to_tensor(tape.gradient(value, ours)).numpy()
    check_parity(
        name,
        {"value": value, "gradient": gradient},
        {"value": expected.detach().numpy(), "gradient": reference.grad.numpy()},
    )


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_torch(name):
    compare(name, *LOSSES[name])


def test_the_divergence_of_distributions_is_that_of_torch():
    class OfScores(keras.losses.KLDivergence):
        def call(self, y_true, y_pred):
            return super().call(y_true, ops.softmax(y_pred, axis=-1))

    def theirs(scores, shares):
        return functional.kl_div(torch.log_softmax(scores, -1), shares, reduction="batchmean")

    compare("divergence", OfScores(), SHARES, theirs)
