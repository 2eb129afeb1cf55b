"""Targeted dropout: training drops the weights that pruning would take away (Gomez et al., arXiv:1905.13678).

Ordinary dropout asks a network to do without any of its parts; here it learns to do without those of the least
magnitude, so that they can be set to zero afterwards. Give an instance to the layers that take a `kernel_dropout`, such
as `Projection` and `FeedForward`, train, and call `prune`.

As in the paper what is kept is not scaled up: most of what is dropped is small.

Cost: one sort of the kernel, or of its columns' norms, a call in training; nothing otherwise.
"""

import keras
import numpy as np
from keras import ops

from tfmodels.layers.base import Layer


class TargetedDropout(Layer):
    """The base: which parts of a kernel are targets.

    Args:
        rate: alpha, the fraction of the targets that a training step drops.
        portion: gamma, the fraction of the parts that are targets: those of the least magnitude.
        seed: Decides what is dropped; None draws one.

    Call arguments:
        kernel: float[D, units], one unit a column.

    Returns:
        float[D, units]: in training the kernel with zeros where a target was dropped, otherwise the kernel.

    Raises:
        ValueError: A fraction is not between 0 and 1.
    """

    def __init__(self, rate=0.5, portion=0.5, seed=None, **kwargs):
        # The kernel keeps the type that its layer computes in.
        super().__init__(autocast=False, **kwargs)
        for name, value in (("rate", rate), ("portion", portion)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} must be a fraction between 0 and 1.")
        self.rate = rate
        self.portion = portion
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def build(self, kernel_shape=None):
        self.built = True

    def targets(self, kernel):
        """What pruning takes away: bool, broadcastable to the kernel."""
        raise NotImplementedError

    def call(self, kernel, training=None):
        if not training or not self.rate:
            return kernel
        targets = self.targets(kernel)
        dropped = targets & (keras.random.uniform(ops.shape(targets), seed=self.draws) < self.rate)
        return ops.where(dropped, ops.zeros((), kernel.dtype), kernel)

    def pruned(self, kernel):
        """The kernel with zeros in place of all targets."""
        return ops.where(self.targets(kernel), ops.zeros((), kernel.dtype), kernel)

    def compute_output_shape(self, kernel_shape):
        return kernel_shape

    def _smallest(self, magnitudes):
        """Which of the numbers are among the `portion` that are smallest along the first axis; ties go by the index."""
        count = int(self.portion * magnitudes.shape[0])
        ranks = ops.argsort(ops.argsort(ops.stop_gradient(magnitudes), axis=0), axis=0)
        return ranks < count


class TargetedWeightDropout(TargetedDropout):
    """The targets are single weights: of every unit the `portion` of least absolute value (section 3.1)."""

    def targets(self, kernel):
        """See `TargetedDropout.targets`: bool[D, units]."""
        return self._smallest(ops.abs(kernel))


class TargetedUnitDropout(TargetedDropout):
    """The targets are whole units: the `portion` of the columns of least Euclidean norm (section 3.1)."""

    def targets(self, kernel):
        """See `TargetedDropout.targets`: bool[1, units]."""
        return self._smallest(ops.sum(ops.square(kernel), axis=0))[None]


def prune(model: keras.Model) -> float:
    """Sets to zero all that a model's targeted dropout has taught it to do without.

    Args:
        model: A model with layers that have a `kernel` and a `kernel_dropout`.

    Returns:
        The fraction of the weights of these kernels that are zero now.

    Raises:
        ValueError: There is no such layer.
    """
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "kernel_dropout", None) is not None]
    if not layers:
        raise ValueError(f"{model.name} has no layer with a kernel_dropout: build it with a TargetedDropout.")
    zeros = []
    for layer in layers:
        layer.kernel.assign(layer.kernel_dropout.pruned(ops.convert_to_tensor(layer.kernel)))
        zeros.append(np.ravel(ops.convert_to_numpy(layer.kernel)) == 0)
    return float(np.concatenate(zeros).mean())
