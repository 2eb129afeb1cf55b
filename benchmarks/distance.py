"""DA-Transformer's table in small: what attention knows of distances, on real topics and sentiments.

    python -m benchmarks.distance --quick
    python -m benchmarks.distance --output output/distance

The paper (Wu et al., arXiv:2010.06925, tables 3 and 4) compares its model with the Transformer of learned positions,
with Shaw's relative vectors and with Transformer-XL's logits. Here stand the same four, and an encoder that knows no
order at all, on the topics of R8 and of the 20 Newsgroups and on the sentiment of the movie reviews. All are of one
size, begin with random weights (the paper has GloVe's vectors) and take the same steps with the same rows in the same
order. Accuracy and macro-F1 are those of the last step on the test rows, by which nothing is chosen. Differences are
taken seed by seed.

Every trained encoder is a file in the output folder. A run that was stopped goes on from there; processes with
different `--seed`s or `--task`s may share it.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

import tfmodels
from benchmarks.records import remembered, shown, spread
from benchmarks.results import Result, command
from tfmodels.files import atomic_file

# What the paper calls it -> `BertConfig.positions`; the first is what the others are held against.
SCHEMES = {
    "Transformer": "absolute",
    "Transformer-RPR": "relative_key_value",
    "Transformer-XL": "transformer_xl",
    "DA-Transformer": "distance_aware",
    "no positions": "none",
}


class _Task(NamedTuple):
    """A task's size: tokens of a text, and passes over its training rows."""

    length: int
    epochs: int


TASKS = {"R8": _Task(96, 3), "20 Newsgroups": _Task(64, 3), "movie reviews": _Task(64, 4)}
_VOCABULARY, _BATCH, _RATE = 8192, 32, 1e-3
_SIZES = {
    "num_layers": 2,
    "num_heads": 8,
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "dropout": 0.2,
    "attention_dropout": 0.2,
    "max_sequence_length": 96,
}
_FIGURES = ("accuracy", "macro_f1")


