"""Learning-rate schedules that Keras lacks."""

import keras
from keras import ops

from tfmodels.errors import UserError


@keras.saving.register_keras_serializable("tfmodels")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero, then linear decay to zero (BERT, arXiv:1810.04805, appendix A.2).

    Args:
        peak: The highest learning rate.
        total_steps: steps until the rate is zero.
        warmup_steps: steps until the peak.

    Raises:
        UserError: The schedule is shorter than its warm-up.
    """

    def __init__(self, peak, total_steps, warmup_steps=0):
        super().__init__()
        if warmup_steps > total_steps:
            raise UserError(f"warmup_steps={warmup_steps} exceeds total_steps={total_steps}: warm up for fewer steps.")
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """The rate at a step, which counts from zero: the first update already moves."""
        step = ops.cast(step, "float32") + 1.0
        rising = step / max(self.warmup_steps, 1)
        falling = (self.total_steps + 1 - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self):
        """The constructor's arguments."""
        return {"peak": self.peak, "total_steps": self.total_steps, "warmup_steps": self.warmup_steps}
