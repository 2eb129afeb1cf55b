"""What kinds of attention remember over a distance: a word from the beginning is to be told at the end.

    python -m benchmarks.longrange --quick
    python -m benchmarks.longrange --kind FullAttention --kind LocalAttention --length 512

A row is noise but for one of eight words, which stands up to four times at random places of its first quarter. The
last token, which is the same in every row, has to tell which word it was: the classifier reads that token's vector
alone. What sees a few tokens around each can only guess, at one in eight, for two layers of it do not reach so far;
what sees further can be right every time. All kinds have the same sizes, rows and steps; the settings are those of
`benchmarks.kinds` in blocks of 16.

Each run is a file in the output folder, so that a run that was stopped goes on from there.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import tfmodels
from benchmarks.kinds import KINDS, kind_of
from benchmarks.records import remembered
from benchmarks.results import Result, command
from tfmodels.errors import UserError, nearest
from tfmodels.models import AttentionKind

# Tokens: padding, the one that asks, the words to tell, and noise.
ASKS, WORDS, NOISE = 1, 8, 24
COPIES = 4
VOCABULARY = 2 + WORDS + NOISE
# Kinds that by their nature hear of nothing far away, and must guess.
NEAR = {"LocalAttention", "MultiScale", "External"}
_BLOCK = 16
_SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
_BATCH, _RATE, _TESTED = 16, 2e-3, 512


def measure(
    quick: bool = False,
    kind: tuple[str, ...] = (),
    seed: tuple[int, ...] = (0, 1, 2),
    length: int = 256,
    steps: int = 250,
    output: str = "output/longrange",
) -> list[Result]:
    """Recall over a distance: a word of the first quarter told at the end, by every kind of attention.

    Trains every kind with every seed, half a minute each on a core, and prints the table of accuracies.
    """
    for name in kind:
        if name not in KINDS:
            raise UserError(f"there is no kind of attention {name!r}: {nearest(name, KINDS)}")
    names = kind or tuple(KINDS)
    if quick:
        length, steps, seed = min(length, 128), min(steps, 100), seed[:1]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    runs = {name: [_run(folder, name, number, length, steps) for number in seed] for name in names}
    _show(runs, length, steps, seed)
    results = []
    for name, own in runs.items():
        accuracy = statistics.mean(run["accuracy"] for run in own)
        bounds = {"at_most": 1 / WORDS + 0.05} if name in NEAR else {"at_least": 0.9}
        results.append(Result(f"{name}: accuracy over {length:,} tokens", accuracy, **bounds))
    return results


def _run(folder: Path, name: str, seed: int, length: int, steps: int) -> dict:
    """A run's record, from its file or from running it."""
    kind = kind_of(name, length, _BLOCK)
    settings = {"attention": kind.to_dict(), "seed": seed, "length": length, "steps": steps, "sizes": _SIZES}
    settings |= {"batch": _BATCH, "rate": _RATE}
    path = folder / f"{name}-{length}-{seed}.json"
    record = remembered(path, settings, lambda: recall(kind, seed, length, steps))
    click.echo(f"{name}, seed {seed}: {record['accuracy']:.1%}, {record['seconds']:.0f} s", err=True)
    return record


def recall(kind: AttentionKind, seed: int, length: int, steps: int, sizes: dict = _SIZES) -> dict:
    """Trains an encoder of a kind and tests it on other rows.

    Returns:
        `accuracy`, `parameters` and `seconds` of the training.
    """
    import keras

    from tfmodels.layers import LastTokenPooling
    from tfmodels.models import TextClassifier

    keras.utils.set_random_seed(seed)
    backbone = tfmodels.create_model(
        "bert_tiny",
        attention=kind,
        vocabulary_size=VOCABULARY,
        max_sequence_length=length,
        dropout=0.0,
        attention_dropout=0.0,
        **sizes,
    )
    model = TextClassifier(backbone, WORDS, dropout=0.0, pooling=LastTokenPooling())
    for variable in model.trainable_variables:
        # BERT's first weights are for wide layers: in narrow ones nothing moves for a long time.
        if variable.name == "kernel":
            variable.assign(variable * (variable.shape[-2] ** -0.5 / 0.02))
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=_RATE, warmup_steps=max(1, steps // 10))
    optimizer = keras.optimizers.Adam(rate, clipnorm=1.0)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile(optimizer, loss=loss, jit_compile=False)
    inputs, words = rows(steps * _BATCH, length, seed)
    started = time.perf_counter()
    model.fit(inputs, {"logits": words}, batch_size=_BATCH, verbose=0)
    seconds = time.perf_counter() - started
    inputs, words = rows(_TESTED, length, 10_000 + seed)
    told = model.predict(inputs, batch_size=_BATCH, verbose=0)["logits"].argmax(-1)
    return {"accuracy": float((told == words).mean()), "parameters": model.count_params(), "seconds": seconds}


def rows(count: int, length: int, seed: int):
    """Random rows as a backbone's inputs, and the word that each is asked for."""
    import numpy as np

    random = np.random.default_rng(seed)
    token_ids = random.integers(VOCABULARY - NOISE, VOCABULARY, (count, length), dtype="int32")
    words = random.integers(WORDS, size=count)
    for _ in range(COPIES):
        token_ids[np.arange(count), random.integers(0, length // 4, count)] = ASKS + 1 + words
    token_ids[:, -1] = ASKS
    padding_mask = np.ones_like(token_ids, dtype=bool)
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}, words


def _show(runs: dict[str, list[dict]], length: int, steps: int, seeds) -> None:
    title = f"{length:,} tokens, {steps:,} steps of {_BATCH} rows, seeds {', '.join(map(str, seeds))}"
    table = Table(title=title, box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    for column in ("accuracy, %", "each seed", "parameters", "seconds"):
        table.add_column(column, justify="right")
    table.add_row("guessing", f"{100 / WORDS:.1f}")
    for name, own in runs.items():
        accuracies = [100 * run["accuracy"] for run in own]
        table.add_row(
            name,
            f"{statistics.mean(accuracies):.1f}",
            " ".join(f"{accuracy:.1f}" for accuracy in accuracies),
            f"{own[0]['parameters']:,}",
            f"{statistics.median(run['seconds'] for run in own):.0f}",
        )
    Console(width=100).print(table)


main = command(
    measure,
    click.option("--kind", multiple=True, metavar="KIND", help="May be given again.  [default: all]"),
    click.option("--seed", multiple=True, type=int, default=[0, 1, 2], help="May be given again.  [default: 0 1 2]"),
    click.option("--length", default=256, show_default=True, type=click.IntRange(8), help="Tokens of a row."),
    click.option("--steps", default=250, show_default=True, type=click.IntRange(1), help="Training steps."),
    click.option("--output", default="output/longrange", show_default=True, help="Where records go."),
)

if __name__ == "__main__":
    main()
