"""A student that learns from a frozen teacher."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from tfmodels.distillation.losses import DistillationLoss, Named, named_outputs
from tfmodels.models import Task

# How the targets name what the teacher said.
TEACHER = "teacher/"


class Distiller(keras.Model):
    """Trains a student by `hard_label_weight` times its own loss plus the weighted distillation losses.

    The teacher's outputs are read from the targets, under "teacher/NAME", wherever they were computed beforehand
    (`Batches.outputs_of`); what is absent there the teacher computes in every step, without dropout and without
    a gradient.

    Args:
        student: A `TextClassifier`.
        teacher: A `TextClassifier` on the same tokens and classes.
        losses: What the student is asked to share with its teacher; none to learn from the labels alone.
        hard_label_weight: The factor of the cross-entropy with the labels. Rows whose label is -1 have none: they
            learn from the teacher alone.

    Call arguments:
        inputs: As the student takes them.

    Returns:
        The student's outputs, flat: see `distillation.losses.named_outputs`.

    Raises:
        ValueError: The models' classes differ, or a loss asks for a layer that a model does not have.
    """

    def __init__(self, student: Task, teacher: Task, losses: Sequence[DistillationLoss], hard_label_weight=0.0):
        super().__init__(name="distiller")
        classes = [model.settings["num_classes"] for model in (student, teacher)]
        if classes[0] != classes[1]:
            raise ValueError(f"the student has {classes[0]} classes and the teacher {classes[1]}: they must agree.")
        self.student = student
        self.losses_of = list(losses)
        self.hard_label_weight = hard_label_weight
        names = list(dict.fromkeys(name for loss in self.losses_of for name in loss.teacher_names))
        self.teacher_names = names
        teacher_outputs = Named(teacher, names) if names else None
        widths = {name: tensor.shape[-1] for name, tensor in teacher_outputs.output.items()} if names else {}
        for loss in self.losses_of:
            loss.prepare(student, widths)
        ours = student.with_intermediates() if any("/" in name for name in names) else student
        self._student_outputs = ours
        # Hidden from Keras's tracking: the teacher's weights are neither trained nor saved with the student's.
        self._teacher = _Untracked(teacher_outputs)
        self._trackers = {
            name: keras.metrics.Mean(name) for name in ("loss", "hard_loss", *(loss.name for loss in self.losses_of))
        }
        self._accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")

    @property
    def teacher_outputs(self) -> keras.Model | None:
        """The teacher's outputs that the losses read, as a model with a flat dict of outputs; None without losses."""
        return self._teacher.model

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs, training=None):
        return named_outputs(self._student_outputs(inputs, training=training))

    def loss_counts(self, x, y) -> dict:
        """Of how many things each of `loss_terms` is the mean, float32[]; see `training.micro_batches`."""
        known = ops.sum(ops.cast(ops.not_equal(y["labels"], -1), "float32"))
        return {"hard_loss": known, **{loss.name: loss.count(x["padding_mask"]) for loss in self.losses_of}}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True) -> dict:
        """What the loss is the sum of, float32[], by name; their figures are recorded."""
        said = {name: y[TEACHER + name] for name in self.teacher_names if TEACHER + name in y}
        if len(said) < len(self.teacher_names):
            computed = self.teacher_outputs(x, training=False)
            said = {name: said.get(name, ops.stop_gradient(computed[name])) for name in self.teacher_names}
        values = {"hard_loss": self._hard_loss(y["labels"], y_pred["logits"])}
        values |= {loss.name: loss(y_pred, said, x["padding_mask"]) for loss in self.losses_of}
        for name, count in self.loss_counts(x, y).items():
            self._trackers[name].update_state(values[name], sample_weight=count)
        weights = {"hard_loss": self.hard_label_weight, **{loss.name: loss.weight for loss in self.losses_of}}
        return {name: weights[name] * value for name, value in values.items()}

    def record_loss(self, loss) -> None:
        """Records a batch's loss."""
        self._trackers["loss"].update_state(loss)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = sum(self.loss_terms(x, y, y_pred, sample_weight, training).values())
        self.record_loss(total)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        known = ops.cast(ops.not_equal(y["labels"], -1), "float32")
        self._accuracy.update_state(ops.maximum(y["labels"], 0), y_pred["logits"], sample_weight=known)
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self):
        return [*self._trackers.values(), self._accuracy]

    @staticmethod
    def _hard_loss(labels, logits):
        known = ops.cast(ops.not_equal(labels, -1), "float32")
        losses = keras.losses.sparse_categorical_crossentropy(ops.maximum(labels, 0), logits, from_logits=True)
        return ops.sum(losses * known) / ops.maximum(ops.sum(known), 1.0)


class _Untracked:
    """Holds a model out of Keras's sight."""

    def __init__(self, model):
        self.model = model
