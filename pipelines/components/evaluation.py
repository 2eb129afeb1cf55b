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
    # An only model has no name.
    results = (tfma.load_eval_result(uri, model_name=name).slicing_metrics for name in (model, ""))
    for key, outputs in next(filter(None, results), []):
        figures = {"slice": ", ".join(str(value) for _, value in key)}
        for metrics in outputs[""].values():
            figures |= {name: value["doubleValue"] for name, value in metrics.items() if not name.endswith("_diff")}
        slices.append(figures)
    return sorted(slices, key=lambda figures: _natural(figures["slice"]))


def refusals(uri: str, baseline: str) -> list[str]:
    """Why an evaluation did not bless its candidate.

    Args:
        uri: The ModelEvaluation artifact.
        baseline: What to call the baseline, such as "the teacher".

    Returns:
        A sentence for each bound that was missed on the whole; none if it was blessed.
    """
    sentences = []
    for validation in tfma.load_validation_result(uri).metric_validations_per_slice:
        for failure in validation.failures:
            name, bound = failure.metric_key.name, failure.metric_threshold
            value = read_metrics(uri, "candidate")[0][name]
            start = f"The student's {name} of {value:.2%}"
            if not bound.HasField("change_threshold"):
                least = bound.value_threshold.lower_bound.value
                sentences.append(f"{start} is below the least of {least:.2%}.")
                continue
            before, change = read_metrics(uri, "baseline")[0][name], bound.change_threshold
            if change.HasField("relative"):
                share = value / before if before else 0.0
                least = 1 + change.relative.value
                sentences.append(f"{start} is {share:.1%} of {baseline}'s {before:.2%}, and {least:.1%} is the least.")
            else:
                least = before + change.absolute.value
                sentences.append(f"{start} is below {baseline}'s {before:.2%}, and {least:.2%} is the least.")
    return sentences


def _natural(name: str) -> tuple:
    """Sorts "11-20 words" before "101+ words"."""
    first = name.split("-")[0].split("+")[0]
    return (bool(name), int(first) if first.isdecimal() else 0, name)
