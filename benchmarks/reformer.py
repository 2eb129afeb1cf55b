"""Reformer: memory by depth, a long sequence, its attention beside transformers', and its error by rounds.

    python -m benchmarks.reformer --quick
    python -m benchmarks.reformer --only memory --layers 2,6,12
    python -m benchmarks.reformer --only error --plot error.png

Memory is what a training step of a language model (256 wide, 4 heads of 64, a network of 1,024, every layer hashes in
two rounds, chunks of 64) needs beyond what rests between steps: the peak of a process of its own over what it held
before, the median of three processes. The long sequence is all of its process, libraries among it. Both are
without oneDNN, whose allocator would hide a peak. Nothing is compiled by XLA.

Speed is that of one attention layer, normalisation and projections among it, forward and backward, causal: ours in a
TensorFlow graph and transformers' in torch, in turn, in one process of the environment that has both (`./bootstrap
parity`).
"""

from __future__ import annotations

import statistics

import click

from benchmarks.pairs import Pairs, in_turn, peak_memory
from benchmarks.processes import GIVES_BACK, IN_ORDER, KEEPS_MEMORY, PARITY, in_a_process, memory_of, resident
from benchmarks.results import Result, command
from tfmodels.errors import UserError

_SIZES = {"vocabulary_size": 258, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024, "head_dim": 64}
_PARTS = ("memory", "long", "speed", "error")
_PROCESSES = 3


def measure(
    quick: bool = False,
    only: tuple[str, ...] = (),
    layers: str = "2,6,12",
    length: int = 4096,
    pairs: int = 5,
    plot: str | None = None,
) -> list[Result]:
    """Reformer: memory by depth, a sequence of 65,536 tokens, LSH attention beside transformers', error by rounds."""
    if quick:
        layers, length, pairs = "2,6", min(length, 1024), min(pairs, 3)
    parts = only or _PARTS
    results = []
    if "memory" in parts:
        results += _by_depth(_numbers(layers), length)
    if "long" in parts:
        results.append(_long(8192 if quick else 65_536))
    if "speed" in parts:
        results.append(_beside_transformers(length, pairs))
    if "error" in parts:
        results.append(_by_rounds(plot))
    return results


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(number) for number in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1:
        raise UserError(f"--layers {text} are not numbers of layers: give them as 2,6,12.")
    return numbers


def _by_depth(depths: list[int], length: int) -> list[Result]:
    """The highest peak of all depths over the lowest, and what keeping activations costs instead."""

    def peak(active, depth):
        found = [step_of(active, depth, length)["peak"] for _ in range(_PROCESSES)]
        return statistics.median(found)

    peaks = {active: [peak(active, depth) for depth in depths] for active in (True, False)}
    what = f"memory of a step, {length:,} tokens, {depths[0]} to {depths[-1]} layers"
    shown = {
        active: " ".join(f"{depth}: {peak:.0f}" for depth, peak in zip(depths, found))
        for active, found in peaks.items()
    }
    back, kept = peaks[True], peaks[False]
    return [
        Result(
            f"{what}, computed back",
            max(back) / min(back),
            at_most=1.15,
            first=f"MiB by layers computed back {shown[True]}",
            second=f"kept {shown[False]}",
        ),
        Result(f"{what}, kept", kept[-1] / kept[0]),
        Result(f"kept over computed back, {depths[-1]} layers", kept[-1] / back[-1]),
    ]


def _long(length: int) -> Result:
    """A training step on one long sequence."""
    found = step_of(True, 6, length)
    return Result(
        f"peak memory of the process, 6 layers, one sequence of {length:,} tokens",
        found["process"] / 1024,
        at_most=12,
        unit="GiB",
        first=f"step {found['peak']:.0f} MiB",
        second=f"loss {found['loss']:.2f} nats",
    )


def step_of(active: bool, layers: int, length: int) -> dict:
    """What `step_memory` finds in a process of its own."""
    environment = IN_ORDER | GIVES_BACK
    return in_a_process("benchmarks.reformer.step_memory", active, layers, length, environment=environment)


def step_memory(active: bool, layers: int, length: int) -> dict:
    """MiB that a training step needs and that the process has held at most, and the loss; for a process of its own."""
    import numpy as np
    import tensorflow as tf

    step = _step(active, layers, length)
    tokens = np.random.default_rng(0).integers(1, 258, (1, length + 1)).astype("int32")
    step(tokens[:, :65])
    peak, loss = memory_of(lambda: float(step(tf.constant(tokens))))
    return {"peak": peak, "process": resident("VmHWM"), "loss": loss}


def _step(active: bool, layers: int, length: int):
    """A training step of a language model, from int32[1, T + 1] to the loss."""
    import keras
    import tensorflow as tf

    from tfmodels.models import LSHAttention, ReformerBackbone, ReformerConfig, ReformerLM
    from tfmodels.training import adamw
    from tfmodels.training.recomputation import recomputation

    config = ReformerConfig(
        **_SIZES,
        num_layers=layers,
        max_sequence_length=length,
        axial_shape=(-(-length // 256), 256),
        axial_dims=(64, 192),
        attention=(LSHAttention(causal=True, num_hashes=2),),
        feed_forward_chunk=4096,
    )
    model = ReformerLM(ReformerBackbone(config))
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile(adamw(1e-4), loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32)])
    def step(tokens):
        read = tokens[:, :-1]
        inputs = {"token_ids": read, "segment_ids": tf.zeros_like(read), "padding_mask": tf.ones_like(read, tf.bool)}
        return model.train_step((inputs, {"logits": tokens[:, 1:]}))["loss"]

    with recomputation(model, active):
        step.get_concrete_function()
    return step


