"""The fit loop: Keras `fit` with TensorBoard, early stopping, and checkpoints that a killed run goes on from."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram.summary_v2 import histogram_pb

from tfmodels.errors import UserError, nearest
from tfmodels.models.backbone import Backbone
from tfmodels.models.config import Config
from tfmodels.training.batches import Batches, untuned
from tfmodels.training.checkpoints import restore_variables, save_variables
from tfmodels.training.micro_batches import micro_batches
from tfmodels.training.optimizers import CLIPPINGS, OPTIMIZERS, check_average
from tfmodels.training.precision import policy_for
from tfmodels.training.rates import LayerRates, check_decay, layer_groups
from tfmodels.training.recomputation import recomputation
from tfmodels.training.schedules import SCHEDULES
from tfmodels.training.strategies import (
    STRATEGIES,
    distribute,
    is_chief,
    on_chief,
    strategy_for,
    sum_over_workers,
)
from tfmodels.training.unfreezing import UNFREEZE_EPOCHS, UNFREEZING

# What changes where a recipe runs, or when it ends, and not what it makes.
_SAME_RESULT = ("epochs", "patience", "micro_batches", "strategy", "recompute")
# What the fields of a recipe may name.
_TABLES = {
    "strategy": STRATEGIES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "clip_by": CLIPPINGS,
    "unfreezing": UNFREEZING,
}


@dataclasses.dataclass(frozen=True)
class FitConfig(Config):
    """One training recipe.

    Attributes:
        epochs: At most so many passes over the data.
        batch_size: rows, for `Batches`.
        micro_batches: In how many parts the model takes a batch, see `training.micro_batches`: memory for one part,
            and still one step of the optimiser.
        strategy: One of `STRATEGIES`, see `training.strategies`: "one", "mirrored", "multi_worker" or "tpu". The model
            must be built under its scope.
        recompute: Whether the backward pass computes every block again instead of keeping its activations, see
            `training.recomputation`.
        optimizer: One of `OPTIMIZERS`: "adamw" or "lamb".
        learning_rate: The schedule's peak.
        schedule: One of `SCHEDULES`: how the rate falls after the peak.
        warmup: fraction of all steps until the peak.
        weight_decay: The decoupled decay, of matrices only.
        clip_norm: The largest norm of the gradient, or the largest number in it; None leaves it alone.
        clip_by: One of `CLIPPINGS`: the "global_norm" of all weights' gradients, each weight's "norm", or the "value".
        average: The momentum of a moving average of the weights, such as 0.999, which validation judges and the model
            ends with; None keeps none.
        precision: What the model computes in: float32, bfloat16 or float16; see `policy_for`. The pipelines also take
            "auto", which is settled before the model is built; see `choose_precision`.
        patience: epochs without a better `monitor` after which training stops; None trains all epochs. Either way the
            weights of the best epoch are kept when there is validation.
        monitor: The validation figure that decides which epoch is best; it is maximised unless it ends in "loss".
        seed: Decides the order of the batches, the random weights and dropout.
        layer_decay: A layer's rate is that of the layer above it times this, 1 at the head; None is 1 everywhere. See
            `training.rates`.
        unfreezing: One of `UNFREEZING`: how the layers begin to learn, from the top down; None lets all begin at once.
        unfreeze_epochs: Its numbers of epochs, which may be fractions: from one layer to the next where it is
            "gradual"; until the layers learn, and until the embeddings do, where it is "sequential".

    Raises:
        UserError: There is no such name, or a number is out of its range.
    """

    epochs: int = 3
    batch_size: int = 32
    micro_batches: int = 1
    strategy: str = "one"
    recompute: bool = False
    optimizer: str = "adamw"
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    clip_by: str = "global_norm"
    average: float | None = None
    precision: str = "float32"
    patience: int | None = None
    monitor: str = "val_accuracy"
    seed: int = 0
    layer_decay: float | None = None
    unfreezing: str | None = None
    unfreeze_epochs: tuple[float, ...] = (1,)

    def __post_init__(self):
        super().__post_init__()
        for field, table in _TABLES.items():
            name = getattr(self, field)
            if name not in table and name is not None:
                raise UserError(f"there is no {field} {name!r}: {nearest(name, table)}")
        if self.precision != "auto":
            policy_for(self.precision)
        elif self.strategy != "one":
            raise UserError(f"precision 'auto' tries one device, not the strategy {self.strategy!r}: name a precision.")
        for field in ("epochs", "batch_size", "micro_batches", "patience"):
            number = getattr(self, field)
            if number is not None and number < 1:
                raise UserError(f"{field}={number} must be at least 1.")
        for field in ("learning_rate", "clip_norm"):
            number = getattr(self, field)
            if number is not None and not number > 0:
                raise UserError(f"{field}={number} must be positive.")
        if math.isinf(self.learning_rate):
            raise UserError("learning_rate=inf must be finite: give one such as 5e-5.")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"warmup={self.warmup} must be from 0 to 1: the fraction of all steps until the peak.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} must be from 0 to 2**32 - 1.")
        check_average(self.average)
        if self.layer_decay is not None:
            check_decay(self.layer_decay)
        if self.unfreezing is not None:
            least, most = UNFREEZE_EPOCHS[self.unfreezing]
            if not least <= len(self.unfreeze_epochs) <= most:
                number = "one number" if most == 1 else f"{least} to {most} numbers"
                raise UserError(
                    f"unfreeze_epochs={self.unfreeze_epochs}: unfreezing={self.unfreezing!r} takes {number}."
                )


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

    The model ends with the weights of its best epoch by `config.monitor` (of the last one without validation). With
    several workers all of them call it; the chief alone writes to `directory`, which all of them read.

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
            of another model or cannot be written, the recipe leaves the precision open or is another one than that of
            the finished run in the directory, the model or a metric was built outside the scope of the recipe's
            strategy, a batch has fewer rows than there are replicas, or workers do not share the directory. What was
            saved stays.
    """
    if config.precision == "auto":
        raise UserError("precision 'auto' is settled before a model is built: ask choose_precision, or name one.")
    strategy = strategy_for(config.strategy)
    if config.strategy != "one":
        _check_scope(model, metrics, strategy, config.strategy)
    strategy = model.distribute_strategy
    if config.batch_size < strategy.num_replicas_in_sync:
        raise UserError(
            f"batch_size={config.batch_size} is less than the {strategy.num_replicas_in_sync} replicas that share a "
            "batch: give each a row at least."
        )
    with strategy.scope():
        return _fit(model, train, validation, config, directory, strategy, loss, metrics, callbacks, verbose)


