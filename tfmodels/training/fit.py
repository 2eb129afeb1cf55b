"""The fit loop: Keras `fit` with TensorBoard, early stopping, and checkpoints that a killed run goes on from."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError
from tfmodels.models.backbone import Backbone
from tfmodels.models.config import Config, nearest
from tfmodels.training.batches import Batches
from tfmodels.training.checkpoints import restore_variables, save_variables
from tfmodels.training.micro_batches import micro_batches
from tfmodels.training.optimizers import OPTIMIZERS
from tfmodels.training.schedules import SCHEDULES


@dataclasses.dataclass(frozen=True)
class FitConfig(Config):
    """One training recipe.

    Attributes:
        epochs: At most so many passes over the data.
        batch_size: rows, for `Batches`.
        micro_batches: In how many parts the model takes a batch, see `training.micro_batches`: memory for one part,
            and still one step of the optimiser.
        optimizer: One of `OPTIMIZERS`: "adamw" or "lamb".
        learning_rate: The schedule's peak.
        schedule: One of `SCHEDULES`: how the rate falls after the peak.
        warmup: fraction of all steps until the peak.
        weight_decay: The decoupled decay, of matrices only.
        clip_norm: The largest global norm of the gradient; None leaves it alone.
        precision: What the model computes in: float32, bfloat16 or float16; see `policy_for`.
        patience: epochs without a better `monitor` after which training stops; None trains all epochs. Either way the
            weights of the best epoch are kept when there is validation.
        monitor: The validation figure that decides which epoch is best; it is maximised unless it ends in "loss".
        seed: Decides the order of the batches, the random weights and dropout.
    """

    epochs: int = 3
    batch_size: int = 32
    micro_batches: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    precision: str = "float32"
    patience: int | None = None
    monitor: str = "val_accuracy"
    seed: int = 0


def fit(
    model: keras.Model,
    train: Batches,
    validation: Batches | None,
    config: FitConfig,
    directory,
    *,
    loss=None,
    metrics=None,
    callbacks=(),
    verbose="auto",
) -> dict[str, list[float]]:
    """Trains a model, or goes on training it from the last whole epoch in `directory`.

    The model ends with the weights of its best epoch by `config.monitor` (of the last one without validation).

    Args:
        model: A task, or a `Distiller`, whose loss is its own.
        train: The rows to learn from.
        validation: The rows to choose the best epoch by, or None.
        config: The recipe.
        directory: Where checkpoints and TensorBoard's logs lie; made when absent.
        loss: As `keras.Model.compile` takes it.
        metrics: As `keras.Model.compile` takes them.
        callbacks: Further Keras callbacks.
        verbose: As `keras.Model.fit` takes it.

    Returns:
        Every figure of every epoch, by name, earlier runs' epochs included.

    Raises:
        UserError: A task's backbone cannot read a row, the loss or a weight became NaN or infinite, the checkpoint is
            of another model, the warm-up is longer than the run, or the recipe names something that there is not. What
            was saved stays.
    """
    for batches in (train, validation):
        if isinstance(batches, Batches) and isinstance(getattr(model, "backbone", None), Backbone):
            batches.check(model.backbone)
    directory = Path(directory)
    steps = len(train) * config.epochs
    schedule = _named(SCHEDULES, "schedule", config)(config.learning_rate, steps, round(steps * config.warmup))
    make_optimizer = _named(OPTIMIZERS, "optimizer", config)
    optimizer = make_optimizer(schedule, weight_decay=config.weight_decay, clip_norm=config.clip_norm)
    if config.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA makes small steps on a CPU slower, not faster.
    model.compile(optimizer, loss=loss, metrics=metrics, jit_compile=False)
    optimizer.build(model.trainable_variables)

    progress = _Progress(config, directory / "checkpoints", has_validation=validation is not None)
    progress.set_model(model)
    progress.restore()
    if not progress.finished:
        batches = train.dataset(progress.epoch, config.epochs)
        _write_graph(model, batches.element_spec[0], directory / "logs" / "graph")
        with micro_batches(model, config.micro_batches):
            model.fit(
                batches,
                initial_epoch=progress.epoch,
                epochs=config.epochs,
                steps_per_epoch=len(train),
                validation_data=None if validation is None else validation.in_order(),
                callbacks=[
                    # With histograms of every weight at the end of an epoch.
                    _TensorBoard(directory / "logs", histogram_freq=1, write_graph=False),
                    progress,
                    *callbacks,
                ],
                verbose=verbose,
            )
    progress.restore_best()
    return progress.history


def _named(table, field, config):
    """What the recipe names in a field, out of a table."""
    name = getattr(config, field)
    if name not in table:
        raise UserError(f"there is no {field} {name!r}: {nearest(name, table)}")
    return table[name]


def _write_graph(model, signature, directory):
    """TensorBoard's picture of the model on the inputs that it trains on. Keras draws plain functional models only."""
    if directory.exists():
        return
    trace = tf.function(lambda inputs: model(inputs, training=True), input_signature=[signature])
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        tf.summary.graph(trace.get_concrete_function().graph)
    writer.close()


