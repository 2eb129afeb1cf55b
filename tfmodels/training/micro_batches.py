"""A large batch in the memory of a small one: it goes through the model in parts, and the optimiser makes one step.

The parts' gradients are summed before they are clipped, so that clipping, loss scaling, schedules, moving averages and
callbacks see the batch and know nothing of its parts. Keras's `gradient_accumulation_steps` would count each part as a
step of the schedule, weigh all parts alike, and keep a third slot for every weight between steps.

How parts are weighed: a term of the loss is a mean over something, such as predictions, of which one part may hold more
than another. Part k, with c_k of the batch's c, counts by c_k / c, each term by counts of its own:

    loss = sum over terms and parts of c_k / c  term_k

which is the batch's loss itself, unless a term compares rows with each other: `InfoWord` and `Ranking` then see those
of a part alone. The same sum runs over the replicas of a `tf.distribute.Strategy`, parts or none, where Keras clips
every replica's gradient for itself, adds up the losses of models that have a `compute_loss` of their own, and makes NaN
of the validation where a replica's part is empty. With several workers Keras's own steps do not run at all.

A compiled loss is taken for a mean over rows. A model that has another one says so by three methods:
`loss_counts(x, y)` tells the counts, float32[] by the terms' names, without an output; `loss_terms`, called as
`compute_loss` is, the weighted terms, float32[], and records their figures; `record_loss(loss)` records the batch's.

Cost: time as one batch, where a part still fills the machine; memory for one part's activations and one more gradient.
"""

from __future__ import annotations

import contextlib
import functools

import keras
import tensorflow as tf

from tfmodels.errors import UserError


@contextlib.contextmanager
def micro_batches(model: keras.Model, count: int):
    """While it lasts, `model.fit` takes each batch in `count` parts of equal numbers of rows, the last ones of fewer.

    Args:
        model: A compiled model.
        count: The number of parts; 1 leaves a model that trains on one replica as it is.

    Raises:
        UserError: The count is not positive.

    Example:
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> with micro_batches(model, 4):
    ...     history = model.fit(np.ones((16, 3)), np.ones((16, 1)), batch_size=16, verbose=0)
    >>> int(model.optimizer.iterations)
    1
    """
    if count < 1:
        raise UserError(f"micro_batches={count} must be at least 1: the number of parts of a batch.")
    strategy = model.distribute_strategy
    is_distributed = strategy.num_replicas_in_sync > 1 or strategy.extended._in_multi_worker_mode()
    if count == 1 and not is_distributed:
        yield
        return
    own = {"train_step": functools.partial(_train_step, model, count)}
    own["_maybe_symbolic_build"] = functools.partial(_build, model)
    if is_distributed:
        own["test_step"] = functools.partial(_test_step, model)
    for name, method in own.items():
        setattr(model, name, method)
    model.train_function = model.test_function = None  # Keras keeps the functions of the steps that it had.
    try:
        yield
    finally:
        for name in own:
            delattr(model, name)
        model.train_function = model.test_function = None


def _build(model, iterator=None, data_batch=None):
    """What Keras does before training on replicas; it adds up their batches for a sample, which masks do not allow."""
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        if iterator is not None:
            data_batch = next(next(iter(iterator))[2])
        sample = keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], data_batch)
        with strategy.scope():
            model._symbolic_build(data_batch=sample)


