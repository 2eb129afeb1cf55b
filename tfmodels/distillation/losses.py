"""What a student is asked to share with its teacher.

Every loss names the teacher's outputs that it reads: "logits", or an intermediate and its index, such as
"hidden_states/3" (index 0 is the embeddings) and "attention_scores/2" (index 0 is the first layer).
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.projection import Projection
from tfmodels.models import Task


class DistillationLoss(Layer):
    """The base of all losses.

    Args:
        weight: The loss's factor in the sum.

    Call arguments:
        student: The student's outputs by name, see `named_outputs`.
        teacher: The teacher's outputs by name.
        is_real: bool[B, T], True at tokens, False at padding.

    Returns:
        float32[]: the mean over the batch, without the weight.
    """

    def __init__(self, weight=1.0, **kwargs):
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.weight = weight

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """The names of the teacher's outputs that the loss reads."""
        raise NotImplementedError

    def prepare(self, student: Task, teacher_widths: Mapping[str, int]) -> None:
        """Makes the weights that the loss needs, before training.

        Args:
            student: The student.
            teacher_widths: The size of the last axis of each of the teacher's outputs, by name; of attention scores,
                the number of heads.

        Raises:
            UserError: The student has no such layer, or it is not of the teacher's kind.
        """

    def count(self, is_real):
        """float32[]: how many things the loss is the mean of, in proportion: rows, unless said otherwise."""
        return ops.cast(ops.shape(is_real)[0], "float32")

    def build(self, *shapes):
        self.built = True


class _LogitLoss(DistillationLoss):
    """The base of what compares logits: a row's, float[B, C], or those of each real token, float[B, T, C]."""

    teacher_names = ("logits",)
    by_token = False

    def prepare(self, student, teacher_widths):
        self.by_token = len(student.output["logits"].shape) == 3

    def count(self, is_real):
        return ops.sum(ops.cast(is_real, "float32")) if self.by_token else super().count(is_real)

    def call(self, student, teacher, is_real):
        compared = self.compare(student["logits"], ops.cast(teacher["logits"], "float32"))  # [B] or [B, T]
        if len(compared.shape) == 1:
            return ops.mean(compared)
        real = ops.cast(is_real, "float32")
        return ops.sum(compared * real) / ops.maximum(ops.sum(real), 1.0)

    def compare(self, student, teacher):
        """What the loss is the mean of: float32[..., C] twice to float32[...]."""
        raise NotImplementedError


