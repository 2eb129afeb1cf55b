"""An encoder that learns several objectives at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from tfmodels.objectives.objectives import Objective, prediction_figures


class Figures(keras.Model):
    """A model that keeps its own figures: means over an epoch, each prediction counting alike.

    Args:
        name: The model's name.
    """

    def __init__(self, name):
        super().__init__(name=name)
        self._means: dict[str, keras.metrics.Mean] = {}

    def build(self, input_shape=None):
        self.built = True

    def declare(self, names: Sequence[str]) -> None:
        """Makes the means; all of them before training."""
        self._means |= {name: keras.metrics.Mean(name) for name in names}

    def record(self, figures: Mapping[str, tuple], prefix="") -> None:
        """Adds a batch's figures, pairs of a mean and the number that it is the mean of."""
        for name, (mean, count) in figures.items():
            self._means[prefix + name].update_state(mean, sample_weight=count)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self):
        return list(self._means.values())


class Pretrainer(Figures):
    """Trains a backbone by the weighted sum of its objectives' losses, with `training.fit`.

    Args:
        backbone: Any backbone of the library.
        objectives: What it learns; two of one class need names.

    Call arguments:
        inputs: As the backbone takes them; what it does not take is let be.

    Returns:
        The backbone's outputs.

    Raises:
        ValueError: Two objectives have one name.

    Example:
    >>> import tfmodels
    >>> from tfmodels.objectives import MaskedLanguageModel, Pretrainer, SentenceOrder
    >>> backbone = tfmodels.create_model("bert_tiny", num_layers=1, vocabulary_size=100)
    >>> pretrainer = Pretrainer(backbone, [MaskedLanguageModel(), SentenceOrder(weight=0.5)])
    >>> [metric.name for metric in pretrainer.metrics][:3]
    ['loss', 'masked_language_model_loss', 'masked_language_model_accuracy']
    """

    def __init__(self, backbone, objectives: Sequence[Objective]):
        super().__init__(name="pretrainer")
        self.backbone = backbone
        self.objectives = list(objectives)
        names = [objective.name for objective in self.objectives]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"objectives {names} must have names of their own, and there must be one at least.")
        self.declare(["loss"])
        for objective in self.objectives:
            # Each weight's path begins with its objective's name.
            with keras.name_scope(objective.name):
                objective.prepare(backbone)
            objective.built = True
            self.declare([f"{objective.name}_{figure}" for figure in objective.figures])

    def call(self, inputs, training=None):
        return self.backbone({name: inputs[name] for name in self.backbone.input}, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = 0.0
        for objective in self.objectives:
            figures = objective.measure(y_pred, x, y, self.backbone, training)
            self.record(figures, f"{objective.name}_")
            total = total + objective.weight * figures["loss"][0]
        self.record({"loss": (total, 1.0)})
        return total


class PermutationPretrainer(Figures):
    """Trains an XLNet to predict tokens in random factorisation orders, with `training.fit` (arXiv:1906.08237).

    The batch is that of `PermutedText`. Rows are taken as whole texts: the memory is empty in every step.

    Args:
        task: A `PermutationLM`.

    Call arguments:
        inputs: As `XLNetBackbone.two_streams` takes them, without memory.

    Returns:
        {"logits": float32[B, P, V]} of the predictions; of all positions, float32[B, T, V], where the inputs have no
        `permutation_mask`.
    """

    def __init__(self, task):
        super().__init__(name="permutation_pretrainer")
        self.task = task
        self._two_streams = task.two_streams()
        self.declare(["loss", "accuracy"])

    def call(self, inputs, training=None):
        if "permutation_mask" not in inputs:
            return self.task(inputs, training=training)
        backbone = self.task.backbone
        memory = backbone.empty_memory(ops.shape(inputs["token_ids"])[0])
        mapping = ops.cast(inputs["target_mapping"], backbone.compute_dtype)
        outputs = self._two_streams({**inputs, "target_mapping": mapping, "memory": memory}, training=training)
        return {"logits": outputs["logits"]}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        figures = prediction_figures(y_pred["logits"], y)
        self.record(figures)
        return figures["loss"][0]