def measure(
    quick: bool = False,
    scheme: tuple[str, ...] = (),
    task: tuple[str, ...] = (),
    seed: tuple[int, ...] = (0, 1, 2, 3, 4),
    output: str = "output/distance",
) -> list[Result]:
    """DA-Transformer beside Transformers with learned, Shaw's, Transformer-XL's and no positions, on three real tasks.

    Trains every encoder with every seed, prints the table of means and spreads and writes it to distance.json in the
    output folder.
    """
    schemes, tasks = scheme or tuple(SCHEMES), task or tuple(TASKS)
    seeds = seed[:1] if quick else seed
    folder = Path(output) / ("quick" if quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that a run which is stopped has compared all of them.
    runs = [_recorded(folder, name, which, number, quick) for number in seeds for which in tasks for name in schemes]
    table = summarised(runs)
    with atomic_file(folder / "distance.json") as partial:
        Path(partial).write_text(json.dumps({"seeds": list(seeds), "rows": table}, indent=2), encoding="utf-8")
    _show(table, len(seeds))
    return _differences(runs)


def _recorded(folder: Path, scheme: str, task: str, seed: int, quick: bool) -> dict:
    """A run's record, from its file or from running it."""
    recipe = {**_SIZES, "positions": SCHEMES[scheme], "length": TASKS[task].length, "epochs": TASKS[task].epochs}
    recipe |= {"vocabulary": _VOCABULARY, "batch": _BATCH, "rate": _RATE}
    settings = {"scheme": scheme, "task": task, "seed": seed, "quick": quick, "recipe": recipe}
    path = folder / f"{task}-{scheme}-{seed}.json".replace(" ", "_")
    record = remembered(path, settings, lambda: _run(scheme, task, seed, quick))
    figures = f"{record['accuracy']:.1%}, macro-F1 {record['macro_f1']:.1%}"
    click.echo(f"{task}, {scheme}, seed {seed}: {figures} in {record['seconds']:.0f} s", err=True)
    return record


def _run(scheme: str, task: str, seed: int, quick: bool) -> dict:
    import keras

    from tfmodels.layers import MeanPooling
    from tfmodels.metrics import accuracy, macro_f1
    from tfmodels.models import TextClassifier
    from tfmodels.training import Batches, FitConfig, fit

    data = _rows(task, quick)
    keras.utils.set_random_seed(seed)
    backbone = tfmodels.create_model(
        "bert_tiny", **_SIZES, positions=SCHEMES[scheme], vocabulary_size=data.vocabulary_size
    )
    # Of all tokens alike: a first token that stands for the text is a position already.
    model = TextClassifier(backbone, data.num_classes, dropout=_SIZES["dropout"], pooling=MeanPooling())
    batches = Batches(data.train[0], {"logits": data.train[1]}, _BATCH, seed=seed)
    config = FitConfig(epochs=1 if quick else TASKS[task].epochs, batch_size=_BATCH, learning_rate=_RATE, seed=seed)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        fit(model, batches, None, config, directory, loss=loss, verbose=0)
    predicted = Batches(data.test[0], {}, 128).outputs_of(model)["logits"].argmax(-1)
    return {
        "accuracy": float(accuracy(data.test[1], predicted)),
        "macro_f1": float(macro_f1(data.test[1], predicted)),
        "parameters": model.count_params(),
        "steps": config.epochs * len(batches),
        "seconds": time.monotonic() - started,
    }


class _Data(NamedTuple):
    """A task's rows, ragged ids and labels each: to learn from and to be judged by."""

    train: tuple
    test: tuple
    vocabulary_size: int
    num_classes: int


@functools.cache
def _rows(task: str, quick: bool) -> _Data:
    import numpy as np

    from benchmarks.objectives import examples_of
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer, train_wordpiece

    parts = examples_of(task, quick)
    tokenizer = WordPieceTokenizer(train_wordpiece(list(parts[0][0]), _VOCABULARY // (8 if quick else 1)))
    preprocessor = TextPreprocessor(tokenizer, TASKS[task].length)
    rows = [(preprocessor.tokenize(list(texts)), np.array(labels)) for texts, labels in parts]
    return _Data(*rows, tokenizer.vocabulary_size(), 1 + int(max(parts[0][1])))


def summarised(runs: list[dict]) -> list[dict]:
    """A row for each task and scheme: the means and standard deviations over the seeds."""
    rows: dict[tuple, list] = {}
    for run in runs:
        rows.setdefault((run["settings"]["task"], run["settings"]["scheme"]), []).append(run)
    return [
        {
            "task": task,
            "scheme": scheme,
            "parameters": own[0]["parameters"],
            "steps": own[0]["steps"],
            **{name: spread([run[name] for run in own]) for name in (*_FIGURES, "seconds")},
        }
        for (task, scheme), own in rows.items()
    ]


def _differences(runs: list[dict]) -> list[Result]:
    """What each scheme has over the first one, in points of accuracy, seed by seed."""
    by_run = {tuple(run["settings"][key] for key in ("task", "scheme", "seed")): run["accuracy"] for run in runs}
    tasks, schemes, seeds = (dict.fromkeys(column) for column in zip(*by_run))
    first, *others = schemes
    results = []
    for task in tasks:
        for scheme in others:
            points = [100 * (by_run[task, scheme, seed] - by_run[task, first, seed]) for seed in seeds]
            note = f"Lowest and highest of {len(seeds)} seeds; nothing is claimed of the order beforehand."
            results.append(Result.of_seeds(f"{task}: {scheme} over {first}, points of accuracy", points, note=note))
    return results


def _show(rows: list[dict], seeds: int) -> None:
    table = Table(title=f"{seeds} seeds: mean ± standard deviation", box=None, pad_edge=False)
    for name, justify in (("task", "left"), ("", "left"), ("accuracy, %", "right"), ("macro-F1, %", "right")):
        table.add_column(name, justify=justify, no_wrap=True)
    for name in ("parameters", "steps", "s"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = (shown(row[name], 2) for name in _FIGURES)
        table.add_row(
            row["task"],
            row["scheme"],
            *figures,
            f"{row['parameters']:,}",
            f"{row['steps']:,}",
            f"{row['seconds'][0]:.0f}",
        )
    console = Console(width=100, highlight=False)
    console.print(table)
    console.print()


main = command(
    measure,
    click.option("--scheme", multiple=True, type=click.Choice(list(SCHEMES)), help="Only these; may be repeated."),
    click.option("--task", multiple=True, type=click.Choice(list(TASKS)), help="Only these; may be repeated."),
    click.option(
        "--seed", multiple=True, type=int, default=(0, 1, 2, 3, 4), show_default=True, help="May be repeated."
    ),
    click.option(
        "--output", default="output/distance", show_default=True, metavar="DIR", help="Where records are kept."
    ),
)

if __name__ == "__main__":
    main()
