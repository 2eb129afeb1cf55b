"""A step of LAMB beside one of Keras's AdamW, on the weights of one model: time, and memory for the slots.

    python -m benchmarks.optimizers --quick
    python -m benchmarks.optimizers --model bert_large --pairs 7

The gradients are random and dense, the same for both; norms and biases are spared, and gradients are clipped by their
global norm. Neither is compiled by XLA. What is timed is the optimiser alone: a training step takes many times as long.
"""

from __future__ import annotations

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command


def measure(quick: bool = False, model: str = "bert_base", layers: int | None = None, pairs: int = 5) -> list[Result]:
    """A step of LAMB against one of Keras's AdamW: how many times as long AdamW takes, and LAMB's share of memory."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tfmodels
    from tfmodels.training import Lamb
    from tfmodels.training.exclusions import NORMS_AND_BIASES

    if quick:
        model, layers, pairs = "bert_tiny", layers or 1, min(pairs, 3)
    backbone = tfmodels.create_model(model, **({} if layers is None else {"num_layers": layers}))
    variables = backbone.trainable_variables
    random = np.random.default_rng(0)
    gradients = [tf.constant(random.normal(size=v.shape, scale=1e-3), tf.float32) for v in variables]
    settings = {"weight_decay": 0.01, "epsilon": 1e-6, "global_clipnorm": 1.0}
    ours, theirs = Lamb(1e-4, **settings), keras.optimizers.AdamW(1e-4, **settings)
    theirs.exclude_from_weight_decay(var_names=NORMS_AND_BIASES)

    def step_of(optimizer):
        optimizer.build(variables)
        apply = tf.function(lambda: optimizer.apply(gradients, variables))

        def step():
            apply()
            return int(optimizer.iterations)  # The step has ended.

        return step

    times = in_turn(step_of(ours), step_of(theirs), pairs)
    numbers = [sum(int(np.prod(v.shape)) for v in optimizer.variables) for optimizer in (ours, theirs)]
    size = f"{backbone.count_params() / 1e6:.3g} million weights"
    return [
        Result.of_pairs(f"a step on {size}", times, "LAMB", "Keras's AdamW"),
        Result("numbers kept between steps, LAMB / AdamW", numbers[0] / numbers[1], at_most=1.001),
    ]


main = command(
    measure,
    click.option("--model", default="bert_base", show_default=True, help="A model of `tfmodels list`."),
    click.option("--layers", type=click.IntRange(1), help="Fewer layers."),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
)

if __name__ == "__main__":
    main()