class _TensorBoard(keras.callbacks.TensorBoard):
    """Keras's callback, with histograms of at most 100,000 numbers a weight, named by the weight's whole path.

    Beside them stand LAMB's trust ratios, as scalars.

    TensorBoard takes 250 bytes for each number that it counts: 3 GB and several seconds for a table of word vectors.
    """

    def _log_weights(self, epoch):
        random = np.random.default_rng(epoch)
        with self._train_writer.as_default():
            for variable in self.model.weights:
                numbers = np.ravel(variable)
                if numbers.size > 100_000:
                    numbers = random.choice(numbers, 100_000)
                tf.summary.histogram(f"{variable.path}/histogram", numbers, step=epoch)
            optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
            for path, ratio in getattr(optimizer, "trust_ratios", {}).items():
                tf.summary.scalar(f"trust_ratio/{path}", ratio, step=epoch)


class _Progress(keras.callbacks.Callback):
    """Keeps the history, the best weights and the whole state on disk; stops when nothing gets better."""

    def __init__(self, config, directory, has_validation):
        super().__init__()
        self.config = config
        self.state_file = directory / "state.safetensors"
        self.best_file = directory / "best.safetensors"
        self.has_validation = has_validation
        self.epoch = 0
        self.history: dict[str, list[float]] = {}

    @property
    def finished(self):
        return self.epoch >= self.config.epochs or self._out_of_patience()

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        spoilt = self._spoilt(logs)
        if spoilt:
            kept = f"; the last good checkpoint is {self.state_file}" if self.state_file.exists() else ""
            raise UserError(
                f"{spoilt} in epoch {epoch + 1}: lower the learning rate ({self.config.learning_rate}) or clip the "
                f"gradient{kept}."
            )
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        self.epoch = epoch + 1
        # The best weights come first: a kill between the two files repeats this epoch and writes the same again.
        if self._best_epochs()[-1] == epoch:
            save_variables(self.model.variables, self.best_file, {"epoch": epoch})
        save_variables(self._state(), self.state_file, {"epoch": self.epoch, "history": self.history})
        if self._out_of_patience():
            self.model.stop_training = True

    def restore(self):
        if self.state_file.exists():
            notes = restore_variables(self._state(), self.state_file)
            self.epoch, self.history = notes["epoch"], notes["history"]

    def restore_best(self):
        if self.has_validation and self.best_file.exists():
            restore_variables(self.model.variables, self.best_file)

    def _state(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def _spoilt(self, logs):
        """What became NaN or infinite, as a clause, or None."""
        for name, title in (("loss", "the loss"), ("val_loss", "the validation loss")):
            if not math.isfinite(logs.get(name, 0.0)):
                return f"{title} became {logs[name]}"
        # The last step of an epoch may spoil the weights without a loss that shows it.
        if not all(np.isfinite(variable).all() for variable in self.model.trainable_variables):
            return "a weight became NaN or infinite"
        return None

    def _best_epochs(self):
        """The epochs that are best so far, in order: the last one's weights are kept. Without validation, the last."""
        if not self.has_validation:
            return [self.epoch - 1]
        if self.config.monitor not in self.history:
            raise UserError(
                f"monitor {self.config.monitor!r} is no figure of this run: choose one of "
                f"{', '.join(name for name in self.history if name.startswith('val_'))}."
            )
        values = self.history[self.config.monitor]
        best = min(values) if self.config.monitor.endswith("loss") else max(values)
        return [epoch for epoch, value in enumerate(values) if value == best]

    def _out_of_patience(self):
        patience = self.config.patience
        # A figure that stays is not better: the first of equals counts.
        return bool(patience is not None and self.history and self.epoch - 1 - self._best_epochs()[0] >= patience)
