"""Students of every kind beside the same students trained on hard labels alone, on two real tasks.

    python -m benchmarks.students --quick
    python -m benchmarks.students --output output/students

The teacher is MiniLM, fine-tuned on the movie reviews and on the 20 Newsgroups (32 tokens of each text). Every student
is trained three times with every seed, for as many rows each time: on the labels alone; by its teacher on the same
rows; and by its teacher on those rows and variations of them, of which it sees each less often. TinyBERT's rows are
varied by `SubstitutedWords`, all others' by `bilstm_changes`. Nothing is chosen by the rows that judge: every student
is the one after its last step.

Everything that is made is a file in the output folder. A run that was stopped goes on from there; once the teachers
stand there, processes with different `--seed`s may share it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import tfmodels
from benchmarks.records import remembered, shown, spread
from benchmarks.results import Result, command
from tfmodels.files import atomic_file

_REVIEWS, _NEWSGROUPS = "movie reviews", "20 Newsgroups"
_TASKS = {_REVIEWS: 64, _NEWSGROUPS: 32}  # tokens of a text
_WAYS = ("hard labels", "teacher", "teacher, varied rows")
_GENERAL_ROWS, _SUBSTITUTED_ROWS, _VARIATIONS, _LANGUAGE_MODEL_STEPS = 6000, 2000, 2, 500
_TINYBERT = "layers, then soft labels"
_SMALL = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "embedding_dim": 64}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of student.

    Attributes:
        losses: How it is taught, in `_stages`: Hinton's sum, the BiLSTM's logits, DistilBERT's or TinyBERT's losses.
        preset: A registered model; None for layers of the teacher.
        sizes: Fields of its configuration.
        passes: How many rows it sees, as multiples of the task's rows.
        learning_rate: The schedule's peak.
        batch_size: rows.
    """

    losses: str = "soft labels and labels"
    preset: str | None = None
    sizes: tuple[tuple[str, int], ...] = tuple(_SMALL.items())
    passes: float = 4.0
    learning_rate: float = 1.5e-3
    batch_size: int = 64


KINDS = {
    "BERT": Kind(preset="bert_tiny"),
    "ALBERT": Kind(preset="albert_base"),
    "ELECTRA": Kind(preset="electra_small"),
    "BiLSTM": Kind("logits", "bilstm", (("hidden_dim", 128), ("embedding_dim", 64), ("dense_dim", 64))),
    # Its weights are trained already, and it is twelve times as large.
    "MiniLM's layers": Kind("soft labels and cosine", None, (), passes=0.5, learning_rate=1e-4, batch_size=32),
    # As many heads as the teacher.
    "TinyBERT": Kind(
        _TINYBERT,
        "bert_tiny",
        (("num_layers", 2), ("num_heads", 12), ("hidden_dim", 144), ("intermediate_dim", 576), ("embedding_dim", 72)),
    ),
}
# Twenty classes take the two that learn least in these few steps further.
_OF_NEWSGROUPS = {"BiLSTM": {"passes": 16.0}, "MiniLM's layers": {"learning_rate": 3e-4}}
# The teacher's layers that the layer-subset student is made of, and the share of its rows that TinyBERT sees in the
# stage of the layers, where the teacher runs in every step.
_LAYERS, _LAYER_SHARE = (0, 2, 4), 0.25


