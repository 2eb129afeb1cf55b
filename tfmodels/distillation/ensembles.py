"""Several teachers at once, and students that teach the next one.

An `Ensemble` is handed to a `Distiller` as its teacher. Its "logits" are the teachers' average, which is what Hinton et
al. (arXiv:1503.02531, section 1) distil; "KEY:logits", "KEY:hidden_states/3" ... are those of one teacher, which
`OfTeacher` makes a loss read, so that a student can hear several teachers each by a loss and a weight of its own.

`generations` is Furlanello et al., "Born Again Neural Networks" (arXiv:1805.04770, section 3): every student has its
teacher's architecture, and the ensemble of all generations is the paper's BANE.

Cost: each teacher's own; cached outputs (`Batches.outputs_of`) hold one row of logits, however many teachers spoke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
from keras import ops

from tfmodels.distillation.losses import DistillationLoss, named_outputs
from tfmodels.errors import UserError
from tfmodels.models import Task


def average_probabilities(logits, weights):
    """The logarithm of the weighted mean of the teachers' distributions, whose softmax is that mean.

    Args:
        logits: A list of n float[B, C].
        weights: n numbers that add up to 1.

    Returns:
        float32[B, C].
    """
    weighted = [
        ops.log_softmax(ops.cast(each, "float32"), axis=-1) + float(np.log(weight))
        for each, weight in zip(logits, weights)
        if weight
    ]
    return ops.logsumexp(ops.stack(weighted), axis=0)


def average_logits(logits, weights):
    """The weighted mean of the teachers' logits: the normalised geometric mean of their distributions.

    Args:
        logits: A list of n float[B, C].
        weights: n numbers that add up to 1.

    Returns:
        float32[B, C].
    """
    return sum(ops.cast(each, "float32") * weight for each, weight in zip(logits, weights))


class Ensemble(keras.Model):
    """Several classifiers as one teacher.

    Args:
        teachers: By keys of one's choice, tasks with the same classes in the same order, on the same inputs or some of
            them.
        weights: The teachers' shares, by key; equal by default. They are divided by their sum.
        average: Makes one float32[B, C] of the teachers' logits and the shares: `average_probabilities` or
            `average_logits`.

    Call arguments:
        inputs: All that the teachers take, in one dict.

    Returns:
        {"logits": float32[B, C]} and "KEY:NAME" for every output of every teacher.

    Raises:
        UserError: There are no teachers, their classes differ, or the weights are no shares.
    """

    def __init__(
        self,
        teachers: Mapping[str, Task],
        weights: Mapping[str, float] | None = None,
        average: Callable = average_probabilities,
        name: str = "ensemble",
    ):
        if not teachers:
            raise UserError("an ensemble needs at least one teacher.")
        first, *others = teachers
        classes = {key: teacher.settings["num_classes"] for key, teacher in teachers.items()}
        for key in others:
            if classes[key] != classes[first]:
                raise UserError(
                    f"teacher {key!r} has {classes[key]} classes and {first!r} {classes[first]}: they must agree."
                )
        weights = dict.fromkeys(teachers, 1.0) if weights is None else dict(weights)
        if set(weights) != set(teachers) or min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise UserError(
                f"weights={weights} must give each teacher ({', '.join(teachers)}) a share of at least 0, not all 0."
            )
        shares = [weights[key] / sum(weights.values()) for key in teachers]
        super().__init__(*_wired(teachers, shares, average, intermediates=False), name=name)
        self.teachers = dict(teachers)
        self.settings = {"num_classes": classes[first]}
        self._recipe = (shares, average)

    def with_intermediates(self) -> keras.Model:
        """A model on the same layers and weights whose outputs add every teacher's named intermediates."""
        wired = _wired(self.teachers, *self._recipe, intermediates=True)
        return keras.Model(*wired, name=f"{self.name}_intermediates")


def _wired(teachers, shares, average, intermediates):
    """The inputs and outputs of a functional model over the teachers."""
    inputs, logits, outputs = {}, [], {}
    for key, teacher in teachers.items():
        for name, tensor in teacher.input.items():
            inputs.setdefault(name, keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name))
        model = teacher.with_intermediates() if intermediates else teacher
        # Two teachers may have one name, which the layers of a model must not.
        part = keras.Model(model.input, named_outputs(model.output), name=f"teacher_{len(logits)}")
        said = part({name: inputs[name] for name in teacher.input})
        logits.append(said["logits"])
        outputs |= {f"{key}:{name}": value for name, value in said.items()}
    return inputs, {"logits": average(logits, shares), **outputs}


class OfTeacher(DistillationLoss):
    """A loss between the student and one teacher of an `Ensemble`.

    Args:
        key: The teacher's.
        loss: The loss.
        weight: The loss's factor in the sum, beside that of `loss`.
    """

    def __init__(self, key, loss, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        self.key = key
        self.loss = loss

    @property
    def teacher_names(self):
        return tuple(f"{self.key}:{name}" for name in self.loss.teacher_names)

    def prepare(self, student, teacher_widths):
        self.loss.prepare(student, self._own(teacher_widths))

    def count(self, is_real):
        return self.loss.count(is_real)

    def call(self, student, teacher, is_real):
        return self.loss.weight * self.loss(student, self._own(teacher), is_real)

    def _own(self, outputs):
        """One teacher's outputs, by the names that a loss knows."""
        start = f"{self.key}:"
        return {name.removeprefix(start): value for name, value in outputs.items() if name.startswith(start)}


def generations(make: Callable[[], Task], teach: Callable[[Task, Task | None], None], count: int) -> Iterator[Task]:
    """Born-again students: each is taught by the one before it, the first by the labels alone.

    Args:
        make: Returns a new student, of the same architecture every time.
        teach: Trains a student in place, given its teacher; None for the first.
        count: Generations, the first included.

    Yields:
        The trained models, the oldest first.

    Raises:
        UserError: The count is not positive.

    Example:
        def teach(student, teacher):
            losses = [SoftLabels(name="soft_labels")] if teacher else []
            fit(Distiller(student, teacher or student, losses, 1.0), train, validation, config, directory())

        models = list(generations(make, teach, 3))
        together = Ensemble({str(number): model for number, model in enumerate(models)})
    """
    if count < 1:
        raise UserError(f"count={count} must be at least 1: the number of generations.")
    teacher = None
    for _ in range(count):
        student = make()
        teach(student, teacher)
        yield student
        teacher = student
