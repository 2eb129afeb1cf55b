"""A student that learns from a teacher.

The loss is (1 - lambda) L_s + lambda L_d (Hinton et al., arXiv:1503.02531; Xu et al., arXiv:1907.05171, equations 1 and
2): L_s is the student's own loss, L_d the weighted sum of what it is asked to share with its teacher, and lambda a
`Balance`. What the teacher is decides the method: a larger model on the same inputs makes model distillation, one that
also reads inputs which only training has makes privileged-feature distillation, one that does both makes PFD + MD, the
previous generation of the student self-distillation, an `Ensemble` several teachers. Here it is trained beforehand and
frozen ("asynchronous"); `SynchronousDistiller` trains it along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import ops

from tfmodels.distillation.losses import DistillationLoss, Named, named_outputs
from tfmodels.errors import UserError
from tfmodels.models import Task

# How the targets name what the teacher said, and the inputs what the teacher reads in place of the student's.
TEACHER = "teacher/"


class Balance:
    """How much of the loss is the teacher's, by the step: nothing before step k, then a ramp, or a jump, to lambda.

        lambda(i) = value * min(max((i - swap_step + 1) / ramp_steps, 0), 1)

    arXiv:1907.05171, algorithm 1, has a jump at the swapping step k, since a teacher that is itself at its beginning
    leads the student astray.

    Args:
        value: lambda in the end, a fraction of the loss.
        swap_step: k: updates before the first one that hears the teacher.
        ramp_steps: The update in which `value` is reached, counted from the swap: 1 is a jump.

    Call arguments:
        step: i, int[]: updates before this one.

    Returns:
        float32[].

    Raises:
        UserError: The value is no fraction, or the steps are negative.

    Example:
    >>> [round(float(Balance(0.5, swap_step=2, ramp_steps=2)(step)), 2) for step in range(5)]
    [0.0, 0.0, 0.25, 0.5, 0.5]
    """

    def __init__(self, value: float, swap_step: int = 0, ramp_steps: int = 1):
        if not 0 <= value <= 1:
            raise UserError(f"balance={value} must be from 0, the labels alone, to 1, the teacher alone.")
        if swap_step < 0 or ramp_steps < 1:
            raise UserError(f"swap_step={swap_step} must be at least 0 and ramp_steps={ramp_steps} at least 1.")
        self.value = value
        self.swap_step = swap_step
        self.ramp_steps = ramp_steps

    def __call__(self, step):
        heard = ops.cast(ops.cast(step, "int32") - self.swap_step + 1, "float32")
        return self.value * ops.clip(heard / self.ramp_steps, 0.0, 1.0)


class Distiller(keras.Model):
    """Trains a student by its own loss and the weighted distillation losses.

    With a `balance` the loss is (1 - lambda) L_s + lambda L_d, and lambda stands among the figures, as "balance": its
    mean over an epoch's steps. Without one it is `hard_label_weight` L_s + L_d.

    The teacher's outputs are read from the targets, under "teacher/NAME", wherever they were computed beforehand
    (`Batches.outputs_of`); what is absent there the teacher computes in every step, without dropout and without
    a gradient.

    Inputs may hold what the student does not take: each model is given those that it has inputs for. Where an input
    "teacher/NAME" exists, such as "teacher/token_ids" for the whole of a text of which the student sees the beginning,
    the teacher reads that as its NAME.

    Args:
        student: A `TextClassifier`, or another task with "logits" and one class a row.
        teacher: A task with the same classes, or an `Ensemble` of such.
        losses: What the student is asked to share with its teacher; none to learn from the labels alone.
        hard_label_weight: The factor of the cross-entropy with the labels. Rows whose label is -1 have none: they
            learn from the teacher alone.
        balance: lambda, instead of `hard_label_weight`: a fraction, a `Balance`, or anything that makes float32[] of
            the number of updates that the optimizer has made.

    Call arguments:
        inputs: As the student takes them, with more or without.

    Returns:
        The student's outputs, flat: see `distillation.losses.named_outputs`.

    Raises:
        UserError: The models' classes differ, a loss asks for a layer that a model does not have, compares the
            attention of other numbers of heads, or tokens where the teacher reads others, or has another's name, or
            both weights are given.
    """

    # Outputs of the teacher that are read whatever the losses are.
    _always = ()
    # The figures whose names no loss may have.
    _figures = ("loss", "hard_loss", "balance", "accuracy")

    def __init__(
        self,
        student: Task,
        teacher: Task,
        losses: Sequence[DistillationLoss],
        hard_label_weight: float = 0.0,
        *,
        balance: float | Callable | None = None,
    ):
        super().__init__(name="distiller")
        classes = [model.output["logits"].shape[-1] for model in (student, teacher)]
        if classes[0] != classes[1]:
            raise UserError(f"the student has {classes[0]} classes and the teacher {classes[1]}: they must agree.")
        if balance is not None and hard_label_weight:
            raise UserError("balance already weighs the labels: leave hard_label_weight out.")
        figures = [*self._figures, *(loss.name for loss in losses)]
        for name in figures:
            if figures.count(name) > 1:
                raise UserError(f"two of the distiller's figures are called {name!r}: give the loss another name.")
        self.student = student
        self.losses_of = list(losses)
        self.hard_label_weight = hard_label_weight
        self.balance = balance if balance is None or callable(balance) else Balance(balance)
        asked = [name for loss in self.losses_of for name in loss.teacher_names]
        names = list(dict.fromkeys([*self._always, *asked]))
        self.teacher_names = names
        teacher_outputs = Named(teacher, names) if names else None
        outputs = teacher_outputs.output if names else {}
        widths = {name: tensor.shape[1 if len(tensor.shape) == 4 else -1] for name, tensor in outputs.items()}
        for loss in self.losses_of:
            loss.prepare(student, widths)
        ours = student.with_intermediates() if any("/" in name for name in names) else student
        self._student_outputs = ours
        # Hidden from Keras's tracking: the teacher's weights are neither trained nor saved with the student's.
        self._teacher = _Untracked(teacher_outputs)
        figures = ["loss", "hard_loss", *(loss.name for loss in self.losses_of)]
        if self.balance is not None:
            figures.append("balance")
        self._trackers = {name: keras.metrics.Mean(name) for name in figures}
        self._accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def teacher_outputs(self, inputs, training=False) -> dict:
        """What the losses read of the teacher, flat, by name: of a batch's inputs, privileged ones included."""
        model = self._teacher.model
        return {} if model is None else model(_inputs_of(model, inputs, TEACHER), training=training)

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs, training=None):
        return named_outputs(self._student_outputs(_inputs_of(self._student_outputs, inputs), training=training))

    def layer_groups(self) -> list:
        """The student's groups of layers, see `Backbone.layer_groups`."""
        return self.student.layer_groups()

    def loss_counts(self, x, y) -> dict:
        """Of how many things each of `loss_terms` is the mean, float32[]; see `training.micro_batches`."""
        y = _without_padding(x, y)
        return {"hard_loss": labelled(y), **{loss.name: loss.count(x["padding_mask"]) for loss in self.losses_of}}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True) -> dict:
        """What the loss is the sum of, float32[], by name; their figures are recorded."""
        self._check_tokens(x)
        y = _without_padding(x, y)
        said = {name: y[TEACHER + name] for name in self.teacher_names if TEACHER + name in y}
        if len(said) < len(self.teacher_names):
            computed = self.teacher_outputs(x)
            said = {name: said.get(name, ops.stop_gradient(computed[name])) for name in self.teacher_names}
        values = {"hard_loss": hard_loss(y, y_pred["logits"])}
        values |= {loss.name: loss(y_pred, said, x["padding_mask"]) for loss in self.losses_of}
        counts = self.loss_counts(x, y)
        for name, value in values.items():
            self._trackers[name].update_state(value, sample_weight=counts[name])
        hard, soft = self._weights()
        weights = {"hard_loss": hard, **{loss.name: soft * loss.weight for loss in self.losses_of}}
        return {name: weights[name] * value for name, value in values.items()}

    def record_loss(self, loss) -> None:
        """Records a batch's loss."""
        self._trackers["loss"].update_state(loss)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = sum(self.loss_terms(x, y, y_pred, sample_weight, training).values())
        self.record_loss(total)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        record_accuracy(self._accuracy, _without_padding(x, y), y_pred["logits"])
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self):
        return [*self._trackers.values(), self._accuracy]

    def _weights(self):
        """The factors of the labels' loss and of the distillation losses."""
        if self.balance is None:
            return self.hard_label_weight, 1.0
        optimizer = getattr(self, "optimizer", None)
        share = self.balance(0 if optimizer is None else optimizer.iterations)
        self._trackers["balance"].update_state(share)
        return 1.0 - share, share

    def _check_tokens(self, x):
        if TEACHER + "token_ids" in x and TEACHER + "padding_mask" not in x:
            raise UserError(
                "the teacher reads other tokens than the student, but there is no 'teacher/padding_mask': add all "
                "three inputs, see `training.token_features`."
            )
        by_token = [name for name in self.teacher_names if "/" in name]
        if by_token and TEACHER + "token_ids" in x:
            raise UserError(
                f"the teacher reads other tokens than the student, so that {by_token[0]!r} has no counterpart: "
                "use losses over the logits."
            )


