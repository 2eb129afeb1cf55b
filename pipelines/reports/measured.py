"""A run's models with the figures that several sections need, and what the sections share in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.reports.markup import Markup, join, plain, tag, user_text
from pipelines.reports.results import ModelResults, RunResults
from pipelines.reports.style import series
from tfmodels import metrics

# Bins of the calibration error; Guo et al. (arXiv:1706.04599) use as many.
BINS = 15
# Beyond these, tables wait to be opened, and plots show a part of the classes.
MANY_CLASSES, MOST_CLASSES = 20, 40
_TEXT = 300


class Measured:
    """A model with the figures that several sections need, computed once."""

    def __init__(self, model: ModelResults, results: RunResults, place: int):
        self.model = model
        self.name = plain(model.name, 24)
        self.color = series(place)
        labels, probabilities = results.y_true, model.probabilities
        self.predictions = probabilities.argmax(axis=1)
        self.right = self.predictions == labels
        self.accuracy = metrics.accuracy(labels, self.predictions)
        self.interval = metrics.wilson_interval(int(self.right.sum()), len(labels))
        self.macro_f1 = metrics.macro_f1(labels, self.predictions)
        self.matrix = metrics.confusion_matrix(labels, self.predictions, len(results.labels))
        self.scores = metrics.class_scores(labels, self.predictions, len(results.labels))
        self.roc_areas = metrics.one_vs_rest(metrics.roc_auc, labels, probabilities)
        self.reliability = metrics.reliability(labels, np.clip(probabilities, 0, 1), BINS)

    @property
    def roc_area(self) -> float | None:
        """The mean area under the ROC curve over the classes that have one."""
        known = self.roc_areas[np.isfinite(self.roc_areas)]
        return float(known.mean()) if len(known) else None

    def latency(self, batch: str, figure: str) -> float | None:
        """A figure of the timing with a batch size, or None."""
        return self.model.latency.get(batch, {}).get(figure)


def measure(results: RunResults) -> list[Measured]:
    """The run's models, in order."""
    return [Measured(model, results, place) for place, model in enumerate(results.models)]


def batch_sizes(models: Sequence[Measured]) -> list[str]:
    """The batch sizes that were timed for all models, or else for any, from the smallest up."""
    timed = [set(m.model.latency) for m in models if m.model.latency]
    common = set.intersection(*timed) or set.union(*timed) if timed else set()
    return sorted(common, key=int)


def most_frequent(results: RunResults) -> tuple[float, str]:
    """The share and the name of the largest class among the evaluated rows."""
    counts = np.bincount(results.y_true)
    return float(counts.max() / counts.sum()), results.labels[int(counts.argmax())]


def titled(measured: Measured) -> Markup:
    """A model's name with its description."""
    description = measured.model.description
    return join([measured.name, tag("small", " ", user_text(description, 60)) if description else ""])


def whole_text(value: str | tuple[str, ...]) -> Markup:
    """A text, or the texts of a pair below each other."""
    texts = (value,) if isinstance(value, str) else value
    return join(tag("span", user_text(text, _TEXT), class_="text") for text in texts)


def class_name(label: str) -> Markup:
    """A class's name, cut to what fits a table."""
    return user_text(label, 40)


def absent(title: str, reason: str) -> Markup:
    """The line in the place of a part that is left out."""
    return tag("p", tag("strong", title), f": left out, as {reason}.", class_="absent")


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence."""
    return ", ".join(parts)
