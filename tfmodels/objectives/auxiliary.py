"""A classifier that stays a language model (SiATL, Chronopoulou et al., arXiv:1902.10547).

    L = L_task + gamma L_LM        (equation 1)

A pre-trained language model gets new layers on top for the task, and goes on predicting the next token of the task's
own texts, which holds off catastrophic forgetting; gamma falls exponentially over training. The new layers of the paper
are an LSTM and attention, `RecurrentPooling(WeightDropLSTM(100), AttentionPooling())`, and the pre-trained ones begin
to learn after them: `FitConfig(unfreezing="sequential")`.

Cost: one pass of the backbone serves both losses; the language model's logits take B T V numbers.
"""

from __future__ import annotations

from keras import ops

from tfmodels.errors import UserError
from tfmodels.objectives.objectives import prediction_figures
from tfmodels.objectives.pretrainer import Figures


class AuxiliaryLanguageModel(Figures):
    """Trains a text classifier by its loss and, with a weight, that of a language model on the same backbone.

    The batches are those of a classifier: their targets hold `labels` int[B].

    Args:
        classifier: A `TextClassifier`, to export or to predict with.
        language_model: A task that predicts the next token, such as `TiedLM` or `AdaptiveLM`, on the same backbone.
        weight: gamma: a number, or a Keras schedule of the optimiser's step, such as
            `ExponentialDecay(0.2, steps, 0.5)`, which falls from 0.2 to 0.1 as in the paper.
        name: The model's name.

    Call arguments:
        inputs: As the backbone takes them.

    Returns:
        {"logits": float32[B, C], "language": float32[B, T, V]}, the second one as the language model gives it.

    Raises:
        UserError: The two do not share a backbone.

    Example:
    >>> import keras, tfmodels
    >>> from tfmodels.models import TextClassifier, TiedLM
    >>> backbone = tfmodels.create_model("ulmfit", vocabulary_size=100, hidden_dim=16, intermediate_dim=24)
    >>> decay = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=500, decay_rate=0.5)
    >>> from tfmodels.objectives import AuxiliaryLanguageModel
    >>> model = AuxiliaryLanguageModel(TextClassifier(backbone, num_classes=2), TiedLM(backbone), decay)
    >>> [metric.name for metric in model.metrics][:3]
    ['loss', 'accuracy', 'task_loss']
    """

    def __init__(self, classifier, language_model, weight=0.1, name="auxiliary_language_model"):
        super().__init__(name=name)
        if language_model.backbone is not classifier.backbone:
            raise UserError("classifier and language model need one backbone: make both tasks on the same one.")
        self.backbone = classifier.backbone
        self.classifier = classifier
        self.language_model = language_model
        self.weight = weight
        self.declare(["loss", "accuracy", "task_loss", "language_loss", "language_accuracy", "language_weight"])

    def call(self, inputs, training=None):
        inputs = {name: inputs[name] for name in self.backbone.input}
        features = {**inputs, **self.backbone(inputs, training=training)}
        (language,) = self.language_model.head(features, training=training).values()
        return {"logits": self.classifier.head(features, training=training)["logits"], "language": language}

    def layer_groups(self) -> list:
        """The classifier's groups of layers, see `Backbone.layer_groups`."""
        return self.classifier.layer_groups()

    def language_weight(self):
        """Gamma in the optimiser's step at hand, float32[]."""
        if not callable(self.weight):
            return ops.convert_to_tensor(self.weight, "float32")
        optimizer = getattr(self, "optimizer", None)
        return ops.cast(self.weight(0 if optimizer is None else optimizer.iterations), "float32")

    def loss_counts(self, x, y):
        return {
            "task": ops.cast(ops.shape(y["labels"])[0], "float32"),
            "language": ops.sum(_next_tokens(x)["weights"]),
        }

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True):
        rows = ops.ones_like(y["labels"])
        task = prediction_figures(y_pred["logits"], {"labels": y["labels"], "weights": rows})
        language = prediction_figures(y_pred["language"][:, :-1], _next_tokens(x))
        weight = self.language_weight()
        self.record({"task_loss": task["loss"], "accuracy": task["accuracy"], "language_weight": (weight, 1.0)})
        self.record(language, "language_")
        return {"task": task["loss"][0], "language": weight * language["loss"][0]}


def _next_tokens(inputs):
    """What a language model is to predict after every token but the last, and where there is something."""
    is_real = inputs["padding_mask"]
    known = ops.logical_and(is_real[:, 1:], is_real[:, :-1])
    return {"labels": inputs["token_ids"][:, 1:], "weights": ops.cast(known, "float32")}  # [B, T - 1]