def _without_padding(x, y):
    """The targets with no label at padding, where there is a label for each token: batches pad them with zeros."""
    if len(y["labels"].shape) == 1:
        return y
    return {**y, "labels": ops.where(x["padding_mask"], y["labels"], -1)}


def hard_loss(y, logits):
    """The mean cross-entropy with the labels in nats, float32[], over the rows whose label is not -1."""
    known = ops.cast(ops.not_equal(y["labels"], -1), "float32")
    losses = keras.losses.sparse_categorical_crossentropy(ops.maximum(y["labels"], 0), logits, from_logits=True)
    return ops.sum(losses * known) / ops.maximum(labelled(y), 1.0)


def record_accuracy(metric, y, logits) -> None:
    """Updates an accuracy by the rows whose label is not -1."""
    known = ops.cast(ops.not_equal(y["labels"], -1), "float32")
    metric.update_state(ops.maximum(y["labels"], 0), logits, sample_weight=known)


def labelled(y):
    """The number of rows whose label is not -1, float32[]."""
    return ops.sum(ops.cast(ops.not_equal(y["labels"], -1), "float32"))


def check_compatible(ours, theirs, labels: Sequence[str] = (), teacher_labels: Sequence[str] = ()) -> None:
    """Makes sure that a student and its teacher mean the same by a token's id and by a class's number.

    Models cannot tell: both are numbers to them. The files beside them can.

    Args:
        ours: The student's `TextPreprocessor`.
        theirs: The teacher's.
        labels: The student's classes, in order.
        teacher_labels: The teacher's.

    Raises:
        UserError: The vocabularies, the ways to split or to frame a text, or the classes differ.
    """
    traits = [
        {
            "kind": preprocessor.tokenizer.kind,
            "options": preprocessor.tokenizer.options(),
            "vocabulary": preprocessor.tokenizer.vocabulary_sha256(),
            "format": preprocessor.format.to_config(),
            "pairs of texts": preprocessor.pair,
        }
        for preprocessor in (ours, theirs)
    ]
    for trait, value in traits[0].items():
        if value != traits[1][trait]:
            raise UserError(
                f"the student reads texts by another tokeniser than its teacher ({trait}): give it the teacher's "
                "preprocessor, or take a student that was pretrained with the teacher's."
            )
    if list(labels) != list(teacher_labels):
        raise UserError(
            f"the student's classes are {', '.join(labels)} and the teacher's {', '.join(teacher_labels)}: give both "
            "the same in the same order."
        )


def _inputs_of(model, inputs, prefix=""):
    """Those of a batch's inputs that a model has inputs for; what is named with the prefix comes first."""
    missing = [name for name in model.input if name not in inputs and prefix + name not in inputs]
    if missing:
        raise UserError(
            f"{model.name} takes {missing[0]!r}, which the batches do not hold: they have {', '.join(inputs)}."
        )
    return {name: inputs[prefix + name] if prefix + name in inputs else inputs[name] for name in model.input}


class _Untracked:
    """Holds a model out of Keras's sight."""

    def __init__(self, model):
        self.model = model
