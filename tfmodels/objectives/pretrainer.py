"""An encoder that learns several objectives at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.objectives.memory import CarriedMemory
from tfmodels.objectives.objectives import Objective, prediction_figures


class Figures(keras.Model):
    """A model that keeps its own figures: means over an epoch, each prediction counting alike.

    "loss" alone is a mean over batches, as the sum of terms that count different things.

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

    def loss_counts(self, x, y) -> Mapping[str, object]:
        """Of how many predictions each of `loss_terms` is the mean, float32[]; see `training.micro_batches`."""
        raise NotImplementedError

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True) -> Mapping[str, object]:
        """What the loss is the sum of, float32[], by name; their figures are recorded."""
        raise NotImplementedError

    def record_loss(self, loss) -> None:
        """Records a batch's loss."""
        self.record({"loss": (loss, 1.0)})

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = sum(self.loss_terms(x, y, y_pred, sample_weight, training).values())
        self.record_loss(total)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self):
        return list(self._means.values())


class Masked:
    """A model as a batch's inputs are handed to it: what it takes of them, under a mask that is made of them.

    Args:
        model: A backbone or a task.
        attention_mask: `attention_mask(inputs) -> bool[B, 1 or N, T, T]`, such as `attention.unilm`; None for a model
            that sees all but padding.
        notes: A `NoteDictionary` that a backbone reads, or None.
        knowledge: A `KnowledgeEncoder` that is called in the backbone's place, or None.

    Raises:
        UserError: Entities are to be read under a mask, or with notes.
    """

    def __init__(self, model, attention_mask: Callable | None = None, notes=None, knowledge=None):
        if knowledge is not None and (attention_mask is not None or notes is not None):
            raise UserError(
                "entities are read without a mask and without notes: leave the attention mask and notes out."
            )
        model = model if knowledge is None else knowledge
        self.model = model if attention_mask is None else model.with_attention_mask()
        if notes is not None:
            self.model = notes.read_by(model, self.model.input)
        self.attention_mask = attention_mask

    def __call__(self, inputs, training=None):
        if self.attention_mask is not None:
            inputs = {**inputs, "attention_mask": self.attention_mask(inputs)}
        return self.model({name: inputs[name] for name in self.model.input}, training=training)


class Pretrainer(Figures):
    """Trains a backbone by the weighted sum of its objectives' losses, with `training.fit`.

    Args:
        backbone: Any backbone of the library.
        objectives: What it learns; two of one class need names.
        attention_mask: Who sees whom, see `Masked`; None for all but padding.
        notes: A `NoteDictionary` of rare words that the encoder reads and training writes, or None.
        knowledge: A `KnowledgeEncoder` on the backbone, for texts whose entities are known, or None.

    Call arguments:
        inputs: As the backbone takes them, with `word_numbers` where there are notes and `entities` where there is
            knowledge; what it does not take is let be.

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

    def __init__(
        self,
        backbone,
        objectives: Sequence[Objective],
        attention_mask: Callable | None = None,
        notes=None,
        knowledge=None,
    ):
        super().__init__(name="pretrainer")
        self.backbone = backbone
        self.notes = notes
        self.knowledge = knowledge
        self.attention_mask = attention_mask
        self._encode = Masked(backbone, attention_mask, notes, knowledge)
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
        return self._encode(inputs, training=training)

    def layer_groups(self) -> list:
        """The encoder's groups of layers, see `Backbone.layer_groups`."""
        return (self.backbone if self.knowledge is None else self.knowledge).layer_groups()

    def loss_counts(self, x, y):
        if self.notes is not None:
            raise UserError(
                "notes on rare words are taken of whole batches: train with micro_batches=1 on one replica, in smaller "
                "batches."
            )
        return {objective.name: objective.count(x, y) for objective in self.objectives}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True):
        terms = {}
        for objective in self.objectives:
            figures = objective.measure(y_pred, x, y, self.backbone, training)
            self.record(figures, f"{objective.name}_")
            terms[objective.name] = objective.weight * figures["loss"][0]
        if self.notes is not None and training:
            self.notes.update(y_pred["sequence_output"], y["word_numbers"], x["padding_mask"])
        return terms


