"""A training step that keeps every activation beside one that computes blocks again: memory and time.

    python -m benchmarks.recomputation --quick
    python -m benchmarks.recomputation --model bert_base --length 512 --rows 4

Memory is what a step needs beyond what rests between steps (the program, the weights, the optimizer's slots), gradients
of the weights among it: the peak of a process of its own over what it held before its first whole batch. Nothing is
compiled by XLA. Time is that of the whole step, AdamW included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.pairs import in_turn
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
    arguments = json.dumps([active, model, layers, rows, length])
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from benchmarks.recomputation import _peak; _peak(*__import__('json').loads('{arguments}'))",
        ],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(process.stdout.splitlines()[-1])


def _peak(active, model, layers, rows, length):
    step, _ = _step(active, model, layers)
    step(*_batch(1, 8))
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Forgets the peak so far.
    step(*_batch(rows, length))
    print(_memory("VmHWM") - before)


def _memory(field: str) -> float:
    """MiB of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


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
