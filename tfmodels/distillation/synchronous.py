"""A teacher that learns while it teaches: both models in one step.

Xu et al., "Privileged Features Distillation at Taobao" (arXiv:1907.05171), equation 5 and algorithm 1:

    (1 - lambda) L_s(y, f_s(X)) + lambda L_d(f_t(X*), f_s(X)) + L_t(y, f_t(X*))

where L_d's gradient goes into the student alone, so that the teacher is trained as it would be by itself. One run
takes the place of two, and the teacher's forward pass, with its dropout, serves its own loss and the student's; in
exchange the student hears a teacher that knows little at first. Therefore lambda is 0 until the swapping step k, or
grows from there (`Balance`).

What differs from the paper: L_d is any loss of this room, and the step is any optimizer's. One that clips by the global
norm sees the gradients of both models together, which couples them; without such clipping each model's updates are
those of algorithm 1.

Cost: time and memory of training both models at once. A `Distiller` on cached outputs is cheaper for every further
student of the same teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import ops

from tfmodels.distillation.distiller import TEACHER, Distiller, hard_loss, labelled, record_accuracy
from tfmodels.distillation.losses import DistillationLoss
from tfmodels.errors import UserError
from tfmodels.models import Task


class SynchronousDistiller(Distiller):
    """Trains a teacher by the labels, and in the same steps a student by (1 - lambda) L_s + lambda L_d.

    Both models' weights are in its checkpoints, and the epoch that `fit` keeps is the one that is best for the student.
    The figures add "teacher_loss" and "teacher_accuracy".

    Args:
        student: As for `Distiller`.
        teacher: As for `Distiller`; its weights are trained.
        losses: As for `Distiller`.
        balance: lambda; see `Distiller`.

    Call arguments:
        inputs: As for `Distiller`.

    Returns:
        The student's outputs, flat.

    Raises:
        UserError: As for `Distiller`, or the targets hold a teacher's outputs, which would be those of another one.
    """

    _always = ("logits",)
    _figures = (*Distiller._figures, "teacher_loss", "teacher_accuracy")

    def __init__(
        self, student: Task, teacher: Task, losses: Sequence[DistillationLoss], balance: float | Callable = 0.5
    ):
        super().__init__(student, teacher, losses, balance=balance)
        self.teacher = teacher
        self._trackers["teacher_loss"] = keras.metrics.Mean("teacher_loss")
        self._teacher_accuracy = keras.metrics.SparseCategoricalAccuracy("teacher_accuracy")

    def loss_counts(self, x, y) -> dict:
        return {**super().loss_counts(x, y), "teacher_loss": labelled(y)}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True) -> dict:
        cached = [name for name in y if name.startswith(TEACHER)]
        if cached:
            raise UserError(f"the targets hold {cached[0]!r}: a teacher that is still learning has no cached outputs.")
        outputs = self.teacher_outputs(x, training=training)
        # No gradient of a distillation loss into the teacher, which would learn to be easy to imitate.
        said = {TEACHER + name: ops.stop_gradient(value) for name, value in outputs.items()}
        terms = super().loss_terms(x, {**y, **said}, y_pred, sample_weight, training)
        loss = hard_loss(y, outputs["logits"])
        self._trackers["teacher_loss"].update_state(loss, sample_weight=labelled(y))
        record_accuracy(self._teacher_accuracy, y, outputs["logits"])
        return {**terms, "teacher_loss": loss}

    @property
    def metrics(self):
        return [*super().metrics, self._teacher_accuracy]
