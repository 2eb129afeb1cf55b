"""The two classical losses of a margin that Keras has not; it has the hinge, its square and the logistic one.

model.compile(loss={"logits": PerceptronLoss()})
"""

from __future__ import annotations

import keras
from keras import ops


def _margins(y_true, y_pred):
    """The margins of labels, 0 or -1 and 1, and of scores of the same shape."""
    return ops.where(ops.cast(y_true, y_pred.dtype) > 0, y_pred, -y_pred)


@keras.saving.register_keras_serializable("tfmodels")
class PerceptronLoss(keras.losses.Loss):
    """max(0, -y f): nothing for what is right, however narrowly (Rosenblatt, 1958).

    Call arguments:
        y_true: Labels [B, n]: 0 or -1, and 1.
        y_pred: Scores f [B, n], which no activation has bounded.
    """

    def call(self, y_true, y_pred):
        return ops.mean(ops.relu(-_margins(y_true, y_pred)), axis=-1)


@keras.saving.register_keras_serializable("tfmodels")
class ExponentialLoss(keras.losses.Loss):
    """exp(-y f), which AdaBoost makes small (Friedman, Hastie and Tibshirani, 2000, section 4).

    Call arguments:
        y_true: Labels [B, n]: 0 or -1, and 1.
        y_pred: Scores f [B, n], which no activation has bounded.
    """

    def call(self, y_true, y_pred):
        return ops.mean(ops.exp(-_margins(y_true, y_pred)), axis=-1)
