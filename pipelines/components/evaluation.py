"""Reading what an Evaluator wrote."""

from __future__ import annotations

import tensorflow_model_analysis as tfma


def read_metrics(uri: str, model: str) -> list[dict]:
    """The figures of one model of an evaluation.

    Args:
        uri: The ModelEvaluation artifact.
        model: "candidate" or "baseline".

    Returns:
        A dict a slice, the whole first, under the name "": {"slice", "example_count", "accuracy", ...}.
    """
    slices = []
    for key, outputs in tfma.load_eval_result(uri, model_name=model).slicing_metrics:
        figures = {"slice": ", ".join(str(value) for _, value in key)}
        for metrics in outputs[""].values():
            figures |= {name: value["doubleValue"] for name, value in metrics.items() if not name.endswith("_diff")}
        slices.append(figures)
    return sorted(slices, key=lambda figures: _natural(figures["slice"]))


def refusals(uri: str) -> list[str]:
    """Why the evaluation did not bless its candidate, one sentence a bound; empty when it did."""
    result = tfma.load_validation_result(uri)
    reasons = []
    for validation in result.metric_validations_per_slice:
        where = " and ".join(f"{key.column}" for key in validation.slice_key.single_slice_keys)
        reasons += [f"{failure.message}{f' in {where}' if where else ''}" for failure in validation.failures]
    return reasons if not result.validation_ok else []


def _natural(name: str) -> tuple:
    """Sorts "11-20 words" before "101+ words"."""
    first = name.split("-")[0].split("+")[0]
    return (bool(name), int(first) if first.isdecimal() else 0, name)
