"""Teacher to student: losses over named intermediates, and the model that trains a student by them."""

from tfmodels.distillation.augmentation import random_spans
from tfmodels.distillation.distiller import Distiller
from tfmodels.distillation.initialisation import embed_like_teacher
from tfmodels.distillation.losses import (
    AttentionScores,
    DistillationLoss,
    Embeddings,
    HiddenStates,
    LogitRegression,
    SoftLabels,
)

__all__ = [
    "AttentionScores",
    "DistillationLoss",
    "Distiller",
    "Embeddings",
    "HiddenStates",
    "LogitRegression",
    "SoftLabels",
    "embed_like_teacher",
    "random_spans",
]
