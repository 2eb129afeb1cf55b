"""The two classical losses of a margin that Keras has not; it has the hinge, its square and the logistic one.

model.compile(loss={"logits": PerceptronLoss()})
"""

from __future__ import annotations

import keras
from keras import ops


class _MarginLoss(keras.losses.Loss):
    """A mean over a function of the margin y f: y is the label as -1 or 1, f the score."""

    def __init__(self, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def of_margin(self, margin):
        """The loss of every margin, of any shape."""
        raise NotImplementedError

    def call(self, y_true, y_pred):
        """Losses [B]: the mean over the last axis.

        Args:
            y_true: Labels [B, n]: 0 or -1, and 1.
            y_pred: Scores [B, n], which no activation has bounded.
        """
        sign = ops.where(ops.cast(y_true, y_pred.dtype) > 0, 1.0, -1.0)
        return ops.mean(self.of_margin(ops.cast(sign, y_pred.dtype) * y_pred), axis=-1)


@keras.saving.register_keras_serializable("tfmodels")
class PerceptronLoss(_MarginLoss):
    """max(0, -y f): nothing for what is right, however narrowly (Rosenblatt, 1958)."""

    def of_margin(self, margin):
        return ops.relu(-margin)


@keras.saving.register_keras_serializable("tfmodels")
class ExponentialLoss(_MarginLoss):
    """exp(-y f), which AdaBoost makes small (Friedman, Hastie and Tibshirani, 2000, section 4)."""

    def of_margin(self, margin):
        return ops.exp(-margin)
