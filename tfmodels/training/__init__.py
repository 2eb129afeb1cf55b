"""Training: batches by length, optimiser set-up, the fit loop, checkpoints and TensorBoard."""

from tfmodels.training.batches import Batches
from tfmodels.training.fit import FitConfig, fit
from tfmodels.training.lamb import Lamb
from tfmodels.training.micro_batches import micro_batches
from tfmodels.training.optimizers import adamw, lamb
from tfmodels.training.precision import policy_for
from tfmodels.training.schedules import (
    InverseSquareRoot,
    SlantedTriangular,
    WarmupLinearDecay,
    WarmupPolynomialDecay,
    warmup_cosine_decay,
)

__all__ = [
    "Batches",
    "FitConfig",
    "InverseSquareRoot",
    "Lamb",
    "SlantedTriangular",
    "WarmupLinearDecay",
    "WarmupPolynomialDecay",
    "adamw",
    "fit",
    "lamb",
    "micro_batches",
    "policy_for",
    "warmup_cosine_decay",
]
