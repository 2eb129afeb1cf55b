"""Metrics on NumPy arrays; nothing here imports Keras or TensorFlow."""

from tfmodels.metrics.classification import (
    ClassScores,
    PrecisionRecallCurve,
    Reliability,
    RocCurve,
    accuracy,
    average_precision,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    one_vs_rest,
    precision_recall_curve,
    reliability,
    roc_auc,
    roc_curve,
    wilson_interval,
)

__all__ = [
    "ClassScores",
    "PrecisionRecallCurve",
    "Reliability",
    "RocCurve",
    "accuracy",
    "average_precision",
    "class_scores",
    "confusion_matrix",
    "expected_calibration_error",
    "macro_f1",
    "one_vs_rest",
    "precision_recall_curve",
    "reliability",
    "roc_auc",
    "roc_curve",
    "wilson_interval",
]
