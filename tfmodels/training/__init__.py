"""Training: batches by length, optimiser set-up, the fit loop, checkpoints and TensorBoard."""

from tfmodels.training.batches import Batches, token_features
from tfmodels.training.fit import FitConfig, fit
from tfmodels.training.lamb import Lamb
from tfmodels.training.losses import ExponentialLoss, PerceptronLoss
from tfmodels.training.micro_batches import micro_batches
from tfmodels.training.optimizers import adamw, lamb
from tfmodels.training.precision import Probe, choose_precision, policy_for
from tfmodels.training.rates import LayerRates
from tfmodels.training.recomputation import recomputation
from tfmodels.training.schedules import (
    InverseSquareRoot,
    SlantedTriangular,
    WarmupLinearDecay,
    WarmupPolynomialDecay,
    warmup_cosine_decay,
)
from tfmodels.training.strategies import strategy_for
from tfmodels.training.unfreezing import gradual_unfreezing, sequential_unfreezing

__all__ = [
    "Batches",
    "ExponentialLoss",
    "FitConfig",
    "InverseSquareRoot",
    "Lamb",
    "LayerRates",
    "PerceptronLoss",
    "Probe",
    "SlantedTriangular",
    "WarmupLinearDecay",
    "WarmupPolynomialDecay",
    "adamw",
    "choose_precision",
    "fit",
    "gradual_unfreezing",
    "lamb",
    "micro_batches",
    "policy_for",
    "recomputation",
    "sequential_unfreezing",
    "strategy_for",
    "token_features",
    "warmup_cosine_decay",
]
