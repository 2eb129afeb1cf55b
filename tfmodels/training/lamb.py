"""LAMB: Adam's step, with a length of its own for every weight (You et al., arXiv:1904.00962, algorithm 2).

    m = b1 m + (1 - b1) g                      v = b2 v + (1 - b2) g^2
    r = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
    w = w - rate  phi(|w|) / |r + lambda w|  (r + lambda w)

One weight of a Keras model is one "layer" of the paper. What differs: normalisations and biases are spared, as the
authors' code for BERT spares them; a ratio of nothing to nothing is 1. `keras.optimizers.Lamb` (3.12) has none of this:
it decays before the step, outside the ratio, and takes |w| after that; it adapts every weight; it takes the square of a
token's gradients row by row where the token occurs twice; and nobody sees its ratios.

Cost: memory as AdamW, two slots a weight, and one number; time that of AdamW and a pass for each of two norms.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from tfmodels.errors import UserError
from tfmodels.training.exclusions import NORMS_AND_BIASES, Exclusions
from tfmodels.training.rates import WithRates


@keras.saving.register_keras_serializable("tfmodels")
class Lamb(WithRates, Exclusions, keras.optimizers.Lamb):
    """LAMB as pre-training in large batches uses it; the arguments of the paper are `exclude=()` and the rest as it is.

    `trust_ratios` tells what each weight's rate was multiplied by in the last step; `fit` writes them for TensorBoard.

    Args:
        learning_rate: A number or a schedule.
        beta_1: What the first moment keeps, a fraction.
        beta_2: What the second moment keeps, a fraction.
        epsilon: Added to the root of the second moment.
        weight_decay: lambda, inside the ratio; None or 0 for none.
        bias_correction: Whether the moments are divided by 1 - beta^t.
        norm_bounds: (least, largest) |w| that the ratio takes, the paper's phi; None takes |w| as it is.
        exclude: Weights whose names hold one of these are neither decayed nor adapted: theirs is Adam's step. Those
            of `exclude_from_weight_decay` are spared likewise.
        name: The optimiser's name.
        **kwargs: As every Keras optimiser takes them, such as `global_clipnorm` and `use_ema`, and `rates`, the layers'
            own (`training.rates`). For large batches in parts use `micro_batches` rather than
            `gradient_accumulation_steps`, which weighs all parts alike and counts each of them as a step of the
            schedule.

    Raises:
        UserError: The bounds are no positive pair in order.

    Example:
    >>> import numpy as np
    >>> kernel = keras.Variable(np.full((4, 4), 0.5, "float32"), name="kernel")  # its norm is 2
    >>> optimizer = Lamb(0.1, weight_decay=0.0)
    >>> optimizer.apply([ops.ones((4, 4))], [kernel])  # Adam's first step has norm 4
    >>> round(float(optimizer.trust_ratios["kernel"]), 4), round(float(kernel[0, 0]), 4)
    (0.5, 0.45)
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.01,
        *,
        bias_correction=True,
        norm_bounds=None,
        exclude=NORMS_AND_BIASES,
        name="lamb",
        **kwargs,
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, exclude=exclude, name=name, **kwargs
        )
        if norm_bounds is not None and not 0 < norm_bounds[0] <= norm_bounds[1]:
            raise UserError(f"norm_bounds={tuple(norm_bounds)} must be a positive least norm and one not below it.")
        self.bias_correction = bias_correction
        self.norm_bounds = None if norm_bounds is None else tuple(norm_bounds)

    def build(self, variables):
        """Makes the slots and the ratios."""
        if self.built:
            return
        super().build(variables)
        self._ratios = [
            self.add_variable((), "ones", variable.dtype, name=f"trust_ratio_{index}")
            for index, variable in enumerate(variables)
        ]

    @property
    def trust_ratios(self) -> dict:
        """Variable float[] by the weight's path: what its rate was multiplied by; spared weights are left out."""
        if not self.built:
            return {}
        pairs = zip(self._trainable_variables, self._ratios)
        return {getattr(v, "path", v.name): ratio for v, ratio in pairs if self._use_weight_decay(v)}

    def apply(self, grads, trainable_variables=None):
        """Updates the weights; the rows of a sparse gradient are summed first."""
        # To add anything makes TensorFlow's IndexedSlices dense.
        grads = [ops.add(gradient, 0.0) if hasattr(gradient, "indices") else gradient for gradient in grads]
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        """One step of one weight."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        first, second, ratio = self._momentums[index], self._velocities[index], self._ratios[index]
        gradient = ops.cast(gradient, dtype)
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        # m / c1 / (sqrt(v / c2) + epsilon), with all scalars in one factor: every pass over the weights costs time.
        scale = ops.sqrt(self._correction(self.beta_2, dtype))
        step = first / (ops.sqrt(second) + self.epsilon * scale) * (scale / self._correction(self.beta_1, dtype))
        rate = ops.cast(self.rate_of(variable, learning_rate), dtype)
        if self._use_weight_decay(variable):
            if self.weight_decay:
                step = step + variable * self.weight_decay
            self.assign(ratio, self._ratio(_norm(variable), _norm(step)))
            rate = rate * ratio
        self.assign_sub(variable, rate * step)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "bias_correction": self.bias_correction, "norm_bounds": self.norm_bounds}

    def _correction(self, beta, dtype):
        """1 - beta^t, of which float32 would lose five digits for a beta near 1; or 1."""
        if not self.bias_correction:
            return ops.ones((), dtype)
        return -ops.expm1(ops.cast(self.iterations + 1, dtype) * (math.log(beta) if beta else -math.inf))

    def _ratio(self, weight, step):
        if self.norm_bounds is not None:
            weight = ops.clip(weight, *self.norm_bounds)
        is_known = ops.logical_and(weight > 0, step > 0)
        return ops.where(is_known, weight / ops.where(is_known, step, 1.0), 1.0)

    def _apply_weight_decay(self, variables):
        """Nothing: the decay is part of the step."""


def _norm(tensor):
    if keras.backend.backend() == "tensorflow":
        # One pass on all cores; the sum of the squares takes several times as long.
        return ops.sqrt(2.0 * tf.nn.l2_loss(ops.convert_to_tensor(tensor)))
    return ops.sqrt(ops.sum(ops.square(tensor)))
