"""Where a model trains: one device, several, several machines or a TPU, chosen by one word of the recipe.

    strategy = strategy_for(config.strategy)
    with strategy.scope():
        model = TextClassifier(backbone(), 2)
    history = fit(model, train, validation, config, directory)

What a step does is the same everywhere. Each of the R replicas takes every R-th row of the same batch, whose order a
seed decides, and the replicas' gradients are summed, each weighed by what it holds of the batch, before they are
clipped (`micro_batches`): the update is that of one device with the whole batch, and so are the figures. R = 1 leaves
Keras's own step. Dropout differs: replicas draw other rows' masks than one device would, and the same ones as each
other.

Several workers run the same program, each with `TF_CONFIG` in its environment:

    TF_CONFIG={"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}

The first one (or the one that is called "chief") alone writes checkpoints and logs; all of them read the checkpoints,
so `directory` must be one that they share. When one of them dies, the others cannot go on: a cluster manager restarts
all, and they go on from the last whole epoch.

Cost: a copy of the weights and of the optimiser's state on every replica, one exchange of the gradients a step. Every
worker prepares whole batches and keeps its rows: input costs R times as much as on one device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from tfmodels.clusters import this_cluster
from tfmodels.errors import UserError, nearest


@functools.cache
def _mirrored():
    return tf.distribute.MirroredStrategy()


@functools.cache
def _multi_worker():
    this_cluster()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UserError(
            "workers must meet before TensorFlow computes anything: call strategy_for('multi_worker') first in the "
            "program."
        ) from error


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"there is no TPU here ({str(error).splitlines()[0]}): set TPU_NAME, or choose another strategy."
        ) from error


# As a recipe names them: no strategy, all devices of this machine, the workers of TF_CONFIG, a TPU.
STRATEGIES = {
    "one": tf.distribute.get_strategy,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}


def strategy_for(name: str) -> tf.distribute.Strategy:
    """The strategy that a recipe names; the same object every time.

    Args:
        name: One of `STRATEGIES`; "one" is whatever scope the caller is in, mostly none. "multi_worker" waits for all
            workers, and must come before anything that TensorFlow computes.

    Raises:
        UserError: There is no such strategy, TF_CONFIG is missing or malformed, or there is no TPU.
    """
    if name not in STRATEGIES:
        raise UserError(f"there is no strategy {name!r}: {nearest(name, STRATEGIES)}")
    return STRATEGIES[name]()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what all workers share; True without workers."""
    return strategy.extended.should_checkpoint


def sum_over_workers(strategy: tf.distribute.Strategy, number: float) -> float:
    """The sum of a number of every replica's worker; all workers must ask, and none goes on before all have.

    Args:
        strategy: What the workers train under.
        number: This worker's number, which counts once for each of its replicas. Without workers it is the answer.
    """
    if not strategy.extended._in_multi_worker_mode():
        return number
    context = tf.distribute.get_replica_context
    answers = strategy.run(lambda: context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(float(number))))
    return float(strategy.experimental_local_results(answers)[0])


def on_chief(strategy: tf.distribute.Strategy, write: Callable[[], None]) -> None:
    """Lets the chief alone write what all share; the other workers wait for it.

    Args:
        strategy: What the workers train under.
        write: What the chief does.

    Raises:
        UserError: On the other workers, where the chief failed; the chief raises what `write` did.
    """
    failure = None
    if is_chief(strategy):
        try:
            write()
        except Exception as error:
            failure = error
    failed = sum_over_workers(strategy, failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise UserError("the chief could not write what all workers share: see its own message.")


def distribute(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset):
    """A dataset of batches whose replicas see rows of their own, which together are those of the batch.

    tf.data's own sharding cuts batches of unknown sizes as it can; here replica r of R takes the rows r, r + R ... of
    every batch, on whatever machine it is. Where a batch has fewer rows than that, a replica's part is empty.

    Args:
        strategy: Where the replicas are.
        dataset: The same on every worker.

    Returns:
        The dataset itself for one replica, otherwise one that Keras's `fit` takes.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return dataset

    def local(context):
        here = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def part(batch, index):
            return tf.data.Dataset.from_tensors(tf.nest.map_structure(lambda rows: rows[index::replicas], batch))

        def parts(*batch):
            return functools.reduce(
                tf.data.Dataset.concatenate, [part(batch, index) for index in range(first, first + here)]
            )

        return dataset.flat_map(parts).prefetch(2 * here)

    return strategy.distribute_datasets_from_function(local)
