"""TFMA metrics of a classifier that TFMA lacks, or has only through Keras 2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma


class Accuracy(tfma.metrics.Metric):
    """The fraction of examples whose most probable class is their label."""

    def __init__(self, name: str = "accuracy"):
        super().__init__(tfma.metrics.merge_per_key_computations(_accuracy), name=name)


class MacroF1(tfma.metrics.Metric):
    """The mean of the classes' F1 scores, each class counting alike; one that never occurs counts as zero if predicted.

    F1 of a class is 2 TP / (2 TP + FP + FN). Classes that are neither among the labels nor among the predictions of
    the slice are left out, as scikit-learn does.
    """

    def __init__(self, name: str = "macro_f1"):
        super().__init__(tfma.metrics.merge_per_key_computations(_macro_f1), name=name)


def _accuracy(name: str, eval_config=None, model_name: str = "", output_name: str = ""):
    def figure(counts: Counter) -> float:
        return sum(n for (label, guess), n in counts.items() if label == guess) / sum(counts.values())

    return _derived(name, figure, eval_config, model_name, output_name)


def _macro_f1(name: str, eval_config=None, model_name: str = "", output_name: str = ""):
    def figure(counts: Counter) -> float:
        hits, labels, guesses = Counter(), Counter(), Counter()
        for (label, guess), n in counts.items():
            labels[label] += n
            guesses[guess] += n
            hits[label] += n * (label == guess)
        # 2 TP + FP + FN is the number of times that a class is a label plus those that it is a prediction.
        return float(np.mean([2 * hits[c] / (labels[c] + guesses[c]) for c in labels | guesses]))

    return _derived(name, figure, eval_config, model_name, output_name)


def _derived(name: str, figure, eval_config, model_name: str, output_name: str):
    """The confusion counts, which TFMA computes once for all metrics, and a figure on top of them."""
    key = tfma.metrics.MetricKey(name=name, model_name=model_name, output_name=output_name)
    # Names that begin with an underscore are not written to the results.
    counts_key = tfma.metrics.MetricKey(name="_confusion_counts", model_name=model_name, output_name=output_name)
    combiner = _ConfusionCounts(counts_key, eval_config)
    return [
        tfma.metrics.MetricComputation(keys=[counts_key], preprocessors=None, combiner=combiner),
        tfma.metrics.DerivedMetricComputation(keys=[key], result=lambda metrics: {key: figure(metrics[counts_key])}),
    ]


class _ConfusionCounts(beam.CombineFn):
    """Counts the examples of every (label, most probable class)."""

    def __init__(self, key, eval_config):
        self.key = key
        self.eval_config = eval_config

    def create_accumulator(self) -> Counter:
        return Counter()

    def add_input(self, counts: Counter, element) -> Counter:
        for label, probabilities, _ in tfma.metrics.to_label_prediction_example_weight(
            element,
            eval_config=self.eval_config,
            model_name=self.key.model_name,
            output_name=self.key.output_name,
            flatten=False,
            squeeze=False,
        ):
            counts[int(np.ravel(label)[0]), int(np.argmax(probabilities))] += 1
        return counts

    def merge_accumulators(self, accumulators: Iterable[Counter]) -> Counter:
        return sum(accumulators, Counter())

    def extract_output(self, counts: Counter):
        return {self.key: counts}
