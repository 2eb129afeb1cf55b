"""Several tasks, one encoder: MT-DNN's heads and batches, ERNIE 2.0's continual schedule.

MT-DNN (Liu et al., arXiv:1901.11504), section 3: every step takes a batch of one task, drawn from all of them, and the
objectives are `Classification`, `Similarity` and `Ranking`. ERNIE 2.0 (Sun et al., arXiv:1907.12412), section 3.2:
tasks are added one after the other, and old ones go on beside the new, with a share of their iterations in every stage.

A batch of one task says of the others that it knows nothing (labels of -1, scores that are NaN), so that one step's
graph serves all tasks; the heads that have nothing to learn cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.projection import Projection
from tfmodels.objectives import losses
from tfmodels.objectives.objectives import Objective, class_figures
from tfmodels.objectives.pretrainer import Masked, Pretrainer


class _PooledObjective(Objective):
    """A linear map of the pooled vector, after dropout (MT-DNN's own drops out per task)."""

    units = 1
    use_bias = True
    feature = "pooled_output"

    def __init__(self, target, dropout=0.1, weight=1.0, **kwargs):
        super().__init__(weight, **{"name": target, **kwargs})
        self.target = target
        self.dropout = dropout

    def prepare(self, backbone):
        self.drop = keras.layers.Dropout(self.dropout, dtype="float32", name="drop")
        self.logits = Projection(self.units, use_bias=self.use_bias, dtype="float32", name="logits")
        self.logits.build((None, backbone.output[self.feature].shape[-1]))

    def project(self, outputs, training):
        """float32[B, units]; float32[B, T, units] of the tokens' vectors."""
        return self.logits(self.drop(ops.cast(outputs[self.feature], "float32"), training=training))


class Classification(_PooledObjective):
    """A class of a text or of a pair (arXiv:1901.11504, equations 2 and 6).

    It reads its target, int[B], where -1 is unknown.

    Args:
        target: The target's name, which also names the objective.
        num_classes: C.
        dropout: fraction of the pooled vector dropped in training.
        weight: The loss's factor in the sum.
    """

    def __init__(self, target, num_classes, dropout=0.1, weight=1.0, **kwargs):
        super().__init__(target, dropout, weight, **kwargs)
        self.num_classes = self.units = num_classes

    def counted(self, inputs, targets):
        return ops.cast(targets[self.target] >= 0, "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        labels = ops.maximum(targets[self.target], 0)
        return class_figures(self.project(outputs, training), labels, self.counted(inputs, targets))


class TokenClassification(Classification):
    """A class of every token, such as whether its word is written with a capital (ERNIE 2.0, section 4.2.1).

    It reads its target, int[B, T], where -1 is unknown, as padding always is.

    Args:
        target: The target's name, which also names the objective.
        num_classes: C.
        dropout: fraction of the vectors dropped in training.
        weight: The loss's factor in the sum.
    """

    feature = "sequence_output"

    def counted(self, inputs, targets):
        return super().counted(inputs, targets) * ops.cast(inputs["padding_mask"], "float32")


class Similarity(_PooledObjective):
    """A score of a pair, by its squared error (arXiv:1901.11504, equations 3 and 7).

    It reads its target, float[B], where NaN is unknown.

    Args:
        target: The target's name, which also names the objective.
        dropout: fraction of the pooled vector dropped in training.
        weight: The loss's factor in the sum.
    """

    figures = ("loss",)

    def counted(self, inputs, targets):
        return 1.0 - ops.cast(ops.isnan(ops.cast(targets[self.target], "float32")), "float32")

    def measure(self, outputs, inputs, targets, backbone, training):
        wanted, known = ops.cast(targets[self.target], "float32"), self.counted(inputs, targets)
        error = self.project(outputs, training)[:, 0] - ops.where(known > 0, wanted, 0.0)
        return {"loss": (losses.weighted_mean(ops.square(error), known), ops.sum(known))}


class Ranking(_PooledObjective):
    """The right candidate among those of one query (arXiv:1901.11504, equations 5 and 8).

    It reads its target, int[B]: 1 at the right candidate, 0 at the others, -1 unknown; and "TARGET/query", int[B], a
    number that the rows of one query share. Candidates are compared within a batch, where `Batches` keeps those of one
    query together by its `groups`; a right candidate without a rival there has nothing to learn and does not count.

    Args:
        target: The target's name, which also names the objective.
        dropout: fraction of the pooled vector dropped in training.
        weight: The loss's factor in the sum.
    """

    # The softmax over candidates takes a bias out again.
    use_bias = False

    def counted(self, inputs, targets):
        rivals = self._together(targets) & ops.equal(targets[self.target], 0)[None, :]
        return ops.cast(ops.equal(targets[self.target], 1) & ops.any(rivals, axis=1), "float32")

    def _together(self, targets):
        """bool[B, B]: the known candidates (second axis) of each row's query."""
        queries = targets[f"{self.target}/query"]
        return ops.equal(queries[:, None], queries[None, :]) & (targets[self.target] >= 0)[None, :]

    def measure(self, outputs, inputs, targets, backbone, training):
        scores = self.project(outputs, training)[:, 0]  # [B]
        together = self._together(targets)
        among = ops.where(together, scores[None, :], -1e30)
        nats = ops.logsumexp(among, axis=1) - scores
        right = self.counted(inputs, targets)
        hits = ops.cast(ops.max(among, axis=1) <= scores, "float32")
        count = ops.sum(right)
        return {
            "loss": (losses.weighted_mean(ops.where(right > 0, nats, 0.0), right), count),
            "accuracy": (losses.weighted_mean(hits, right), count),
        }


class MixedBatches:
    """Batches of several tasks, one task a batch.

    Args:
        tasks: By name, what has `dataset`, `in_order` and a length, such as `training.Batches`. A target that a task
            lacks is an int or float vector, one number a row, or int[B, T]; a name that two tasks have means the same
            thing in both.
        schedule: The task of every batch of the whole training, as its index, see `continual_schedule`; cut into
            `epochs` equal parts, of which the rest is left out. The default takes all batches of all tasks every
            epoch, in an order that the seed and the epoch decide (MT-DNN's algorithm 1).
        epochs: The number of parts of the schedule.
        seed: Decides the default's order.

    Raises:
        UserError: The schedule is shorter than its epochs, or names a task that there is not.
    """

    def __init__(
        self, tasks: Mapping[str, object], schedule: Sequence[int] | None = None, epochs: int = 1, seed: int = 0
    ):
        self.tasks = dict(tasks)
        self.seed = seed
        self._epochs = None
        if schedule is not None:
            schedule = np.asarray(schedule, "int64")
            if len(schedule) < epochs or not set(schedule.tolist()) <= set(range(len(self.tasks))):
                last = len(self.tasks) - 1
                raise UserError(
                    f"a schedule of {epochs} epochs needs as many batches, each of a task from 0 to {last}."
                )
            size = len(schedule) // epochs
            self._epochs = schedule[: size * epochs].reshape(epochs, size)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self.order(0))

    def order(self, epoch: int) -> np.ndarray:
        """int[batches]: the task of every batch of an epoch.

        Raises:
            UserError: The schedule is over.
        """
        if self._epochs is not None:
            if epoch >= len(self._epochs):
                raise UserError(f"the schedule has {len(self._epochs)} epochs: train for no more.")
            return self._epochs[epoch]
        tasks = np.repeat(np.arange(len(self.tasks)), [len(batches) for batches in self.tasks.values()])
        return np.random.default_rng((self.seed, epoch)).permutation(tasks)

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches `(inputs, targets)` of the epochs from `first_epoch` up to, not including, `epochs`."""
        orders = [self.order(epoch) for epoch in range(epochs)]
        before, order = (
            np.concatenate([np.zeros(0, "int64"), *part]) for part in (orders[:first_epoch], orders[first_epoch:])
        )
        datasets = []
        for index, batches in enumerate(self.tasks.values()):
            # A task goes on where the epoch before left it.
            start, number = int((before == index).sum()), int((order == index).sum())
            first, skip = divmod(start, len(batches))
            last = -(-(start + number) // len(batches))
            datasets.append(batches.dataset(first, max(last, first + 1)).skip(skip))
        choices = tf.data.Dataset.from_tensor_slices(order)
        return tf.data.Dataset.choose_from_datasets(self._alike(datasets), choices, stop_on_empty_dataset=False)

    def in_order(self) -> tf.data.Dataset:
        """All batches of one task after the other."""
        first, *others = self._alike([batches.in_order() for batches in self.tasks.values()])
        for other in others:
            first = first.concatenate(other)
        return first

    @staticmethod
    def _alike(datasets):
        """The datasets with the targets of all, where the unknown ones are -1 or NaN."""
        specs = {}
        for dataset in datasets:
            specs |= dataset.element_spec[1]

        def fill(inputs, targets):
            shape, filled = tf.shape(inputs["token_ids"]), {}
            for name, spec in specs.items():
                unknown = tf.constant(np.nan if spec.dtype.is_floating else -1, spec.dtype)
                value = targets[name] if name in targets else tf.fill(shape[: spec.shape.rank], unknown)
                # Whatever batch size a task's own shape tells.
                filled[name] = tf.ensure_shape(value, [None, *spec.shape[1:]])
            return inputs, filled

        return [dataset.map(fill) for dataset in datasets]


class TaskPretrainer(Pretrainer):
    """A `Pretrainer` whose encoder is told the task of every row (ERNIE 2.0, arXiv:1907.12412, section 3.2).

    Args:
        backbone: An `ErnieBackbone` with vectors of tasks.
        objectives: What it learns.

    Call arguments:
        inputs: As the backbone takes them, and `task_ids` int32[B].

    Returns:
        The backbone's outputs.

    Raises:
        UserError: The encoder has no vectors of tasks.
    """

    def __init__(self, backbone, objectives: Sequence[Objective]):
        super().__init__(backbone, objectives)
        self._encode = Masked(backbone.with_task_ids())


def continual_schedule(iterations: Sequence[int], seed: int = 0) -> np.ndarray:
    """ERNIE 2.0's continual multi-task schedule: stage s trains tasks 0 to s together.

    A task's iterations are shared evenly by the stages that it is in; what does not divide comes in the later ones.

    Args:
        iterations: The number of batches of every task, in the order in which tasks are added.
        seed: Decides the order within a stage.

    Returns:
        int[sum of iterations]: the task of every batch.

    Example:
    >>> continual_schedule([2, 1]).tolist() in ([0, 0, 1], [0, 1, 0])
    True
    """
    stages = []
    for stage in range(len(iterations)):
        counts = [
            number * (stage - task + 1) // (len(iterations) - task)
            - number * (stage - task) // (len(iterations) - task)
            for task, number in enumerate(iterations[: stage + 1])
        ]
        stages.append(np.random.default_rng((seed, stage)).permutation(np.repeat(np.arange(stage + 1), counts)))
    return np.concatenate(stages)
