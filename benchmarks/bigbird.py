"""BigBird at 4,096 tokens beside transformers' block-sparse BigBird with the same weights, and beside full attention.

    python -m benchmarks.bigbird --quick
    python -m benchmarks.bigbird --layers 12 --pairs 3

Both compute the same: `as_transformers`, blocks of 64, three random ones. The forward pass is that of inference,
without gradients; forward and backward are those of training, with random blocks, and without dropout, for which the
two have different generators. One row of tokens without padding, sizes of bigbird_base but for the vocabulary, which
attention does not see, and for the number of layers. Outputs are checked to be equal before anything is timed. It runs
where transformers and torch are, in the environment of `./bootstrap parity`, and starts itself there.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile

import click

from benchmarks.pairs import in_turn
from benchmarks.processes import PARITY, ROOT
from benchmarks.results import Result, command, from_json

_VOCABULARY = 1000
_TARGET = 1.5


def measure(quick: bool = False, layers: int = 2, length: int = 4096, pairs: int = 3) -> list[Result]:
    """BigBird-base, block-sparse, against transformers' and against our own full attention.

    Measures the forward pass of inference, and forward and backward of training: how many times as long the other
    takes.
    """
    if quick:
        layers, pairs = 1, min(pairs, 2)
    if importlib.util.find_spec("transformers") is None:
        return _elsewhere(layers, length, pairs)
    return _compared(layers, length, pairs)


def _elsewhere(layers, length, pairs) -> list[Result]:
    """The results of a process in the environment that has transformers."""
    if not PARITY.exists():
        return [Result("BigBird beside transformers", None, note="needs transformers: run ./bootstrap parity")]
    sizes = [f"--layers={layers}", f"--length={length}", f"--pairs={pairs}"]
    process = subprocess.run(
        [str(PARITY), "-m", "benchmarks.bigbird", "--json", *sizes],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if process.returncode:
        raise click.ClickException("the comparison with transformers failed; see above.")
    return from_json(process.stdout)[0]


def _compared(layers, length, pairs) -> list[Result]:
    import numpy as np
    import torch

    ours, full, theirs = _models(layers)
    token_ids = np.random.default_rng(0).integers(100, _VOCABULARY, (1, length)).astype("int32")
    inputs = _inputs(token_ids)
    tensors = {"input_ids": torch.tensor(token_ids).long(), "attention_mask": torch.ones(1, length).long()}

    def their_forward():
        with torch.no_grad():
            return theirs.eval()(**tensors).last_hidden_state.numpy()

    def their_step():
        theirs.zero_grad()
        (theirs.train()(**tensors).last_hidden_state ** 2).sum().backward()

    forward, step = _forward(ours, inputs), _step(ours, inputs)
    np.testing.assert_allclose(forward(), their_forward(), atol=1e-4, rtol=0)
    what = f"1 x {length} tokens, {layers} layers, float32"
    sides = ("tfmodels", "transformers")
    results = [
        Result.of_pairs(f"forward, {what}", in_turn(forward, their_forward, pairs, 1), *sides, at_least=_TARGET),
        Result.of_pairs(f"forward and backward, {what}", in_turn(step, their_step, pairs, 1), *sides, at_least=_TARGET),
    ]
    sides = ("block-sparse", "full attention")
    for name, ours_timed, make in (("forward", forward, _forward), ("forward and backward", step, _step)):
        times = in_turn(ours_timed, make(full, inputs), pairs, 1)
        results.append(Result.of_pairs(f"{name}, {what}, full attention", times, *sides, at_least=1.0))
    return results


def _models(layers):
    """Ours, ours with full attention, and transformers', on the same weights."""
    import transformers

    import tfmodels

    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = transformers.BigBirdConfig(num_hidden_layers=layers, vocab_size=_VOCABULARY, **rates)
    theirs = transformers.BigBirdModel(config)
    with tempfile.TemporaryDirectory() as directory:
        theirs.save_pretrained(directory, safe_serialization=True)
        ours = tfmodels.from_hf(directory)
    full = type(ours)(ours.config.replace(attention=None))
    full.set_weights(ours.get_weights())
    return ours, full, theirs


def _inputs(token_ids):
    import tensorflow as tf

    token_ids = tf.constant(token_ids)
    return {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.ones_like(token_ids, tf.bool),
    }


def _forward(model, inputs):
    import tensorflow as tf

    apply = tf.function(lambda inputs: model(inputs, training=False)["sequence_output"])
    return lambda: apply(inputs).numpy()


def _step(model, inputs):
    """Forward and backward, a function of nothing."""
    import tensorflow as tf

    variables = [variable.value for variable in model.trainable_variables]

    @tf.function
    def gradients(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True)["sequence_output"] ** 2)
        # The pooler is not part of the loss; neither is it in transformers' `last_hidden_state`.
        found = [gradient for gradient in tape.gradient(loss, variables) if gradient is not None]
        return [tf.convert_to_tensor(gradient) for gradient in found]

    return lambda: [gradient.numpy() for gradient in gradients(inputs)]


main = command(
    measure,
    click.option("--layers", default=2, show_default=True, type=click.IntRange(1), help="The ratios change little."),
    click.option("--length", default=4096, show_default=True, type=click.IntRange(705), help="Tokens."),
    click.option("--pairs", default=3, show_default=True, type=click.IntRange(1), help="How often each is timed."),
)

if __name__ == "__main__":
    main()
