"""Optimisers as they are used for Transformers."""

import keras
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.training.exclusions import NORMS_AND_BIASES, Exclusions
from tfmodels.training.lamb import Lamb
from tfmodels.training.rates import WithRates


@keras.saving.register_keras_serializable("tfmodels")
class AdamW(WithRates, Exclusions, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` at less than half the cost, with the norm of a sparse gradient taken right.

    Keras writes an update as some fifteen operations, each a pass over memory; here TensorFlow's fused kernel does the
    same arithmetic in one. An embedding table's gradient stays sparse until then. Keras takes its norm over the rows
    as they come, so that a token which occurs twice counts as two gradients; here its rows are summed first. Layers may
    have rates of their own, `rates`: see `training.rates`.
    """

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        rate = tf.cast(self.rate_of(variable, learning_rate), dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * (rate * self.weight_decay))
        if self.amsgrad:
            super().update_step(gradient, variable, rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )

    def _apply_weight_decay(self, variables):
        """Nothing: the decay is part of the step, by the weight's own rate."""

    def _clip_gradients(self, grads):
        if self.global_clipnorm or self.clipnorm or self.clipvalue:
            grads = [_summed(gradient) for gradient in grads]
        return super()._clip_gradients(grads)


def adamw(
    learning_rate, *, weight_decay=0.01, clip_norm=1.0, clip_by="global_norm", epsilon=1e-6, rates=None, average=None
):
    """AdamW that spares biases and normalisations from weight decay (BERT, arXiv:1810.04805, appendix A.2).

    Args:
        learning_rate: A number or a schedule.
        weight_decay: The decoupled decay (arXiv:1711.05101).
        clip_norm: The largest norm of the gradient, or the largest number in it; None leaves it alone.
        clip_by: One of `CLIPPINGS`: the "global_norm" of all weights' gradients, each weight's "norm", or the "value".
        epsilon: Added to the root of the second moment.
        rates: The layers' own rates, a `LayerRates`.
        average: The momentum of a moving average of the weights, such as 0.999; None keeps none.

    Returns:
        An `AdamW`.
    """
    return AdamW(
        learning_rate,
        weight_decay=weight_decay,
        epsilon=epsilon,
        exclude=NORMS_AND_BIASES,
        rates=rates,
        **_common(clip_norm, clip_by, average),
    )


def lamb(
    learning_rate, *, weight_decay=0.01, clip_norm=1.0, clip_by="global_norm", epsilon=1e-6, rates=None, average=None
):
    """LAMB with the arguments of `adamw`.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: The decay inside the ratio.
        clip_norm: The largest norm of the gradient, or the largest number in it; None leaves it alone.
        clip_by: One of `CLIPPINGS`: the "global_norm" of all weights' gradients, each weight's "norm", or the "value".
        epsilon: Added to the root of the second moment.
        rates: The layers' own rates, a `LayerRates`.
        average: The momentum of a moving average of the weights, such as 0.999; None keeps none.

    Returns:
        A `Lamb`.
    """
    settings = {"weight_decay": weight_decay, "epsilon": epsilon, "rates": rates}
    return Lamb(learning_rate, **settings, **_common(clip_norm, clip_by, average))


# Keras's names of how a gradient is clipped.
CLIPPINGS = {"value": "clipvalue", "norm": "clipnorm", "global_norm": "global_clipnorm"}


def check_average(average: float | None) -> None:
    """Refuses what is no momentum of a moving average."""
    if average is not None and not 0 <= average < 1:
        raise UserError(f"average={average} must be a momentum between 0 and 1, such as 0.999.")


def _common(clip_norm, clip_by, average) -> dict:
    """What every Keras optimiser takes."""
    check_average(average)
    averaging = {} if average is None else {"use_ema": True, "ema_momentum": average}
    return {CLIPPINGS[clip_by]: clip_norm, **averaging}


# As a recipe names them.
OPTIMIZERS = {"adamw": adamw, "lamb": lamb}


def _summed(gradient):
    """A sparse gradient with one row for each index; a dense one as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    indices, position = tf.unique(gradient.indices)
    rows = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(indices))
    return tf.IndexedSlices(rows, indices, gradient.dense_shape)
