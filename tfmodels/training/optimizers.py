"""Optimisers as they are used for Transformers."""

import keras
import tensorflow as tf

from tfmodels.training.exclusions import NORMS_AND_BIASES, Exclusions
from tfmodels.training.lamb import Lamb


@keras.saving.register_keras_serializable("tfmodels")
class AdamW(Exclusions, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` at less than half the cost, with the norm of a sparse gradient taken right.

    Keras writes an update as some fifteen operations, each a pass over memory; here TensorFlow's fused kernel does the
    same arithmetic in one. An embedding table's gradient stays sparse until then. Keras takes its norm over the rows
    as they come, so that a token which occurs twice counts as two gradients; here its rows are summed first.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        rate = tf.cast(learning_rate, dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            variable.assign_sub(variable * (rate * self.weight_decay))
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
        if self.amsgrad:
            super()._apply_weight_decay(variables)

    def _clip_gradients(self, grads):
        if not self.global_clipnorm:
            return super()._clip_gradients(grads)
        return tf.clip_by_global_norm([_summed(gradient) for gradient in grads], self.global_clipnorm)[0]


def adamw(learning_rate, *, weight_decay=0.01, clip_norm=1.0, epsilon=1e-6):
    """AdamW that spares biases and normalisations from weight decay (BERT, arXiv:1810.04805, appendix A.2).

    Args:
        learning_rate: A number or a schedule.
        weight_decay: The decoupled decay (arXiv:1711.05101).
        clip_norm: The largest global norm of the gradient; None leaves it alone.
        epsilon: Added to the root of the second moment.

    Returns:
        An `AdamW`.
    """
    return AdamW(
        learning_rate,
        weight_decay=weight_decay,
        global_clipnorm=clip_norm,
        epsilon=epsilon,
        exclude=NORMS_AND_BIASES,
    )


def lamb(learning_rate, *, weight_decay=0.01, clip_norm=1.0, epsilon=1e-6):
    """LAMB with the arguments of `adamw`.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: The decay inside the ratio.
        clip_norm: The largest global norm of the gradient; None leaves it alone.
        epsilon: Added to the root of the second moment.

    Returns:
        A `Lamb`.
    """
    return Lamb(learning_rate, epsilon=epsilon, weight_decay=weight_decay, global_clipnorm=clip_norm)


# As a recipe names them.
OPTIMIZERS = {"adamw": adamw, "lamb": lamb}


def _summed(gradient):
    """A sparse gradient with one row for each index; a dense one as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    indices, position = tf.unique(gradient.indices)
    rows = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(indices))
    return tf.IndexedSlices(rows, indices, gradient.dense_shape)
