"""Teacher to student: losses over named intermediates, and the model that trains a student by them."""

from tfmodels.distillation.distiller import Distiller
from tfmodels.distillation.losses import AttentionScores, DistillationLoss, Embeddings, HiddenStates, SoftLabels

__all__ = ["AttentionScores", "DistillationLoss", "Distiller", "Embeddings", "HiddenStates", "SoftLabels"]