def _check_scope(model, metrics, strategy, name: str) -> None:
    """Refuses what was built outside the strategy: a metric would count this worker's rows alone."""
    outside = [] if model.distribute_strategy is strategy else ["model"]
    for metric in tf.nest.flatten(metrics):
        if isinstance(metric, keras.metrics.Metric):
            inside = all(strategy.extended.variable_created_in_scope(each.value) for each in metric.variables)
            outside += [] if inside else [f"metric {metric.name}"]
    if outside:
        raise UserError(
            f"the {outside[0]} was built outside the strategy {name!r}: build it under "
            f"`with strategy_for({name!r}).scope():`."
        )


def _fit(model, train, validation, config, directory, strategy, loss, metrics, callbacks, verbose):
    for batches in (train, validation):
        if isinstance(getattr(model, "backbone", None), Backbone):
            for rows in _rows_of(batches):
                rows.check(model.backbone)
    directory = Path(directory)
    steps = len(train) * config.epochs
    schedule = SCHEDULES[config.schedule](config.learning_rate, steps, round(steps * config.warmup))
    optimizer = OPTIMIZERS[config.optimizer](
        schedule,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        clip_by=config.clip_by,
        average=config.average,
        rates=layer_rates(model, config, len(train)),
    )
    if config.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA makes small steps on a CPU slower, not faster.
    model.compile(optimizer, loss=loss, metrics=metrics, jit_compile=False)
    optimizer.build(model.trainable_variables)

    progress = _Progress(config, directory / "checkpoints", validation is not None, strategy)
    progress.set_model(model)
    progress.restore()
    if progress.finished:
        progress.check_recipe()
    else:
        batches = untuned(train.dataset(progress.epoch, config.epochs))
        held_out = None if validation is None else untuned(validation.in_order())
        # With histograms of every weight at the end of an epoch.
        logs = [_TensorBoard(directory / "logs", histogram_freq=1, write_graph=False)] if is_chief(strategy) else []
        if is_chief(strategy):
            _write_graph(model, batches.element_spec[0], directory / "logs" / "graph")
        with micro_batches(model, config.micro_batches), recomputation(model, config.recompute):
            model.fit(
                distribute(strategy, batches),
                initial_epoch=progress.epoch,
                epochs=config.epochs,
                steps_per_epoch=len(train),
                validation_data=None if held_out is None else distribute(strategy, held_out),
                callbacks=[*logs, progress, *callbacks],
                verbose=verbose if is_chief(strategy) else 0,
            )
    progress.restore_best()
    return progress.history


