"""Teacher to student: losses over named intermediates, and the model that trains a student by them."""

from tfmodels.distillation.augmentation import (
    ChangedWords,
    NearestWords,
    Ngram,
    SameGroup,
    SubstitutedWords,
    bilstm_changes,
    frequency_classes,
    mean_of_pieces,
    random_spans,
    varied_rows,
    words_of,
)
from tfmodels.distillation.distiller import Balance, Distiller, check_compatible
from tfmodels.distillation.ensembles import (
    Ensemble,
    OfTeacher,
    average_logits,
    average_probabilities,
    generations,
)
from tfmodels.distillation.initialisation import embed_like_teacher, from_layers, token_states
from tfmodels.distillation.losses import (
    AttentionScores,
    CosineHiddenStates,
    DistillationLoss,
    Embeddings,
    HiddenStates,
    LogitRegression,
    SoftLabels,
)
from tfmodels.distillation.synchronous import SynchronousDistiller
from tfmodels.distillation.tinybert import layer_losses, uniform_layer_map

__all__ = [
    "AttentionScores",
    "Balance",
    "ChangedWords",
    "CosineHiddenStates",
    "DistillationLoss",
    "Distiller",
    "Embeddings",
    "Ensemble",
    "HiddenStates",
    "LogitRegression",
    "NearestWords",
    "Ngram",
    "OfTeacher",
    "SameGroup",
    "SoftLabels",
    "SubstitutedWords",
    "SynchronousDistiller",
    "average_logits",
    "average_probabilities",
    "bilstm_changes",
    "check_compatible",
    "embed_like_teacher",
    "frequency_classes",
    "from_layers",
    "generations",
    "layer_losses",
    "mean_of_pieces",
    "random_spans",
    "token_states",
    "uniform_layer_map",
    "varied_rows",
    "words_of",
]