def measure(
    quick: bool = False,
    kind: tuple[str, ...] = (),
    task: tuple[str, ...] = (),
    seed: tuple[int, ...] = (0, 1, 2),
    output: str = "output/students",
) -> list[Result]:
    """Students of every kind, taught by a fine-tuned MiniLM, beside the same students on hard labels alone.

    Trains every student three times a seed on either task, prints the table of means and spreads and writes it to
    students.json in the output folder. Takes some four hours of one core.
    """
    kinds, tasks = kind or tuple(KINDS), task or tuple(_TASKS)
    seed = seed[:1] if quick else seed
    folder = Path(output) / ("quick" if quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    runs = [
        _remembered(folder, name, which, way, number, quick)
        for which in tasks
        for number in seed
        for name in kinds
        for way in _WAYS
    ]
    teachers = {which: json.loads(_at(folder, which, "teacher.json").read_text("utf-8")) for which in tasks}
    table = summarised(runs)
    with atomic_file(folder / "students.json") as partial:
        values = {"teachers": teachers, "students": table, "seeds": list(seed)}
        Path(partial).write_text(json.dumps(values, indent=2), encoding="utf-8")
    _show(table, teachers, len(seed))
    by_run = {tuple(run["settings"][key] for key in ("kind", "task", "way", "seed")): run["accuracy"] for run in runs}
    return [
        Result.of_seeds(
            f"{name}, {which}: {way} over {_WAYS[0]}, points",
            [100 * (by_run[name, which, way, number] - by_run[name, which, _WAYS[0], number]) for number in seed],
            at_least=0.0,
        )
        for which in tasks
        for name in kinds
        for way in _WAYS[1:]
    ]


def _recipe(kind: str, task: str) -> Kind:
    return dataclasses.replace(KINDS[kind], **(_OF_NEWSGROUPS.get(kind, {}) if task == _NEWSGROUPS else {}))


def _at(folder: Path, *names: str) -> Path:
    return folder / "-".join(name.replace(" ", "_").replace(",", "").replace("'", "") for name in names)


def _remembered(folder: Path, kind: str, task: str, way: str, seed: int, quick: bool) -> dict:
    """A run's record, from its file or from running it."""
    settings = {"kind": kind, "task": task, "way": way, "seed": seed, "quick": quick}
    recipe = dataclasses.asdict(_recipe(kind, task))
    if way == _WAYS[0]:
        del recipe["losses"]  # Nobody teaches it.
    settings["recipe"] = recipe
    path = _at(folder, task, kind, way, f"{seed}.json")
    record = remembered(path, settings, lambda: _run(folder, kind, task, way, seed, quick))
    click.echo(f"{task}, {kind}, {way}, seed {seed}: {record['accuracy']:.1%} in {record['seconds']:.0f} s", err=True)
    return record


def _run(folder: Path, kind: str, task: str, way: str, seed: int, quick: bool) -> dict:
    import keras

    data = _prepared(folder, task, quick)
    recipe = _recipe(kind, task)
    keras.utils.set_random_seed(seed)
    started = time.monotonic()
    student = _student(recipe, data)
    if recipe.losses == _TINYBERT and way != _WAYS[0]:
        student.backbone.set_weights(_general(folder, recipe, seed, quick))
    for losses, hard, share in _stages(recipe.losses, student, data.teacher, way):
        _train(student, data, losses, hard, recipe, share, way, seed)
    return {
        "accuracy": _accuracy(student, data.held_rows, data.held_labels),
        "parameters": student.count_params(),
        "seconds": time.monotonic() - started,
    }


def _student(recipe: Kind, data):
    from tfmodels.distillation import from_layers
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier

    if recipe.preset is None:
        # As its teacher was before it saw the task, so that hard labels are all that one way tells.
        start = tfmodels.from_hf(tfmodels.datasets.minilm())
        backbone = from_layers(start, _LAYERS)
    else:
        backbone = tfmodels.create_model(recipe.preset, **dict(recipe.sizes))
    pooling = None if recipe.preset == "bilstm" else MeanPooling()
    return TextClassifier(backbone, data.teacher.settings["num_classes"], pooling=pooling)


def _stages(taught: str, student, teacher, way: str):
    """The trainings of a student: losses, the weight of the labels, and its share of the rows."""
    from tfmodels.distillation import CosineHiddenStates, LogitRegression, SoftLabels, layer_losses

    if way == _WAYS[0]:
        return [([], 1.0, 1.0)]
    layers = [model.backbone.config.num_layers for model in (student, teacher)]
    if taught == _TINYBERT:
        prediction = ([SoftLabels(1.0, name="soft_labels")], 0.0, 1.0 - _LAYER_SHARE)
        return [(layer_losses(*layers), 0.0, _LAYER_SHARE), prediction]
    if taught == "soft labels and cosine":
        cosine = CosineHiddenStates({layers[0]: layers[1]}, name="cosine_hidden_states")
        return [([SoftLabels(2.0, name="soft_labels"), cosine], 0.0, 1.0)]
    if taught == "logits":
        return [([LogitRegression(name="logit_regression")], 0.0, 1.0)]
    return [([SoftLabels(2.0, weight=0.5, name="soft_labels")], 0.5, 1.0)]


def _train(student, data, losses, hard, recipe: Kind, share: float, way: str, seed: int) -> None:
    import numpy as np

    from tfmodels.distillation import Distiller

    pool = np.arange(len(data.rows))
    if way == _WAYS[2]:
        pool = np.concatenate([pool, data.substituted if recipe.losses == _TINYBERT else data.varied])
    seen = max(2 * recipe.batch_size, round(recipe.passes * share * len(data.rows)))
    random = np.random.default_rng((seed, len(losses)))
    # As many passes as it takes, each in a new order.
    numbers = np.concatenate([random.permutation(pool) for _ in range(-(-seen // len(pool)))])[:seen]
    targets = {"labels": data.all_labels[numbers], "teacher/logits": data.logits[numbers]}
    distiller = Distiller(student, data.teacher, losses, hard_label_weight=hard)
    _fit(
        distiller, [data.all_rows[number] for number in numbers], targets, recipe.batch_size, recipe.learning_rate, seed
    )


def _fit(model, rows, targets, batch_size: int, learning_rate: float, seed: int, **settings) -> None:
    """One epoch over the rows."""
    from tfmodels.training import Batches, FitConfig, fit

    batches = Batches(_ragged(rows), targets, batch_size, seed=seed)
    config = FitConfig(epochs=1, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        fit(model, batches, None, config, directory, verbose=0, **settings)


def _general(folder: Path, recipe: Kind, seed: int, quick: bool) -> list:
    """TinyBERT's general stage: the backbone's weights after its layers have learnt from MiniLM's on plain text."""
    import numpy as np

    from tfmodels.distillation import Distiller, layer_losses
    from tfmodels.models import TextClassifier

    path = _at(folder, f"general {seed}.npz")
    if not path.is_file():
        # The heads are asked nothing.
        start = tfmodels.from_hf(tfmodels.datasets.minilm())
        teacher = TextClassifier(start, 2)
        student = TextClassifier(tfmodels.create_model(recipe.preset, **dict(recipe.sizes)), 2)
        texts = [text for name in ("amazon", "nyt", "tweets") for text in tfmodels.datasets.unlabelled_texts(name)]
        order = np.random.default_rng(seed).permutation(len(texts))[: 64 if quick else _GENERAL_ROWS]
        rows = list(_preprocessor(48).tokenize([texts[index] for index in order]).numpy())
        layers = (student.backbone.config.num_layers, teacher.backbone.config.num_layers)
        distiller = Distiller(student, teacher, layer_losses(*layers))
        _fit(distiller, rows, {"labels": np.full(len(rows), -1)}, 32, recipe.learning_rate, seed)
        with atomic_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, *student.backbone.get_weights())
    with np.load(path) as saved:
        return [saved[name] for name in saved.files]


@dataclasses.dataclass
class _Data:
    """A task and what its teacher says of it.

    Attributes:
        teacher: The fine-tuned classifier.
        rows, labels: The training rows; the first of `all_rows`.
        all_rows, all_labels, logits: All rows with a label or -1, and the teacher's logits.
        varied, substituted: The numbers of the variations among `all_rows`.
        held_rows, held_labels: What judges.
    """

    teacher: object
    rows: list
    labels: object
    all_rows: list
    all_labels: object
    logits: object
    varied: object
    substituted: object
    held_rows: list
    held_labels: object


@functools.cache
def _prepared(folder: Path, task: str, quick: bool) -> _Data:
    """A task's rows, their variations and the teacher, from the folder or made there."""
    import keras
    import numpy as np

    from benchmarks.objectives import examples_of
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.training import Batches

    preprocessor = _preprocessor(_TASKS[task])
    (texts, labels), (held_texts, held_labels) = examples_of(task, quick)
    rows, held_rows = (list(preprocessor.tokenize(list(part)).numpy()) for part in (texts, held_texts))
    labels, held_labels = np.array(labels), np.array(held_labels)
    path = _at(folder, task, "teacher.keras")
    if not path.is_file():
        keras.utils.set_random_seed(0)
        start = tfmodels.from_hf(tfmodels.datasets.minilm())
        teacher = TextClassifier(start, 1 + int(labels.max()), pooling=MeanPooling())
        loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        started = time.monotonic()
        rate = 5e-5 if labels.max() == 1 else 2e-4  # a head of twenty classes has further to go in one pass
        _fit(teacher, rows, {"logits": labels}, 32, rate, 0, loss=loss)
        record = {
            "accuracy": _accuracy(teacher, held_rows, held_labels),
            "parameters": teacher.count_params(),
            "seconds": time.monotonic() - started,
        }
        _at(folder, task, "teacher.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        # A copy: the teacher's own file would hold its optimiser's numbers too.
        bare = type(teacher).from_config(teacher.get_config())
        bare.set_weights(teacher.get_weights())
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            bare.save(Path(partial) / "teacher.keras")
            (Path(partial) / "teacher.keras").replace(path)
        click.echo(f"{task}, teacher: {record['accuracy']:.1%} in {record['seconds']:.0f} s", err=True)
    teacher = keras.saving.load_model(path)

    path = _at(folder, task, "rows.npz")
    if not path.is_file():
        varied, substituted = _variations(rows, preprocessor.tokenizer, quick)
        every = [*rows, *varied, *substituted]
        logits = Batches(_ragged(every), {}, 128).outputs_of(teacher)["logits"]
        with atomic_file(path) as partial, open(partial, "wb") as file:
            lengths = [len(row) for row in every]
            np.savez(file, ids=np.concatenate(every), lengths=lengths, logits=logits, parts=[len(rows), len(varied)])
    with np.load(path) as saved:
        every = np.split(saved["ids"], np.cumsum(saved["lengths"])[:-1])
        logits, (count, varied) = saved["logits"], saved["parts"]
    numbers = np.arange(len(every))
    all_labels = np.concatenate([labels, np.full(len(every) - count, -1)])
    given = {"all_rows": every, "all_labels": all_labels, "logits": logits}
    parts = {"varied": numbers[count : count + varied], "substituted": numbers[count + varied :]}
    return _Data(teacher, rows, labels, **given, **parts, held_rows=held_rows, held_labels=held_labels)


def _variations(rows: list, tokenizer, quick: bool) -> tuple[list, list]:
    """The rows' variations by the BiLSTM's paper, and those of some of them by TinyBERT's."""
    import numpy as np

    from tfmodels.distillation import (
        NearestWords,
        SameGroup,
        SubstitutedWords,
        bilstm_changes,
        frequency_classes,
        mean_of_pieces,
        varied_rows,
        words_of,
    )

    starts, special = tokenizer.word_starts(), tokenizer.special_token_ids()
    counts = np.bincount(np.concatenate(rows), minlength=len(starts))
    is_word = starts.copy()
    is_word[special] = False
    changes = bilstm_changes(tokenizer.mask_token_id, SameGroup(frequency_classes(counts, is_word), counts))
    varied = varied_rows(rows, starts, changes, n_iter=_VARIATIONS)

    order = np.random.default_rng(0).permutation(len(rows))[: 20 if quick else _SUBSTITUTED_ROWS]
    some = [rows[index] for index in order]
    language_model = _language_model(rows, tokenizer, quick)
    words = sorted({word for row in rows for word in words_of(row, starts)})
    table = np.asarray(language_model.backbone.parts["embeddings"].tokens)
    substituted = SubstitutedWords(
        language_model,
        starts,
        special,
        tokenizer.mask_token_id,
        NearestWords(words, mean_of_pieces(words, table)),
        # As many rows as the others' variations.
        count=_VARIATIONS if quick else -(-len(varied) // _SUBSTITUTED_ROWS),
    )
    return varied, substituted(some)


def _language_model(rows: list, tokenizer, quick: bool):
    """A masked language model for TinyBERT's augmentation: two of MiniLM's layers, trained on the task's own texts."""
    import numpy as np

    from tfmodels.distillation import Distiller, from_layers
    from tfmodels.models import MaskedLM

    start = tfmodels.from_hf(tfmodels.datasets.minilm())
    model = MaskedLM(from_layers(start, (1, 4)))
    random, batch_size = np.random.default_rng(0), 16  # each row's logits are as many as the vocabulary has pieces
    masked, labels = [], []
    for index in random.integers(len(rows), size=batch_size * (2 if quick else _LANGUAGE_MODEL_STEPS)):
        row = rows[index].astype("int32")
        chosen = random.random(len(row)) < 0.15
        chosen[[0, -1]] = False
        masked.append(np.where(chosen, tokenizer.mask_token_id, row).astype("int32"))
        labels.append(np.where(chosen, row, -1))
    _fit(Distiller(model, model, [], hard_label_weight=1.0), masked, {"labels": _ragged(labels)}, batch_size, 3e-4, 0)
    return model


def _preprocessor(length: int):
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer

    return TextPreprocessor(WordPieceTokenizer(tfmodels.datasets.minilm() / "vocab.txt"), length)


def _ragged(rows):
    import numpy as np
    import tensorflow as tf

    return tf.RaggedTensor.from_row_lengths(np.concatenate(rows).astype("int32"), [len(row) for row in rows])


def _accuracy(model, rows, labels) -> float:
    from tfmodels.training import Batches

    return float((Batches(_ragged(rows), {}, 128).outputs_of(model)["logits"].argmax(-1) == labels).mean())


def summarised(runs: list[dict]) -> list[dict]:
    """A row for each task and kind: the means and standard deviations over the seeds, by the way of training."""
    rows: dict[tuple, dict] = {}
    for run in runs:
        key = run["settings"]["task"], run["settings"]["kind"]
        rows.setdefault(key, {}).setdefault(run["settings"]["way"], []).append(run)
    return [
        {
            "task": task,
            "kind": kind,
            "parameters": next(iter(ways.values()))[0]["parameters"],
            "accuracy": {way: spread([run["accuracy"] for run in own]) for way, own in ways.items()},
            "seconds": {way: spread([run["seconds"] for run in own]) for way, own in ways.items()},
        }
        for (task, kind), ways in rows.items()
    ]


def _show(rows: list[dict], teachers: dict, seeds: int) -> None:
    for task, teacher in teachers.items():
        title = f"{task}: accuracy in %, {seeds} seeds, mean ± standard deviation; teacher {teacher['accuracy']:.1%}"
        table = Table(title=title, box=None, pad_edge=False)
        table.add_column("student", no_wrap=True)
        for column in ("parameters", *_WAYS):
            table.add_column(column, justify="right", min_width=11)
        for row in (row for row in rows if row["task"] == task):
            cells = [shown(figure, 1) for figure in row["accuracy"].values()]
            table.add_row(row["kind"], f"{row['parameters']:,}", *cells)
        Console(width=100).print(table)


main = command(
    measure,
    click.option("--kind", multiple=True, type=click.Choice(list(KINDS)), help="May be given again.  [default: all]"),
    click.option("--task", multiple=True, type=click.Choice(list(_TASKS)), help="May be given again.  [default: both]"),
    click.option("--seed", multiple=True, type=int, default=[0, 1, 2], help="May be given again.  [default: 0 1 2]"),
    click.option("--output", default="output/students", show_default=True, help="Where records and the table go."),
)

if __name__ == "__main__":
    main()