class RecurrentPretrainer(Figures):
    """The base of models that learn to predict tokens, with memory that they may carry from step to step.

    Batches of texts of their own have no past; those of `TextStreams` say by `is_start` whose past ends. Evaluation has
    a memory of its own, so that it leaves training's alone.

    Args:
        task: A `RecurrentLM`, to export or to predict with.
        model: What is trained: a model on the task's weights, with masked memory in and out.
        output: The output that is a score or a logarithmic probability of every token.
        batch_size: rows of the batches of `TextStreams`, whose memory is carried; None carries none.
        evaluation_batch_size: The same for evaluation; the default is `batch_size`.
        name: The model's name.
    """

    def __init__(self, task, model, output, batch_size=None, evaluation_batch_size=None, name=None):
        super().__init__(name=name)
        self.task = task
        self.recurrent = model
        self.output_name = output
        self.memory = self.evaluation_memory = None
        if batch_size is not None:
            self.memory = CarriedMemory(task.backbone, batch_size, name="memory")
            self.evaluation_memory = CarriedMemory(
                task.backbone, evaluation_batch_size or batch_size, name="evaluation_memory"
            )
            self.memory.build()
            self.evaluation_memory.build()
        self.declare(["loss", "accuracy"])

    @property
    def backbone(self):
        """The task's."""
        return self.task.backbone

    def call(self, inputs, training=None):
        backbone = self.task.backbone
        memory = self._memory(inputs, training)
        if memory is not None:
            past = memory.read(inputs)
        else:
            rows = ops.shape(inputs["token_ids"])[0]
            past = {"memory": backbone.empty_memory(rows), "memory_mask": ops.zeros((rows, 0), dtype="bool")}
        known = {name: inputs[name] for name in self.recurrent.input if name in inputs}
        return self.recurrent({**known, **past}, training=training)

    def layer_groups(self) -> list:
        """The task's groups of layers, see `Backbone.layer_groups`."""
        return self.task.layer_groups()

    def loss_counts(self, x, y):
        if "is_start" in x:
            raise UserError(
                "memory that is carried from step to step is of whole batches: train with micro_batches=1 on one "
                "replica, in smaller batches."
            )
        return {"loss": ops.sum(ops.cast(y["weights"], "float32"))}

    def loss_terms(self, x, y, y_pred, sample_weight=None, training=True):
        figures = prediction_figures(y_pred[self.output_name], y)
        self.record(figures)
        memory = self._memory(x, training)
        if memory is not None:
            memory.keep(x, y_pred["memory"])
        return {"loss": figures["loss"][0]}

    def record_loss(self, loss):
        """Nothing: the loss is recorded as a mean over predictions, with the accuracy."""

    def _memory(self, inputs, training):
        """The memory that a batch reads and goes into, or None."""
        if "is_start" not in inputs:
            return None
        return self.memory if training else self.evaluation_memory


class CausalPretrainer(RecurrentPretrainer):
    """Trains a recurrent model to predict the next token, with `training.fit` (arXiv:1901.02860).

    Its targets are those of `TextStreams`: `labels` int[B, T] and `weights` float[B, T].

    Args:
        task: An `AdaptiveLM` or a `TiedLM`.
        batch_size: rows of the batches of `TextStreams`, whose memory is carried; None carries none.
        evaluation_batch_size: The same for evaluation; the default is `batch_size`.

    Call arguments:
        inputs: As the backbone takes them; with `is_start` bool[B], True where a row has no past, the memory is read.

    Returns:
        The task's outputs, of float32[B, T, V], and "memory", K float[B, M, D], for the next batch.

    Raises:
        UserError: Memory is carried, and the backbone has no `memory_length`.
    """

    def __init__(self, task, batch_size=None, evaluation_batch_size=None):
        model = task.with_memory(masked=True)
        (output,) = task.output
        super().__init__(task, model, output, batch_size, evaluation_batch_size, "causal_pretrainer")


class PermutationPretrainer(RecurrentPretrainer):
    """Trains an XLNet to predict tokens in random factorisation orders, with `training.fit` (arXiv:1906.08237).

    The batch is that of `PermutedText`.

    Args:
        task: A `PermutationLM`.
        batch_size: rows of the batches of `TextStreams`, whose memory is carried; None takes every row as a whole text.
        evaluation_batch_size: The same for evaluation; the default is `batch_size`.

    Call arguments:
        inputs: As `XLNetBackbone.two_streams` takes them, without memory; with `is_start` bool[B], True where a row has
            no past, the memory is read.

    Returns:
        {"logits": float32[B, P, V], "memory": K float[B, M, D]} of the predictions; the task's outputs, for all
        positions, where the inputs have no `permutation_mask`.

    Raises:
        UserError: Memory is carried, and the backbone has no `memory_length`.
    """

    def __init__(self, task, batch_size=None, evaluation_batch_size=None):
        model = task.two_streams(masked=True)
        super().__init__(task, model, "logits", batch_size, evaluation_batch_size, "permutation_pretrainer")

    def call(self, inputs, training=None):
        if "permutation_mask" not in inputs:
            return self.task(inputs, training=training)
        mapping = ops.cast(inputs["target_mapping"], self.task.backbone.compute_dtype)
        return super().call({**inputs, "target_mapping": mapping}, training=training)
