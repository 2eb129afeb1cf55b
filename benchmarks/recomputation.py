"""A training step that keeps every activation beside one that computes blocks again: memory and time.

    python -m benchmarks.recomputation --quick
    python -m benchmarks.recomputation --model bert_base --length 512 --rows 4

Memory is what a step needs beyond what rests between steps (the program, the weights, the optimizer's slots), gradients
of the weights among it: the peak of a process of its own over what it held before its first whole batch. Nothing is
compiled by XLA. Time is that of the whole step, AdamW included.
"""

from __future__ import annotations

import click

from benchmarks.pairs import in_turn
from benchmarks.processes import GIVES_BACK, in_a_process, memory_of
from benchmarks.results import Result, command


def measure(
    quick: bool = False,
    model: str = "bert_small",
    layers: int = 12,
    rows: int = 16,
    length: int = 128,
    pairs: int = 5,
) -> list[Result]:
    """Recomputation of blocks: how many times less memory a step takes, and how many times as long it takes."""
    if quick:
        model, rows, pairs = "bert_tiny", min(rows, 8), min(pairs, 3)
    what = f"{layers} layers, {rows} x {length} tokens"
    kept, again = (step_memory(active, model, layers, rows, length) for active in (False, True))
    steps = [_step(active, model, layers)[0] for active in (False, True)]
    batch = _batch(rows, length)
    times = in_turn(*[lambda step=step: float(step(*batch)) for step in steps], pairs)
    return [
        Result(
            f"memory of a step, {what}",
            kept / again,
            at_least=3.0,
            first=f"kept {kept:.0f} MiB",
            second=f"computed again {again:.0f} MiB",
        ),
        Result.of_pairs(f"time of a step, {what}", times, "kept", "computed again", at_most=1.35),
    ]


def step_memory(active: bool, model: str, layers: int, rows: int, length: int) -> float:
    """MiB that a training step needs, measured in a process of its own."""
    arguments = (active, model, layers, rows, length)
    return in_a_process("benchmarks.recomputation.memory_here", *arguments, environment=GIVES_BACK)


def memory_here(active: bool, model: str, layers: int, rows: int, length: int) -> float:
    """MiB that a training step needs in this process."""
    step, _ = _step(active, model, layers)
    step(*_batch(1, 8))
    batch = _batch(rows, length)
    return memory_of(lambda: float(step(*batch)))[0]


def _batch(rows: int, length: int):
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    inputs = {
        "token_ids": tf.constant(random.integers(0, 1000, (rows, length)), tf.int32),
        "segment_ids": tf.zeros((rows, length), tf.int32),
        "padding_mask": tf.ones((rows, length), tf.bool),
    }
    return inputs, {"logits": tf.constant(random.integers(0, 2, rows))}


def _step(active: bool, model: str, layers: int):
    """A training step of a text classifier, and the classifier."""
    import keras
    import tensorflow as tf

    import tfmodels
    from tfmodels.models import TextClassifier
    from tfmodels.training import adamw
    from tfmodels.training.recomputation import recomputation

    classifier = TextClassifier(tfmodels.create_model(model, num_layers=layers), 2)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    classifier.compile(adamw(1e-4), loss=loss, jit_compile=False)
    classifier.optimizer.build(classifier.trainable_variables)
    signature = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype), list(_batch(1, 1))
    )
    step = tf.function(lambda x, y: classifier.train_step((x, y))["loss"], input_signature=signature)
    with recomputation(classifier, active):
        step.get_concrete_function()
    return step, classifier


main = command(
    measure,
    click.option("--model", default="bert_small", show_default=True, help="A model of `tfmodels list`."),
    click.option("--layers", default=12, show_default=True, type=click.IntRange(1), help="Its number of layers."),
    click.option("--rows", default=16, show_default=True, type=click.IntRange(1), help="Rows of a batch."),
    click.option("--length", default=128, show_default=True, type=click.IntRange(1), help="Tokens of a row."),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
)

if __name__ == "__main__":
    main()
