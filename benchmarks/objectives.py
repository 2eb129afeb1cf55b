"""Pre-training objectives at equal compute, judged by what their encoders are worth on two real tasks.

    python -m benchmarks.objectives --quick
    python -m benchmarks.objectives --output output/objectives

Every objective trains an encoder of one size on the same real essays, by its recipe of `tfmodels run pretraining`
(vocabulary, rows, corruption, losses), for the same number of floating-point operations, counted as TensorFlow executes
a step. The held-out loss stands beside n-gram models of the same rows. Then each encoder is fine-tuned on the movie
reviews and on the 20 Newsgroups (64 tokens of each text), as the same encoder is that starts from random weights.
Everything is repeated with other seeds, and nothing is chosen by the rows that judge.

The figures of each trained encoder are a file in the output folder. A run that was stopped goes on
from there; two processes with different `--seed`s may share a folder.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import tfmodels
from benchmarks.records import remembered, shown, spread
from benchmarks.results import Result, command
from tfmodels.files import atomic_file

# The recipe -> its encoder, in the sizes below. Relative positions are learnt in minutes, absolute ones are not.
_ENCODERS = {
    "bert": ("bert_tiny", {"positions": "relative_key"}),
    "spanbert": ("bert_tiny", {"positions": "relative_key"}),
    # With two heads the generator has one, and half the width: a quarter, which is 16, learns nothing here.
    "electra": ("electra_small", {"positions": "relative_key", "embedding_dim": 64, "num_heads": 2}),
    "albert": ("albert_base", {"positions": "relative_key", "embedding_dim": 64}),
    "xlnet": ("xlnet_base", {}),
}
# The objective whose encoder and vocabulary another has too: both start from the same random weights.
_TWINS = {"spanbert": "bert"}
_RANDOM = " from random weights"
_SIZES = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 256}
_VOCABULARY, _LENGTH, _BATCH, _RATE = 4096, 64, 8, 1e-3
_TASKS = ("movie reviews", "20 Newsgroups")
_BASELINES = ("unigram", "visible bigram", "bigram")
_HELD_OUT = 20  # one paragraph in so many


def measure(
    quick: bool = False,
    objective: tuple[str, ...] = (),
    seed: tuple[int, ...] = (0, 1, 2),
    teraflop: float = 4.0,
    output: str = "output/objectives",
) -> list[Result]:
    """Pre-training objectives at equal compute, fine-tuned on movie reviews and on 20 Newsgroups.

    Trains every objective with every seed, minutes each on a core, prints the table of means and spreads and draws
    objectives.png in the output folder.
    """
    objectives = objective or tuple(_ENCODERS)
    if quick:
        teraflop, seed = min(teraflop, 0.002), seed[:1]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(part for name in objectives for part in (_start(name), name))
    rows = _summarised([_remembered(folder, name, number, teraflop, quick) for number in seed for name in names])
    _show(rows, objectives, teraflop, seed)
    draw(rows, objectives, folder / "objectives.png", f"{teraflop:g} TFLOP of pre-training, {len(seed)} seeds")
    return [
        Result(
            f"{name}, {task}: accuracy over the encoder's random weights, points",
            100 * (rows[name]["accuracy"][task][0] - rows[_start(name)]["accuracy"][task][0]),
        )
        for name in objectives
        for task in _TASKS
    ]


def _start(name: str) -> str:
    """What an objective's encoder is before it learns."""
    return _TWINS.get(name, name) + _RANDOM


def _remembered(folder: Path, name: str, seed: int, teraflop: float, quick: bool) -> dict:
    """A run's record, from its file or from running it."""
    sizes = {**_SIZES, **_ENCODERS[name.removesuffix(_RANDOM)][1]}
    settings = {"name": name, "seed": seed, "teraflop": teraflop, "quick": quick, "sizes": sizes}
    path = folder / f"{name.replace(' ', '-')}-{seed}.json"
    record = remembered(path, settings, lambda: _run(name, seed, 1e12 * teraflop, quick))
    losses = f", {record['loss']:.2f} nats" if "loss" in record else ""
    accuracies = ", ".join(f"{task} {value:.1%}" for task, value in record["accuracy"].items())
    click.echo(f"{name}, seed {seed}{losses}: {accuracies}", err=True)
    return record


def _run(name: str, seed: int, operations: float, quick: bool) -> dict:
    import keras

    from pipelines.pretraining.recipes import make_backbone, recipe

    is_random, name = name.endswith(_RANDOM), name.removesuffix(_RANDOM)
    chosen = recipe(name)
    preset, changes = _ENCODERS[name]
    tokenizer, train, held_out = _rows(name, 40 if quick else 1)
    keras.utils.set_random_seed(seed)
    backbone = make_backbone(
        preset, tokenizer.vocabulary_size(), _LENGTH, {**_SIZES, **_dropout(preset, 0.0), **changes}
    )
    record = {} if is_random else _pretrained(chosen, preset, backbone, tokenizer, train, held_out, seed, operations)
    record["accuracy"] = {task: _fine_tuned(backbone, preset, tokenizer, chosen, task, seed, quick) for task in _TASKS}
    return record


