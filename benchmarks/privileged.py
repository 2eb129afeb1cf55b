"""When privileged features help: inputs that a teacher has in training and nobody has when the student serves.

    python -m benchmarks.privileged

Three tables of real film-review snippets with what people said of them (Hutto and Gilbert, ICWSM 2014):

    beginnings      is the review positive? The student sees the first 8 words, the privileged teacher the whole.
    other readers   does a certain reader like the film (a score of at least 2 of -4 to 4)? The teacher is also told the
                    scores of five other readers, as later behaviour is known when a model is trained.
    own score       the same question; the teacher is told the reader's very score, of which the label is a function.
                    Here only PFD is trained, beside the others' students of the same inputs.

Four students of one small size: of the labels alone; of a larger teacher on the same inputs (MD); of a teacher of the
student's size with the privileged inputs (PFD); of a larger one with them (PFD + MD). And PFD in one step with its
teacher (`SynchronousDistiller`). Each is trained on 4,000 rows and judged on all others but the validation rows, which
served to choose the settings here; with other seeds again. Figures are areas under the ROC curve, and log losses.
"""

from __future__ import annotations

import dataclasses
import tempfile

import click
from rich.console import Console
from rich.table import Table

from benchmarks.records import shown, spread
from benchmarks.results import Result, command

_ROWS, _WORDS, _LIKES, _OTHERS = 4000, 8, 2, 5
_LENGTH, _VOCABULARY, _BATCH, _EPOCHS, _RATE = 40, 3000, 64, 2, 2e-3
_BALANCE, _SWAP = 0.8, 30  # lambda, and steps: a quarter of the run
_SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
_LARGE = {"num_layers": 2, "num_heads": 4, "hidden_dim": 96, "intermediate_dim": 192}
SETTINGS = ("beginnings", "other readers", "own score")
_ALONE = "labels alone"
# method -> the teacher's size, whether it is privileged, whether it learns in the student's steps
_METHODS = {
    "MD": (_LARGE, False, False),
    "PFD": (_SMALL, True, False),
    "PFD + MD": (_LARGE, True, False),
    "PFD, synchronous": (_SMALL, True, True),
}
# What the setting shares with the one before it is not trained again.
_OWN_METHODS = {"own score": ("PFD",)}


@dataclasses.dataclass(frozen=True)
class _Data:
    """One question about the rows, to learn from and to be judged by.

    Attributes:
        tokens: The student's rows, and those that judge.
        whole: The same of the privileged teacher: the student's own, unless the text is what is privileged.
        labels: Of both.
        columns: The privileged columns, float32[rows, N], of both; None where the text is privileged.
        vocabulary_size: pieces.
    """

    tokens: tuple
    whole: tuple
    labels: tuple
    columns: tuple | None
    vocabulary_size: int

    def batches(self, part: int, seed: int, privileged: bool = False):
        """Rows for one model: what it takes stands under its own names."""
        features = {"numbers": self.columns[part]} if privileged and self.columns else {}
        return self._batches((self.whole if privileged else self.tokens)[part], part, seed, features)

    def joint_batches(self, seed: int):
        """Training rows for a student and its privileged teacher."""
        from tfmodels.training import token_features

        features = {"numbers": self.columns[0]} if self.columns else token_features(self.whole[0], "teacher/")
        return self._batches(self.tokens[0], 0, seed, features)

    def _batches(self, token_ids, part, seed, features):
        from tfmodels.training import Batches

        # Judging takes larger batches: nothing is learnt from them.
        size = 4 * _BATCH if part else _BATCH
        return Batches(token_ids, {"labels": self.labels[part]}, size, features=features, seed=seed)


def measure(
    quick: bool = False, seed: tuple[int, ...] = (0, 1, 2), setting: tuple[str, ...] = SETTINGS
) -> list[Result]:
    """Students with and without privileged teachers, on three questions about film reviews (minutes).

    Prints a table of means and standard deviations over the seeds. The results are what each way to distil adds to the
    labels alone, in points of the area under the ROC curve.
    """
    rows, epochs = (256, 1) if quick else (_ROWS, _EPOCHS)
    questions = {name: _data(name, rows, quick) for name in setting or SETTINGS}
    figures = {}
    for number in seed[:1] if quick else seed:
        alone = None
        for name, data in questions.items():
            # Students of the labels alone are the same where the questions are.
            known = alone if name in _OWN_METHODS and "other readers" in questions else None
            found = _run(data, name, number, epochs, known)
            alone = found[_ALONE]
            for method, values in found.items():
                figures.setdefault((name, method), []).append(values)
    _show(figures)

    def areas(name, method):
        return [100 * each["area"] for each in figures[name, method]]

    return [
        Result.of_seeds(
            f"{name}: {method} over {_ALONE}, points of ROC area",
            [ours - alone for ours, alone in zip(areas(name, method), areas(name, _ALONE))],
        )
        for name, method in figures
        if method in _METHODS
    ]