def _train_step(model, count, data):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables, rows = model.trainable_variables, _rows(x)
    loss_of = model if hasattr(model, "loss_terms") else _CompiledLoss(model, rows)
    size = tf.maximum((rows + count - 1) // count, 1)  # rows of a part
    counts = _sum_over_replicas(loss_of.loss_counts(x, y))
    without_gradient = set()

    def part(start, loss, gradients):
        def cut(tensor):
            return None if tensor is None else tensor[start : start + size]

        some_x, some_y, some_weight = keras.tree.map_structure(cut, (x, y, sample_weight))
        shares = {
            name: number / tf.maximum(counts[name], 1e-6)
            for name, number in loss_of.loss_counts(some_x, some_y).items()
        }
        with tf.GradientTape() as tape:
            y_pred = model(some_x, training=True)
            terms = loss_of.loss_terms(some_x, some_y, y_pred, some_weight, training=True)
            part_loss = tf.add_n([shares[name] * tf.cast(term, tf.float32) for name, term in terms.items()])
            scaled = model.optimizer.scale_loss(part_loss)
        found = tape.gradient(scaled, variables)
        without_gradient.update(index for index, gradient in enumerate(found) if gradient is None)
        gradients = [
            total if gradient is None else total + tf.cast(tf.convert_to_tensor(gradient), total.dtype)
            for total, gradient in zip(gradients, found)
        ]
        model.compute_metrics(some_x, some_y, y_pred, some_weight)
        return start + size, loss + part_loss, gradients

    _, loss, gradients = tf.while_loop(
        lambda start, *_: start < rows,
        part,
        (tf.constant(0), tf.constant(0.0), [tf.zeros(variable.shape, variable.dtype) for variable in variables]),
        parallel_iterations=1,  # The activations of one part at a time.
    )
    loss, *gradients = _sum_over_replicas([loss, *gradients])
    model.optimizer.apply(
        # As Keras's own step would hand them over: the optimiser leaves such weights alone.
        [None if index in without_gradient else _once(gradient) for index, gradient in enumerate(gradients)],
        variables,
    )
    loss_of.record_loss(loss)
    return _figures(model)


def _test_step(model, data):
    """Evaluates a replica's part of a batch, which may be empty; the loss is that of the batch."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    rows = _rows(x)
    loss_of = model if hasattr(model, "loss_terms") else _CompiledLoss(model, rows)
    own = loss_of.loss_counts(x, y)
    counts = _sum_over_replicas(own)

    def part():
        y_pred = model(x, training=False)
        terms = loss_of.loss_terms(x, y, y_pred, sample_weight, training=False)
        model.compute_metrics(x, y, y_pred, sample_weight)
        shares = {name: number / tf.maximum(counts[name], 1e-6) for name, number in own.items()}
        return tf.add_n([shares[name] * tf.cast(term, tf.float32) for name, term in terms.items()])

    # Collectives stay outside: every replica has to take part in them.
    loss = _sum_over_replicas([tf.cond(rows > 0, part, lambda: tf.constant(0.0))])[0]
    # A step that finds no more data must not count as one.
    with tf.control_dependencies([loss]):
        loss_of.record_loss(loss)
    return _figures(model)


def _figures(model):
    """The figures so far; Keras takes their mean over workers, along an axis that scalars lack."""
    figures = model.get_metrics_result()
    if not model.distribute_strategy.extended._in_multi_worker_mode():
        return figures
    return keras.tree.map_structure(lambda figure: tf.convert_to_tensor(figure)[tf.newaxis], figures)


class _CompiledLoss:
    """The loss of `compile`, or of a `compute_loss` that says no more, as one term: a mean over rows."""

    def __init__(self, model, rows):
        self.model = model
        self.rows = rows

    def loss_counts(self, x, y):
        return {"loss": tf.cast(_rows(x), tf.float32)}

    def loss_terms(self, x, y, y_pred, sample_weight, training):
        loss = self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if type(self.model).compute_loss is keras.Model.compute_loss:
            # Keras divides its own by the number of replicas.
            loss = loss * self.model.distribute_strategy.num_replicas_in_sync
        return {"loss": loss}

    def record_loss(self, loss):
        for metric in self.model.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=self.rows)


def _rows(x):
    return tf.shape(keras.tree.flatten(x)[0])[0]


def _replicas():
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _sum_over_replicas(values):
    replica = _replicas()
    return values if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, values)


def _once(gradient):
    """Of replicas that all know the whole gradient, the first hands it in: Keras clips first and then adds them up.

    The others hand in zeros, and NaN wherever the whole is not finite: all of them have to skip a step that overflowed.
    """
    replica = _replicas()
    if replica is None:
        return gradient
    return tf.where(tf.equal(replica.replica_id_in_sync_group, 0), gradient, 0.0 * gradient)
