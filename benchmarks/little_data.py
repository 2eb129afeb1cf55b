"""The claim of low-rank and locality constrained attention: that it learns more from little than full attention does.

    python -m benchmarks.little_data --quick
    python -m benchmarks.little_data --rows 500 --rows 4000

Guo et al. (IEEE/ACM TASLP 27(12), 2019) hold that attention of low rank for what is far, and a band for what is near,
is a regulariser where data is short. Here are a few hundred of the movie reviews, drawn anew with every seed, and
encoders that begin with random weights: full attention, the paper's, and its band alone, all of one size, for as many
steps with the same rows. The word pieces are learnt from all training reviews, without their labels. The 1,000 test
reviews judge the weights of the last step; nothing is chosen by them. Differences are taken seed by seed.

Each run is a file in the output folder, so that a run that was stopped goes on from there.
"""

from __future__ import annotations

import functools
import math
import statistics
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import tfmodels
from benchmarks.records import remembered
from benchmarks.results import Result, command
from tfmodels.models import AttentionKind, FullAttention, LocalAttention, LowRank

_KINDS: dict[str, AttentionKind] = {
    "full attention": FullAttention(),
    "low rank and local": LowRank(rank=4, window=4),
    "local alone": LocalAttention(chunk_length=4),
}
_FULL = "full attention"
_SIZES = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128, "max_sequence_length": 64}
_VOCABULARY, _BATCH, _RATE, _STEPS = 4096, 32, 1e-3, 400


def measure(
    quick: bool = False,
    rows: tuple[int, ...] = (500, 4000),
    seed: tuple[int, ...] = (0, 1, 2, 3, 4),
    output: str = "output/little_data",
) -> list[Result]:
    """Low-rank and local attention beside full attention, where there is little to learn from.

    Trains every encoder with every seed and number of rows, seconds each, and prints the table of accuracies.
    """
    seeds, steps = (seed[:1], 20) if quick else (seed, _STEPS)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = 512 if quick else _VOCABULARY
    accuracies = {
        (count, name): [_run(folder, name, count, number, steps, pieces)["accuracy"] for number in seeds]
        for count in rows
        for name in _KINDS
    }
    _show(accuracies, steps, seeds)
    results = []
    for (count, name), own in accuracies.items():
        if name != _FULL:
            points = [100 * (a - b) for a, b in zip(own, accuracies[count, _FULL])]
            what = f"{count:,} reviews, {name}: accuracy over full attention, points"
            results.append(Result.of_seeds(what, points))
    return results


def _run(folder: Path, name: str, count: int, seed: int, steps: int, pieces: int) -> dict:
    settings = {"attention": _KINDS[name].to_dict(), "rows": count, "seed": seed, "steps": steps, "sizes": _SIZES}
    settings |= {"vocabulary": pieces, "batch": _BATCH, "rate": _RATE}
    path = folder / f"{name.replace(' ', '-')}-{count}-{seed}.json"
    record = remembered(path, settings, lambda: {"accuracy": _accuracy(_KINDS[name], count, seed, steps, pieces)})
    click.echo(f"{count:,} reviews, {name}, seed {seed}: {record['accuracy']:.1%}", err=True)
    return record


def _accuracy(kind: AttentionKind, count: int, seed: int, steps: int, pieces: int) -> float:
    import keras
    import numpy as np

    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.training import Batches, FitConfig, fit

    vocabulary_size, (ids, labels), (test_ids, test_labels) = _reviews(pieces)
    chosen = np.random.default_rng(seed).permutation(len(labels))[:count]
    # As many passes as the steps take, each in a new order, as one epoch.
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(chosen) for _ in range(-(-steps * _BATCH // len(chosen)))])
    order = order[: steps * _BATCH]
    keras.utils.set_random_seed(seed)
    backbone = tfmodels.create_model("bert_tiny", attention=kind, vocabulary_size=vocabulary_size, **_SIZES)
    model = TextClassifier(backbone, 2, pooling=MeanPooling())
    config = FitConfig(epochs=1, batch_size=_BATCH, learning_rate=_RATE, monitor="loss", seed=seed)
    batches = Batches(_taken(ids, order), {"logits": labels[order]}, _BATCH, seed=seed)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    with tempfile.TemporaryDirectory() as directory:
        fit(model, batches, None, config, directory, loss=loss, verbose=0)
    told = Batches(test_ids, {}, 128).outputs_of(model)["logits"].argmax(-1)
    return float((told == test_labels).mean())


def _taken(ids, order):
    import tensorflow as tf

    return tf.gather(ids, order)


@functools.cache
def _reviews(pieces: int):
    """The number of pieces, and ids and labels of the training and of the test reviews."""
    import numpy as np

    from tfmodels import datasets
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer, train_wordpiece

    parts = {split: [row for row in datasets.movie_reviews() if row.split == split] for split in ("train", "test")}
    tokenizer = WordPieceTokenizer(train_wordpiece([row.text for row in parts["train"]], pieces))
    preprocessor = TextPreprocessor(tokenizer, _SIZES["max_sequence_length"])
    rows = [
        (preprocessor.tokenize([row.text for row in part]), np.array([int(row.score > 0) for row in part]))
        for part in parts.values()
    ]
    return tokenizer.vocabulary_size(), *rows


def _show(accuracies: dict, steps: int, seeds) -> None:
    title = f"accuracy in %, {steps} steps of {_BATCH} rows, {len(seeds)} seeds: mean ± standard error"
    table = Table(title=title, box=None, pad_edge=False)
    counts = list(dict.fromkeys(count for count, _ in accuracies))
    table.add_column("attention", no_wrap=True)
    for count in counts:
        table.add_column(f"{count:,} reviews", justify="right")
    for name in _KINDS:
        cells = []
        for count in counts:
            values = [100 * value for value in accuracies[count, name]]
            error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.1f} ± {error:.1f}")
        table.add_row(name, *cells)
    Console(width=100).print(table)


main = command(
    measure,
    click.option(
        "--rows",
        multiple=True,
        type=click.IntRange(2),
        default=[500, 4000],
        help="Reviews to learn from; may be given again.  [default: 500 4000]",
    ),
    click.option(
        "--seed", multiple=True, type=int, default=[0, 1, 2, 3, 4], help="May be given again.  [default: 0 1 2 3 4]"
    ),
    click.option("--output", default="output/little_data", show_default=True, help="Where records go."),
)

if __name__ == "__main__":
    main()