def _rows_of(batches) -> list[Batches]:
    """The rows behind batches that corrupt or mix them, and the texts behind streams, whose models have no bound."""
    if batches is None or isinstance(batches, Batches):
        return [] if batches is None else [batches]
    if hasattr(batches, "token_ids"):
        return [Batches(batches.token_ids, {}, 1)]
    inner = batches.tasks.values() if hasattr(batches, "tasks") else [getattr(batches, "batches", None)]
    return [rows for each in inner for rows in _rows_of(each)]


@contextlib.contextmanager
def _averaged(model, momentum):
    """While it lasts, the model has the moving average of its weights, where there is one."""
    if momentum is None:
        yield
        return
    _exchange(model)
    try:
        yield
    finally:
        _exchange(model)


def _exchange(model):
    """Exchanges the weights with their moving average. Keras's own callback adds and subtracts, and so rounds both."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    for variable, average in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average):
        value = np.array(variable)
        variable.assign(average)
        average.assign(value)


def layer_rates(model, config: FitConfig, epoch_steps: int) -> LayerRates | None:
    """The layers' own rates, or None where the recipe has none.

    Raises:
        UserError: The model has no layers by depth, or the epochs end before its lowest layer learns.
    """
    if config.layer_decay is None and config.unfreezing is None:
        return None
    starts = ()
    if config.unfreezing is not None:
        epochs = UNFREEZING[config.unfreezing](len(layer_groups(model)), *config.unfreeze_epochs)
        if epochs[0] >= config.epochs:
            raise UserError(
                f"unfreezing={config.unfreezing!r} lets the lowest layer learn in epoch {epochs[0] + 1:g}, but there "
                f"are {config.epochs}: train for more epochs or give smaller unfreeze_epochs."
            )
        starts = [round(epoch * epoch_steps) for epoch in epochs]
    return LayerRates.of(model, 1.0 if config.layer_decay is None else config.layer_decay, starts)


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

    Beside them stand LAMB's trust ratios and float16's loss scale, as scalars.

    TensorBoard takes 250 bytes for each number that it counts: 3 GB and several seconds for a table of word vectors.
    """

    def _log_weights(self, epoch):
        random = np.random.default_rng(epoch)
        with self._train_writer.as_default():
            for variable in self.model.weights:
                numbers = np.ravel(variable)
                numbers = numbers[np.isfinite(numbers)]
                if numbers.size > 100_000:
                    numbers = random.choice(numbers, 100_000)
                # Counted by NumPy: tf.summary.histogram runs some fifteen operations and a condition for each weight.
                summary = histogram_pb(f"{variable.path}/histogram", numbers)
                tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=epoch)
            if isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer):
                tf.summary.scalar("loss_scale", self.model.optimizer.dynamic_scale, step=epoch)
            optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
            for path, ratio in getattr(optimizer, "trust_ratios", {}).items():
                tf.summary.scalar(f"trust_ratio/{path}", ratio, step=epoch)