def _beside_transformers(length: int, pairs: int) -> Result:
    """Our attention and transformers', timed in turn where both can be had."""
    what = f"transformers' LSH attention over ours, forward and backward, {length:,} tokens"
    if not PARITY.exists():
        return Result(what, None, note="transformers' Reformer is in the environment of `./bootstrap parity`.")
    times = Pairs(
        *in_a_process("benchmarks.reformer.attention_times", length, pairs, python=PARITY, environment=KEEPS_MEMORY)
    )
    return Result.of_pairs(what, times, "ours", "transformers", at_least=2.0)


def attention_times(length: int, pairs: int) -> list:
    """The times of both layers, in turn: what `Pairs` is made of."""
    import numpy as np
    import tensorflow as tf
    import torch
    import transformers
    from transformers.models.reformer.modeling_reformer import ReformerAttention

    from tfmodels.layers import LayerNorm, LSHSelfAttention

    buckets, hashes, chunk, width, heads = 2 * length // 64, 2, 64, 256, 4
    x = np.random.default_rng(0).normal(size=(1, length, width)).astype("float32")

    theirs = ReformerAttention(
        transformers.ReformerConfig(
            attn_layers=["lsh"],
            hidden_size=width,
            num_attention_heads=heads,
            attention_head_size=width // heads,
            num_hashes=hashes,
            num_buckets=buckets,
            lsh_attn_chunk_length=chunk,
            is_decoder=True,
            hidden_dropout_prob=0.0,
            lsh_attention_probs_dropout_prob=0.0,
        )
    ).train()

    def their_step():
        given = torch.tensor(x, requires_grad=True)
        theirs.zero_grad()
        theirs(given, attention_mask=None).hidden_states.sum().backward()
        return float(given.grad[0, 0, 0])

    norm = LayerNorm()
    ours = LSHSelfAttention(heads, width, buckets, hashes, chunk, is_causal=True, use_bias=False)
    ours(norm(x[:, :chunk]))
    weights = [*norm.trainable_variables, *ours.trainable_variables]

    @tf.function(jit_compile=False)
    def gradients(given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(ours(norm(given), training=True))
        return tape.gradient(total, [given, *weights])

    return list(in_turn(lambda: float(gradients(tf.constant(x))[0][0, 0, 0]), their_step, pairs))


def _by_rounds(plot: str | None) -> Result:
    """The error of eight rounds over that of one."""
    errors = error_by_rounds()
    if plot:
        _draw(errors, plot)
    shown = " ".join(f"{rounds}: {error:.3f}" for rounds, error in errors.items())
    return Result(
        "error to full attention, 8 rounds over 1, 1,024 tokens",
        errors[8] / errors[1],
        at_most=0.5,
        first=f"by rounds {shown}",
        second=f"peak {peak_memory():.1f} GiB",
    )


def error_by_rounds(rounds=(1, 2, 4, 8, 16), length: int = 1024, size: int = 64, seed: int = 0) -> dict[int, float]:
    """The distance of LSH attention to full attention over the length of the latter, by the number of rounds.

    Random queries in 32 loose clusters, 64 buckets, chunks of 32, one chunk before.
    """
    import numpy as np

    from tfmodels.ops import attend, draw_rotations, lsh_attend, lsh_buckets

    random = np.random.default_rng(seed)
    centres = random.normal(size=(32, size))
    query = 3 * (centres[random.integers(0, 32, length)] + 0.5 * random.normal(size=(length, size)))
    query = query.astype("float32")[None, :, None]  # [1, T, 1, H]
    value = random.normal(size=(1, length, 1, size)).astype("float32")
    key = query / np.sqrt(np.mean(query**2, axis=-1, keepdims=True) + 1e-6)
    full = np.asarray(attend(query, key, value, mask=~np.eye(length, dtype=bool)[None, None]))
    real = np.ones((1, length), bool)
    errors = {}
    for number in rounds:
        buckets = lsh_buckets(query, draw_rotations(seed, 1, size, number, 64), 64)
        ours = np.asarray(lsh_attend(query, value, buckets, real, 32))
        errors[number] = float(np.linalg.norm(ours - full) / np.linalg.norm(full))
    return errors


def _draw(errors: dict[int, float], path: str) -> None:
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(5, 3.5), layout="constrained")).add_subplot()
    axes.plot(list(errors), list(errors.values()), marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(errors), [str(rounds) for rounds in errors])
    axes.set(xlabel="rounds of hashing", ylabel="error over full attention's norm", ylim=(0, None))
    figure.savefig(path)


main = command(
    measure,
    click.option("--only", multiple=True, type=click.Choice(_PARTS), help="A part of it; may be given several times."),
    click.option("--layers", default="2,6,12", show_default=True, metavar="NUMBERS", help="Depths to compare."),
    click.option("--length", default=4096, show_default=True, type=click.IntRange(128), help="Tokens of a row."),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
    click.option("--plot", metavar="FILE", help="Draw the error by rounds."),
)

if __name__ == "__main__":
    main()
