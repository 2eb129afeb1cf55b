"""Training: batches by length, optimiser set-up, the fit loop, checkpoints and TensorBoard."""

from tfmodels.training.batches import Batches
from tfmodels.training.fit import FitConfig, fit
from tfmodels.training.optimizers import adamw
from tfmodels.training.precision import policy_for
from tfmodels.training.schedules import WarmupLinearDecay

__all__ = ["Batches", "FitConfig", "WarmupLinearDecay", "adamw", "fit", "policy_for"]