def _run(data: _Data, name: str, seed: int, epochs: int, alone: dict | None) -> dict[str, dict[str, float]]:
    """The figures of every student and of every teacher, by name; of the labels alone, if they are not yet known."""
    from tfmodels.distillation import Balance, Distiller, SoftLabels, SynchronousDistiller

    figures = {}

    def train(method, model, distiller, batches, privileged=False):
        _fit(distiller, batches, seed, epochs)
        logits = data.batches(1, seed, privileged).outputs_of(model)["logits"]
        figures[method] = figures_of(data.labels[1], logits)
        click.echo(f"{name}, seed {seed}, {method}: {figures[method]['area']:.3f}", err=True)

    if alone is None:
        student = _model(data, _SMALL, False, seed)
        train(_ALONE, student, Distiller(student, student, [], 1.0), data.batches(0, seed))
    else:
        figures[_ALONE] = alone
    for method in _OWN_METHODS.get(name, _METHODS):
        size, privileged, synchronous = _METHODS[method]
        # Teachers have random weights of their own.
        student, teacher = _model(data, _SMALL, False, seed), _model(data, size, privileged, seed + 1000)
        losses = [SoftLabels(name="soft_labels")]
        batches = data.joint_batches(seed) if privileged else data.batches(0, seed)
        if synchronous:
            train(method, student, SynchronousDistiller(student, teacher, losses, Balance(_BALANCE, _SWAP)), batches)
            continue
        lessons = data.batches(0, seed, privileged)
        train(f"teacher of {method}", teacher, Distiller(teacher, teacher, [], 1.0), lessons, privileged)
        distiller = Distiller(student, teacher, losses, balance=_BALANCE)
        said = batches.outputs_of(distiller.teacher_outputs)
        train(method, student, distiller, batches.with_targets({f"teacher/{key}": said[key] for key in said}))
    return figures


def _model(data: _Data, sizes: dict, privileged: bool, seed: int):
    import keras

    import tfmodels
    from tfmodels.layers import Columns, MeanPooling
    from tfmodels.models import TableClassifier, TextClassifier

    keras.utils.set_random_seed(seed)
    sizes = {"vocabulary_size": data.vocabulary_size, "max_sequence_length": _LENGTH, **sizes}
    backbone = tfmodels.create_model("bert_tiny", positions="relative_key", **sizes)
    if privileged and data.columns:
        return TableClassifier(backbone, 2, Columns.of(data.columns[0]), hidden_dim=32, pooling=MeanPooling())
    return TextClassifier(backbone, 2, pooling=MeanPooling())


def _fit(model, batches, seed: int, epochs: int) -> None:
    import keras

    from tfmodels.training import FitConfig, fit

    keras.utils.set_random_seed(seed)
    config = FitConfig(epochs=epochs, batch_size=_BATCH, learning_rate=_RATE, clip_norm=None, seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        fit(model, batches, None, config, directory, verbose=0)


def _data(name: str, rows: int, quick: bool) -> _Data:
    import numpy as np

    from tfmodels import datasets
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer, train_wordpiece

    reviews, ratings = datasets.movie_reviews(), datasets.movie_ratings()
    trained_on = [review for review in reviews if review.split == "train"]
    shuffled = [trained_on[place] for place in np.random.default_rng(0).permutation(len(trained_on))]
    judging = [review for review in reviews if review.split == "test"] + shuffled[rows:]
    parts = (shuffled[:rows], judging[:rows] if quick else judging)
    tokenizer = WordPieceTokenizer(train_wordpiece([review.text for review in parts[0]], _VOCABULARY))
    preprocessor = TextPreprocessor(tokenizer, _LENGTH)

    def tokens(words):
        return tuple(preprocessor.tokenize([" ".join(r.text.split()[:words]) for r in part]) for part in parts)

    whole, columns = tokens(None), None
    own = tokens(_WORDS) if name == "beginnings" else whole
    scores = [np.array([ratings[review.id][: 1 + _OTHERS] for review in part], "float32") for part in parts]
    if name == "beginnings":
        labels = [np.array([int(review.score > 0) for review in part]) for part in parts]
    else:
        labels = [(part[:, 0] >= _LIKES).astype("int64") for part in scores]
        columns = tuple(
            part[:, :1] if name == "own score" else np.stack([part[:, 1:].mean(1), part[:, 1:].std(1)], 1)
            for part in scores
        )
    return _Data(own, whole, tuple(labels), columns, tokenizer.vocabulary_size())


def figures_of(labels, logits) -> dict[str, float]:
    """The area under the ROC curve, and the mean cross-entropy with the labels in nats."""
    import keras

    from tfmodels.metrics import roc_auc

    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {"area": roc_auc(labels == 1, logits[:, 1] - logits[:, 0]), "loss": float(cross_entropy(labels, logits))}


def _show(figures: dict) -> None:
    table = Table(title="Privileged features: mean ± standard deviation over the seeds", box=None, pad_edge=False)
    for column, side in (("setting", "left"), ("model", "left"), ("ROC area, %", "right"), ("log loss, nats", "right")):
        table.add_column(column, justify=side, no_wrap=True)
    last = None
    for (name, method), found in figures.items():
        area, loss = spread([each["area"] for each in found]), spread([each["loss"] for each in found])
        spreads = shown(area, 1), shown(loss, 3, scale=1)
        table.add_row(name if name != last else "", method, *spreads, end_section=False)
        last = name
    Console(width=100).print(table)


main = command(
    measure,
    click.option("--seed", multiple=True, type=int, default=[0, 1, 2], help="May be given again.  [default: 0 1 2]"),
    click.option(
        "--setting",
        multiple=True,
        type=click.Choice(SETTINGS),
        default=SETTINGS,
        help="May be given again.  [default: all]",
    ),
)

if __name__ == "__main__":
    main()