class _Progress(keras.callbacks.Callback):
    """Keeps the history, the best weights and the whole state on disk; stops when nothing gets better."""

    def __init__(self, config, directory, has_validation, strategy):
        super().__init__()
        self.config = config
        self.strategy = strategy
        self.state_file = directory / "state.safetensors"
        self.best_file = directory / "best.safetensors"
        self.has_validation = has_validation
        self.epoch = 0
        self.history: dict[str, list[float]] = {}
        self.recipe: dict | None = None  # of the run that wrote the state

    @property
    def finished(self):
        return self.epoch >= self.config.epochs or self._out_of_patience()

    def on_train_batch_end(self, batch, logs=None):
        # The mean over the epoch so far: Keras reads it after every step anyway, and it stays what it became.
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise self._spoilt_error(f"the loss became {loss} in epoch {self.epoch + 1}, batch {batch + 1}")

    def on_test_begin(self, logs=None):
        if self.config.average is not None:
            _exchange(self.model)

    def on_test_end(self, logs=None):
        if self.config.average is not None:
            _exchange(self.model)

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        spoilt = self._spoilt(logs)
        if spoilt:
            raise self._spoilt_error(f"{spoilt} in epoch {epoch + 1}")
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        self.epoch = epoch + 1
        is_best = self._best_epochs()[-1] == epoch

        def save():
            # The best weights come first: a kill between the two files repeats this epoch and writes the same again.
            if is_best:
                with _averaged(self.model, self.config.average):
                    save_variables(self.model.variables, self.best_file, {"epoch": epoch})
            notes = {"epoch": self.epoch, "history": self.history, "recipe": self.config.to_dict()}
            save_variables(self._state(), self.state_file, notes)

        on_chief(self.strategy, save)
        if self._out_of_patience():
            self.model.stop_training = True

    def restore(self):
        if self.state_file.exists():
            notes = restore_variables(self._state(), self.state_file)
            self.epoch, self.history, self.recipe = notes["epoch"], notes["history"], notes.get("recipe")
        counted = self.strategy.num_replicas_in_sync if self.strategy.extended._in_multi_worker_mode() else 1
        if sum_over_workers(self.strategy, self.epoch) != self.epoch * counted:
            raise UserError(
                f"the workers find different checkpoints in {self.state_file.parent}: give a directory that they share."
            )

    def check_recipe(self):
        """Refuses to hand out what another recipe has made: nothing will be trained.

        A run that is not finished may go on by another one: a spoilt one by a lower learning rate.
        """
        ours = json.loads(json.dumps(self.config.to_dict()))
        told = [
            f"{name} {value!r} and not {ours[name]!r}"
            for name, value in (self.recipe or {}).items()
            if name in ours and name not in _SAME_RESULT and ours[name] != value
        ]
        if self.epoch > self.config.epochs:
            told.append(f"{self.epoch} epochs and not {self.config.epochs}")
        if told:
            raise UserError(
                f"{self.state_file.parent.parent} holds a run that was finished with {', '.join(told)}: give another "
                "directory, or remove it to start afresh."
            )

    def restore_best(self):
        if self.has_validation and self.best_file.exists():
            restore_variables(self.model.variables, self.best_file)
        elif self.config.average is not None:
            _exchange(self.model)

    def _state(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def _spoilt_error(self, what):
        kept = f"; the last good checkpoint is {self.state_file}" if self.state_file.exists() else ""
        rate = self.config.learning_rate
        return UserError(f"{what}: lower the learning rate ({rate}) or clip the gradient{kept}.")

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
