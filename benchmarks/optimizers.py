"""A step of LAMB beside one of Keras's AdamW, on the weights of one model: time, and memory of slots and step.

    python -m benchmarks.optimizers --quick
    python -m benchmarks.optimizers --model bert_large --pairs 7

The gradients are random and dense, the same for both; norms and biases are spared, and gradients are clipped by their
global norm. Neither is compiled by XLA. What is timed is the optimiser alone: a training step takes many times as long.
"""

from __future__ import annotations

import click

from benchmarks.pairs import in_turn
from benchmarks.processes import GIVES_BACK, IN_ORDER, in_a_process, memory_of
from benchmarks.results import Result, command


def measure(quick: bool = False, model: str = "bert_base", layers: int | None = None, pairs: int = 5) -> list[Result]:
    """A step of LAMB against one of Keras's AdamW: how many times as long AdamW takes, and LAMB's share of memory."""
    import numpy as np

    if quick:
        model, layers, pairs = "bert_tiny", layers or 1, min(pairs, 3)
    # In processes of their own, before this one holds anything.
    peaks = [
        in_a_process("benchmarks.optimizers.memory_here", name, model, layers, environment=IN_ORDER | GIVES_BACK)
        for name in ("lamb", "adamw")
    ]
    variables = _variables(model, layers)
    optimizers, steps = zip(*(_step(name, variables) for name in ("lamb", "adamw")))
    times = in_turn(*steps, pairs)
    numbers = [sum(int(np.prod(v.shape)) for v in optimizer.variables) for optimizer in optimizers]
    size = f"{sum(int(np.prod(v.shape)) for v in variables) / 1e6:.3g} million weights"
    return [
        Result.of_pairs(f"a step on {size}", times, "LAMB", "Keras's AdamW", at_least=1 / 1.15),
        Result("numbers kept between steps, LAMB / AdamW", numbers[0] / numbers[1], at_most=1.001),
        Result(
            "memory of a step, LAMB / AdamW",
            peaks[0] / peaks[1],
            at_most=1.0,
            first=f"LAMB {peaks[0]:.0f} MiB",
            second=f"Keras's AdamW {peaks[1]:.0f} MiB",
        ),
    ]


def memory_here(name: str, model: str, layers: int | None) -> float:
    """MiB that a step needs at its peak in this process, beside weights, gradients and what is kept between steps."""
    _, step = _step(name, _variables(model, layers))
    step()
    return memory_of(step)[0]


def _variables(model: str, layers: int | None) -> list:
    import tfmodels

    return tfmodels.create_model(model, **({} if layers is None else {"num_layers": layers})).trainable_variables


def _step(name: str, variables: list):
    """The optimiser "lamb" or Keras's "adamw", and a step of it."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfmodels.training import Lamb
    from tfmodels.training.exclusions import NORMS_AND_BIASES

    random = np.random.default_rng(0)
    gradients = [tf.constant(random.normal(size=v.shape, scale=1e-3), tf.float32) for v in variables]
    make = {"lamb": Lamb, "adamw": keras.optimizers.AdamW}[name]
    optimizer = make(1e-4, weight_decay=0.01, epsilon=1e-6, global_clipnorm=1.0)
    if name == "adamw":
        optimizer.exclude_from_weight_decay(var_names=NORMS_AND_BIASES)
    optimizer.build(variables)
    apply = tf.function(lambda: optimizer.apply(gradients, variables))

    def step():
        apply()
        return int(optimizer.iterations)  # The step has ended.

    return optimizer, step


main = command(
    measure,
    click.option("--model", default="bert_base", show_default=True, help="A model of `tfmodels list`."),
    click.option("--layers", type=click.IntRange(1), help="Fewer layers."),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
)

if __name__ == "__main__":
    main()