class SoftLabels(_LogitLoss):
    """The Kullback-Leibler divergence of the softened distributions, in nats, times the temperature squared.

    Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2: the square keeps the
    gradient's size when the temperature changes. Where a task has logits at every token, as `MaskedLM`, the mean is
    over real tokens; that costs O(B T V) memory for either model.

    Args:
        temperature: Divides both models' logits; positive.
        weight: The loss's factor in the sum.
    """

    def __init__(self, temperature=1.0, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        if temperature <= 0:
            raise UserError(f"temperature={temperature} must be positive: use 1 for unsoftened labels.")
        self.temperature = temperature

    def compare(self, student, teacher):
        student_log = ops.log_softmax(student / self.temperature, axis=-1)
        teacher_log = ops.log_softmax(teacher / self.temperature, axis=-1)
        return self.temperature**2 * ops.sum(ops.exp(teacher_log) * (teacher_log - student_log), axis=-1)


class LogitRegression(_LogitLoss):
    """The squared difference of the logits, in nats squared, averaged over classes.

    Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv:1903.12136, section
    3.2): where the softmax saturates, the divergence of the distributions hardly tells one sure answer from a surer
    one; the logits do. Both sides are taken from their mean over the classes, which no softmax sees.

    Args:
        weight: The loss's factor in the sum.
    """

    def compare(self, student, teacher):
        return ops.mean(ops.square(_centred(student) - _centred(teacher)), axis=-1)


def _centred(logits):
    return logits - ops.mean(logits, axis=-1, keepdims=True)


class HiddenStates(DistillationLoss):
    """The squared difference of hidden states, the student's through a learned linear map to the teacher's width.

    TinyBERT (arXiv:1909.10351), equation 8: the mean over real tokens and components, summed over the mapped layers.
    Every layer has a map of its own.

    Args:
        layer_map: student index -> teacher index into `hidden_states`; 0 is the embeddings.
        weight: The loss's factor in the sum.
    """

    def __init__(self, layer_map, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        self.layer_map = {int(ours): int(theirs) for ours, theirs in layer_map.items()}

    @property
    def teacher_names(self):
        return tuple(f"hidden_states/{theirs}" for theirs in self.layer_map.values())

    def prepare(self, student, teacher_widths):
        widths = student.backbone.hidden_dims
        _check_layers(self, len(widths))
        self.maps = [
            self.make_map(widths[ours], teacher_widths[name], f"to_teacher_{ours}")
            for ours, name in zip(self.layer_map, self.teacher_names)
        ]

    @staticmethod
    def make_map(width, teacher_width, name):
        """The layer from a student's state to the teacher's width."""
        layer = Projection(teacher_width, use_bias=False, dtype="float32", name=name)
        layer.build((None, None, width))
        return layer

    def count(self, is_real):
        return ops.sum(ops.cast(is_real, "float32"))

    def call(self, student, teacher, is_real):
        real = ops.cast(is_real, "float32")  # [B, T]
        total = 0.0
        for ours, name, to_teacher in zip(self.layer_map, self.teacher_names, self.maps):
            mapped = to_teacher(ops.cast(student[f"hidden_states/{ours}"], "float32"))  # [B, T, D]
            apart = self.compare(mapped, ops.cast(teacher[name], "float32"))  # [B, T]
            total += ops.sum(apart * real) / ops.maximum(ops.sum(real), 1.0)
        return total

    def compare(self, mapped, wanted):
        """How far apart two states are: float32[B, T, D] twice to float32[B, T]."""
        return ops.mean(ops.square(mapped - wanted), axis=-1)


class CosineHiddenStates(HiddenStates):
    """One minus the cosine of the student's and the teacher's states: they are to point the same way.

    DistilBERT (arXiv:1910.01108, section 3): the mean over real tokens, summed over the mapped layers. Where the widths
    are equal the states are compared as they are; else the student's go through a learned linear map.

    Args:
        layer_map: student index -> teacher index into `hidden_states`; 0 is the embeddings.
        weight: The loss's factor in the sum.
    """

    @staticmethod
    def make_map(width, teacher_width, name):
        return _same if width == teacher_width else HiddenStates.make_map(width, teacher_width, name)

    def compare(self, mapped, wanted):
        return 1.0 - ops.sum(_unit(mapped) * _unit(wanted), axis=-1)


def _same(states):
    return states


def _unit(x):
    # The constant keeps the gradient of a vector of zeros finite.
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-12)


class Embeddings(HiddenStates):
    """`HiddenStates` of the embeddings alone (TinyBERT, arXiv:1909.10351, equation 9).

    Args:
        weight: The loss's factor in the sum.
    """

    def __init__(self, weight=1.0, **kwargs):
        super().__init__({0: 0}, weight, **kwargs)


class AttentionScores(DistillationLoss):
    """The squared difference of attention logits, before mask and softmax, averaged over heads and real pairs.

    TinyBERT (arXiv:1909.10351), equation 7. Both models need the same number of heads in the mapped layers.

    Args:
        layer_map: student index -> teacher index into `attention_scores`; 0 is the first layer.
        weight: The loss's factor in the sum.
    """

    def __init__(self, layer_map, weight=1.0, **kwargs):
        super().__init__(weight, **kwargs)
        self.layer_map = {int(ours): int(theirs) for ours, theirs in layer_map.items()}

    @property
    def teacher_names(self):
        return tuple(f"attention_scores/{theirs}" for theirs in self.layer_map.values())

    def prepare(self, student, teacher_widths):
        heads = student.backbone.attention_heads
        if not heads:
            raise UserError(f"{student.backbone.name} does not attend: leave AttentionScores out.")
        _check_layers(self, len(heads))
        for ours, name in zip(self.layer_map, self.teacher_names):
            if heads[ours] != teacher_widths[name]:
                raise UserError(
                    f"the student has {heads[ours]} attention heads and the teacher {teacher_widths[name]}: "
                    "AttentionScores needs as many in both."
                )

    def count(self, is_real):
        return ops.sum(ops.square(ops.sum(ops.cast(is_real, "float32"), axis=1)))

    def call(self, student, teacher, is_real):
        real = ops.cast(is_real, "float32")
        pairs = (real[:, :, None] * real[:, None, :])[:, None]  # [B, 1, T, T]
        total = 0.0
        for ours, name in zip(self.layer_map, self.teacher_names):
            scores, wanted = student[f"attention_scores/{ours}"], teacher[name]
            difference = ops.square(scores - ops.cast(wanted, "float32")) * pairs
            total += ops.sum(difference) / (ops.sum(pairs) * scores.shape[1])
        return total


def named_outputs(outputs) -> dict:
    """A model's outputs as one flat dict: "logits", "hidden_states/0", "attention_scores/0" ..."""
    named = {}
    for name, value in outputs.items():
        if isinstance(value, tuple | list):
            named |= {f"{name}/{index}": item for index, item in enumerate(value)}
        else:
            named[name] = value
    return named


def _check_layers(loss, count):
    for index in loss.layer_map:
        if not 0 <= index < count:
            raise UserError(
                f"{type(loss).__name__}: the student has no layer {index}; its indices go from 0 to {count - 1}."
            )


@keras.saving.register_keras_serializable("tfmodels")
class Named(keras.Model):
    """A task whose outputs are one flat dict of the chosen names.

    Args:
        task: The task.
        names: Names as in `named_outputs`.

    Raises:
        UserError: The task has no output of a name.
    """

    def __init__(self, task, names):
        needs_more = any("/" in name for name in names)
        inner = task.with_intermediates() if needs_more else task
        outputs = named_outputs(inner.output)
        for name in names:
            if name not in outputs:
                kind = name.split("/")[0]
                last = max((int(n.split("/")[1]) for n in outputs if n.startswith(f"{kind}/")), default=None)
                reason = f"; its indices go from 0 to {last}" if last is not None else ""
                raise UserError(f"the teacher has no output {name!r}{reason}.")
        super().__init__(inner.input, {name: outputs[name] for name in names}, name=f"{task.name}_named")