def _dropout(preset: str, rate: float) -> dict:
    """The fields of a family's rates. So little text is hardly seen twice: dropout is for fine-tuning only."""
    config = tfmodels.describe_model(preset)[1].config
    return {name: rate for name in ("dropout", "attention_dropout") if hasattr(config, name)}


@functools.cache
def _rows(name: str, thinned: int):
    """An objective's tokeniser and rows, of one paragraph in so many: to learn from, and held out."""
    import numpy as np
    import tensorflow as tf

    from pipelines.pretraining.recipes import recipe
    from tfmodels import datasets
    from tfmodels.objectives import Frame
    from tfmodels.text import split_sentences

    chosen = recipe(name)
    vocabulary = chosen.vocabulary
    paragraphs = dict.fromkeys(text for essay in datasets.english_prose() for text in essay.split("\n\n"))
    paragraphs = list(paragraphs)[::thinned]
    parts = [[], []]
    for number, paragraph in enumerate(paragraphs):
        parts[number % _HELD_OUT == 0].append(paragraph)
    source = parts[0]
    if vocabulary.counter:
        source = vocabulary.counter(True)
        source.add(parts[0])
    tokenizer = vocabulary.train(source, _VOCABULARY // (8 if thinned > 1 else 1), True)
    form = chosen.rows(Frame(_LENGTH, tokenizer.cls_token_id, tokenizer.sep_token_id, vocabulary.format))
    made = []
    for part in parts:
        sentences = [found for paragraph in part if (found := split_sentences(paragraph))]
        ids = iter(tokenizer(tf.constant([text for document in sentences for text in document])).to_list())
        documents = [[next(ids) for _ in document] for document in sentences]
        made.append(list(form.examples(documents, np.random.default_rng(0))))
    return tokenizer, *made


def _batches(rows, numbers, chosen, tokenizer, seed):
    """Corrupted batches of the rows of these numbers; a row that comes again is corrupted otherwise."""
    import numpy as np
    import tensorflow as tf

    from pipelines.pretraining.recipes import max_predictions
    from tfmodels.objectives import CorruptedBatches
    from tfmodels.training import Batches

    rows = [rows[number] for number in numbers]
    starts = tokenizer.word_starts()
    targets = {
        "row": np.arange(len(rows)),
        "special_mask": tf.ragged.constant([row.special_mask for row in rows], tf.int32),
        "word_starts": tf.ragged.constant([starts[row.token_ids].tolist() for row in rows], tf.int32),
    }
    if chosen.pair:
        targets[chosen.pair] = np.array([row.label for row in rows], "int32")
    batches = Batches(
        tf.ragged.constant([row.token_ids for row in rows], tf.int32),
        targets,
        _BATCH,
        segment_ids=tf.ragged.constant([row.segment_ids for row in rows], tf.int32),
        seed=seed,
    )
    corruption = chosen.corruption(tokenizer, chosen.masked, max_predictions(_LENGTH, chosen.masked))
    return CorruptedBatches(batches, corruption, special_ids=tokenizer.special_token_ids(), seed=seed)


def _pretrained(chosen, preset, backbone, tokenizer, train, held_out, seed, operations) -> dict:
    """Trains the backbone for so many operations; returns what it reached beside n-gram models."""
    import numpy as np

    from benchmarks.operations import training_operations
    from pipelines.pretraining.judgement import judge
    from pipelines.pretraining.recipes import make_generator
    from tfmodels.training import FitConfig, fit

    ((_, model),) = chosen.models(backbone, lambda: make_generator(preset, backbone, backbone.dtype_policy))
    random = np.random.default_rng(seed)
    sample = _batches(train, random.permutation(len(train))[: 16 * _BATCH], chosen, tokenizer, seed)
    counted = [training_operations(model, *batch) for batch in sample.in_order()]
    steps = max(2, round(operations / statistics.mean(counted)))
    # As many passes as it takes, each in a new order.
    passes = -(-steps * _BATCH // len(train))
    numbers = np.concatenate([random.permutation(len(train)) for _ in range(passes)])[: steps * _BATCH]
    batches = _batches(train, numbers, chosen, tokenizer, seed)
    validation = _batches(held_out, range(len(held_out)), chosen, tokenizer, 0)
    config = FitConfig(epochs=1, batch_size=_BATCH, learning_rate=_RATE, monitor="val_loss", seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        history = fit(model, batches, validation, config, directory, verbose=0)
    every = _batches(train, range(len(train)), chosen, tokenizer, seed)
    judgement = judge(chosen, model, history, config.monitor, every.batches.token_ids, validation, tokenizer)
    return {
        "steps": steps,
        "tokens": int(batches.batches.lengths.sum()),
        "parameters": model.count_params(),
        **judgement,
    }


def _fine_tuned(backbone, preset, tokenizer, chosen, task: str, seed: int, quick: bool) -> float:
    """The accuracy of a classifier that starts from the backbone, which stays as it is."""
    import keras
    import numpy as np

    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.text import TextPreprocessor
    from tfmodels.training import Batches, FitConfig, fit

    keras.utils.set_random_seed(seed)
    copy = type(backbone)(backbone.config.replace(**_dropout(preset, 0.1)))
    copy.set_weights(backbone.get_weights())
    (texts, labels), (held_texts, held_labels) = examples_of(task, quick)
    preprocessor = TextPreprocessor(tokenizer, _LENGTH, format=chosen.vocabulary.format)
    model = TextClassifier(copy, 1 + int(max(labels)), pooling=MeanPooling())
    config = FitConfig(epochs=1 if quick else 3, batch_size=32, learning_rate=1e-3, monitor="val_loss", seed=seed)
    batches = Batches(preprocessor.tokenize(texts), {"logits": np.array(labels)}, config.batch_size, seed=seed)
    loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    with tempfile.TemporaryDirectory() as directory:
        fit(model, batches, None, config, directory, loss=loss, verbose=0)
    asked = Batches(preprocessor.tokenize(held_texts), {}, 128)
    return float((asked.outputs_of(model)["logits"].argmax(-1) == np.array(held_labels)).mean())


@functools.cache
def examples_of(task: str, quick: bool):
    """Texts and classes: to learn from, and all others."""
    from tfmodels import datasets

    if task == "movie reviews":
        labelled = [(row.split, row.text, int(row.score > 0)) for row in datasets.movie_reviews()]
    else:
        rows = datasets.reuters() if task == "R8" else datasets.newsgroups()
        labels = sorted({label for _, label, _ in rows})
        labelled = [(split, text, labels.index(label)) for text, label, split in rows]
    parts = [[row[1:] for row in labelled if (row[0] == "train") == wanted] for wanted in (True, False)]
    return [tuple(zip(*(part[:: len(part) // 64] if quick else part))) for part in parts]


def _summarised(runs: list[dict]) -> dict[str, dict]:
    """The means and standard deviations over the seeds, by name."""
    rows = {}
    for name in dict.fromkeys(run["settings"]["name"] for run in runs):
        own = [run for run in runs if run["settings"]["name"] == name]
        rows[name] = {"accuracy": {task: spread([run["accuracy"][task] for run in own]) for task in _TASKS}}
        if "loss" in own[0]:
            rows[name] |= {figure: spread([run[figure] for run in own]) for figure in ("loss", "tokens", "parameters")}
            rows[name]["baselines"] = {
                baseline: statistics.mean(run["baselines"][baseline] for run in own) for baseline in own[0]["baselines"]
            }
    return rows


def _show(rows: dict, objectives, teraflop: float, seeds) -> None:
    title = f"{teraflop:g} TFLOP of pre-training, {len(seeds)} seeds: mean ± standard deviation"
    table = Table(title=title, box=None, pad_edge=False)
    table.add_column("objective", no_wrap=True)
    for column in ("tokens", "nats", *_BASELINES, *(f"{task}, %: random → learnt" for task in _TASKS)):
        # Means and spreads, which do not wrap.
        table.add_column(column, justify="right", min_width=25 if "→" in column else 11 if column == "nats" else 6)
    for name in objectives:
        row, start = rows[name], rows[_start(name)]
        accuracies = [" → ".join(shown(each["accuracy"][task], 1) for each in (start, row)) for task in _TASKS]
        baselines = [f"{row['baselines'][baseline]:.2f}" for baseline in _BASELINES]
        table.add_row(name, f"{row['tokens'][0] / 1e6:.1f}M", shown(row["loss"], 2, scale=1), *baselines, *accuracies)
    Console(width=120).print(table)


def draw(rows: dict, objectives, path: Path, title: str) -> None:
    """Draws the accuracies with their spread, before and after pre-training, a panel a task, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names = list(objectives)[::-1]
    starts = [_start(name) for name in names]
    for axes, task in zip(figure.subplots(1, len(_TASKS), sharey=True), _TASKS):
        for shift, sources, label, color in ((0.14, starts, "random weights", "0.6"), (-0.14, names, "learnt", "C0")):
            means, spreads = zip(*(rows[name]["accuracy"][task] for name in sources))
            places = [place + shift for place in range(len(names))]
            values, widths = ([100 * number for number in numbers] for numbers in (means, spreads))
            axes.errorbar(values, places, xerr=widths, fmt="o", capsize=4, color=color, label=label)
        axes.set(title=task, xlabel="accuracy, %", yticks=range(len(names)), yticklabels=names)
        axes.grid(axis="x", alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(title)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


main = command(
    measure,
    click.option(
        "--objective", multiple=True, type=click.Choice(list(_ENCODERS)), help="May be given again.  [default: all]"
    ),
    click.option("--seed", multiple=True, type=int, default=[0, 1, 2], help="May be given again.  [default: 0 1 2]"),
    click.option("--teraflop", default=4.0, show_default=True, help="Compute for each encoder, in 10^12 operations."),
    click.option("--output", default="output/objectives", show_default=True, help="Where records and the plot go."),
)

if __name__ == "__main__":
    main()
