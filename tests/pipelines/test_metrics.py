"""Our TFMA metrics against scikit-learn, and what the bounds of the pipeline hold for."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from sklearn.metrics import accuracy_score, f1_score
from tensorflow_model_analysis.proto import validation_result_pb2

from pipelines.components import evaluation
from pipelines.components.evaluation import refusals
from pipelines.text_classification.configs import PathsConfig, PipelineConfig
from pipelines.text_classification.pipeline import evaluation_config

PATHS = PathsConfig("data", "preprocessor", "root", "serving", "training")


def analyse(config, labels, probabilities, buckets, path):
    """TFMA on predictions that are there already."""
    config = tfma.EvalConfig.FromString(config.SerializeToString())
    config.model_specs[0].signature_name = ""
    frame = pd.DataFrame({"label": labels, "probabilities": list(probabilities), "length_bucket": buckets})
    return tfma.analyze_raw_data(frame, config, output_path=str(path))


def figures(result):
    return {
        key[0][1] if key else "": {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        for key, outputs in result.slicing_metrics
    }


def test_accuracy_and_macro_f1_equal_scikit_learn_on_every_slice(tmp_path):
    random = np.random.default_rng(0)
    labels = random.choice(5, 300, p=[0.5, 0.3, 0.15, 0.05, 0])  # the last class has no rows
    probabilities = random.dirichlet(np.ones(5), 300) + 0.4 * np.eye(5)[labels]
    probabilities[:, 3] = 0  # and this one is never predicted
    buckets = random.choice(["1-10 words", "11+ words"], 300)
    config = evaluation_config(PipelineConfig(PATHS, tuple("abcde")))
    found = figures(analyse(config, labels, probabilities, buckets, tmp_path))
    assert set(found) == {"", "1-10 words", "11+ words"}
    for name, metrics in found.items():
        rows = (buckets == name) | (name == "")
        guesses = probabilities[rows].argmax(1)
        assert metrics["example_count"] == rows.sum()
        assert metrics["accuracy"] == pytest.approx(accuracy_score(labels[rows], guesses))
        assert metrics["macro_f1"] == pytest.approx(f1_score(labels[rows], guesses, average="macro"))


@pytest.mark.parametrize(("least", "passes"), [(0.75, True), (0.76, False)])
def test_a_bound_holds_for_the_whole_and_not_for_every_slice(tmp_path, least, passes):
    labels = np.array([0, 1] * 50)
    right = np.arange(100) >= 25  # 75 of 100 on the whole, none in the first slice
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)] * 0.8 + 0.1
    buckets = np.where(np.arange(100) < 25, "1-10 words", "11+ words")
    config = evaluation_config(PipelineConfig(PATHS, ("no", "yes")), least=least)
    analyse(config, labels, probabilities, buckets, tmp_path)
    assert tfma.load_validation_result(str(tmp_path)).validation_ok is passes
    reasons = [] if passes else ["The student's accuracy of 75.00% is below the least of 76.00%."]
    assert refusals(str(tmp_path), "the teacher") == reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("relative {value: -0.1}", "The student's accuracy of 40.00% is 50.0% of the teacher's 80.00%, and 90.0% is"),
        ("absolute {value: -0.3}", "The student's accuracy of 40.00% is below the teacher's 80.00%, and 50.00% is"),
    ],
)
def test_a_refusal_is_told_in_figures(change, reason, monkeypatch):
    failure = f'metric_key {{name: "accuracy"}} metric_threshold {{change_threshold {{{change}}}}}'
    text = f"metric_validations_per_slice {{failures {{{failure}}}}}"
    result = text_format.Parse(text, validation_result_pb2.ValidationResult())
    figures = {"candidate": [{"accuracy": 0.4}], "baseline": [{"accuracy": 0.8}]}
    monkeypatch.setattr(evaluation.tfma, "load_validation_result", lambda uri: result)
    monkeypatch.setattr(evaluation, "read_metrics", lambda uri, model: figures[model])
    assert refusals("", "the teacher") == [f"{reason} the least."]
