"""Learning-rate schedules that Keras lacks.

A step counts from zero, and the first update already moves: a warm-up of w steps reaches the peak in its w-th update.
"""

import functools

import keras
from keras import ops

from tfmodels.errors import UserError


def _check(total_steps, warmup_steps):
    if warmup_steps > total_steps:
        raise UserError(f"warmup_steps={warmup_steps} exceeds total_steps={total_steps}: warm up for fewer steps.")


@keras.saving.register_keras_serializable("tfmodels")
class WarmupPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up from zero to the peak, then decay to zero, each as a power of what is done or left.

    LAMB (arXiv:1904.00962, section 4) and BERT decay with power 1.

    Args:
        peak: The highest learning rate.
        total_steps: steps until the rate is zero.
        warmup_steps: steps until the peak.
        power: Of the fraction of the decay that is left.
        warmup_power: Of the fraction of the warm-up that is done.

    Raises:
        UserError: The schedule is shorter than its warm-up.
    """

    def __init__(self, peak, total_steps, warmup_steps=0, power=1.0, warmup_power=1.0):
        super().__init__()
        _check(total_steps, warmup_steps)
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.warmup_power = warmup_power

    def __call__(self, step):
        """The rate at a step, which counts from zero: the first update already moves."""
        step = ops.cast(step, "float32") + 1.0
        done = ops.clip(step / max(self.warmup_steps, 1), 0.0, 1.0)
        left = ops.clip((self.total_steps + 1 - step) / max(self.total_steps - self.warmup_steps, 1), 0.0, 1.0)
        return self.peak * ops.minimum(done**self.warmup_power, left**self.power)

    def get_config(self):
        """The constructor's arguments."""
        names = ("peak", "total_steps", "warmup_steps", "power", "warmup_power")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("tfmodels")
class WarmupLinearDecay(WarmupPolynomialDecay):
    """Linear warm-up from zero, then linear decay to zero (BERT, arXiv:1810.04805, appendix A.2).

    Args:
        peak: The highest learning rate.
        total_steps: steps until the rate is zero.
        warmup_steps: steps until the peak.

    Raises:
        UserError: The schedule is shorter than its warm-up.
    """

    def __init__(self, peak, total_steps, warmup_steps=0):
        super().__init__(peak, total_steps, warmup_steps)

    def get_config(self):
        """The constructor's arguments."""
        return {"peak": self.peak, "total_steps": self.total_steps, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("tfmodels")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then peak sqrt(w / t): it never ends (Vaswani et al., arXiv:1706.03762, equation 3).

    Args:
        peak: The highest learning rate.
        warmup_steps: w, steps until the peak; at least 1 counts.
    """

    def __init__(self, peak, warmup_steps):
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps

    @classmethod
    def noam(cls, hidden_dim, warmup_steps=4000, factor=1.0):
        """The equation itself: factor D^-0.5 min(t^-0.5, t w^-1.5)."""
        return cls(factor * (hidden_dim * warmup_steps) ** -0.5, warmup_steps)

    def __call__(self, step):
        """The rate at a step, which counts from zero: t is one more."""
        step, warmup = ops.cast(step, "float32") + 1.0, max(self.warmup_steps, 1)
        return self.peak * ops.minimum(step / warmup, ops.sqrt(warmup / step))

    def get_config(self):
        """The constructor's arguments."""
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("tfmodels")
class SlantedTriangular(keras.optimizers.schedules.LearningRateSchedule):
    """A short steep rise and a long fall between peak / ratio and the peak (ULMFiT, arXiv:1801.06146, equation 3).

    The paper counts t from zero, as here. Its fall takes cut (1 / cut_frac - 1) steps, which is T - cut where T
    cut_frac is whole; here it is T - cut always, since the equation falls below zero where a small T was rounded.

    Args:
        peak: The highest learning rate, eta_max.
        total_steps: T.
        warmup_steps: cut, the steps of the rise; a tenth of T in the paper.
        ratio: How many times the peak is the lowest rate.

    Raises:
        UserError: The schedule is shorter than its warm-up.
    """

    def __init__(self, peak, total_steps, warmup_steps, ratio=32):
        super().__init__()
        _check(total_steps, warmup_steps)
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.ratio = ratio

    def __call__(self, step):
        """The rate at a step, which counts from zero."""
        step = ops.cast(step, "float32")
        rising = step / max(self.warmup_steps, 1)
        falling = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        share = ops.clip(ops.where(step < self.warmup_steps, rising, falling), 0.0, 1.0)
        return self.peak * (1.0 + share * (self.ratio - 1.0)) / self.ratio

    def get_config(self):
        """The constructor's arguments."""
        names = ("peak", "total_steps", "warmup_steps", "ratio")
        return {name: getattr(self, name) for name in names}


def warmup_cosine_decay(peak, total_steps, warmup_steps=0):
    """Linear warm-up, then half a cosine down to zero (arXiv:1608.03983, equation 5): Keras's, with our first step.

    Args:
        peak: The highest learning rate.
        total_steps: steps until the rate is zero.
        warmup_steps: steps until the peak.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        UserError: The schedule is shorter than its warm-up.
    """
    _check(total_steps, warmup_steps)
    if warmup_steps <= 1:
        return keras.optimizers.schedules.CosineDecay(peak, total_steps)
    return keras.optimizers.schedules.CosineDecay(
        peak / warmup_steps, total_steps - warmup_steps + 1, warmup_target=peak, warmup_steps=warmup_steps - 1
    )


def _inverse_square_root(peak, total_steps, warmup_steps):
    _check(total_steps, warmup_steps)
    return InverseSquareRoot(peak, warmup_steps)


# As a recipe names them: of the peak, all steps and those of the warm-up.
SCHEDULES = {
    "linear": WarmupLinearDecay,
    "polynomial": functools.partial(WarmupPolynomialDecay, power=2.0),
    "cosine": warmup_cosine_decay,
    "inverse_square_root": _inverse_square_root,
    "slanted_triangular": SlantedTriangular,
}
