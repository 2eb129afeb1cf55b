"""The table of tries: what each part of the student's recipe brings, students of one size beside one teacher.

    python -m benchmarks.tries [--output output/text_classification] [--epochs 5] [NAME ...]

The teacher is the fine-tuned one of a finished `make run`. Every try trains a student on the same reviews and prints
its accuracy on the 2,000 validation and test rows together (standard error: 0.9 points), as a fraction of the
teacher's, and how far its probabilities are from the teacher's there, which one seed tells better than accuracy.
Nothing is chosen by these rows: every try is the student of the last epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Try:
    """A student's recipe.

    Attributes:
        like_teacher: Whether the token vectors start as the teacher's states of each token.
        hard, soft, logits, hidden: The weights of the labels' cross-entropy, the divergence from the teacher's
            distribution, the squared difference of the logits, and of the last hidden states.
        spans: Random spans for each text, without a label.
        unlabelled: Whether product reviews, editorials, messages and essays join, without a label.
        varied: Variations of each text, with masks and with words that the teacher's token states have near, without
            a label.
        sizes: Fields of the student's configuration.
    """

    like_teacher: bool = True
    hard: float = 0.0
    soft: float = 0.0
    logits: float = 0.0
    hidden: float = 0.0
    spans: int = 0
    unlabelled: bool = False
    varied: int = 0
    sizes: tuple[tuple[str, int], ...] = (
        ("num_layers", 2),
        ("num_heads", 4),
        ("hidden_dim", 128),
        ("intermediate_dim", 512),
        ("embedding_dim", 64),
    )


TRIES = {
    "hard labels alone": Try(like_teacher=False, hard=1.0),
    "soft labels": Try(like_teacher=False, soft=1.0),
    "+ token states": Try(soft=1.0),
    "+ spans": Try(soft=1.0, spans=4),
    "+ hidden states": Try(soft=1.0, hidden=1.0, spans=4),
    "logits instead of soft labels": Try(logits=1.0, hidden=1.0, spans=4),
    "+ unlabelled texts": Try(logits=1.0, hidden=1.0, spans=4, unlabelled=True),
    "+ varied texts": Try(logits=1.0, hidden=1.0, spans=4, unlabelled=True, varied=10),
}
# Of longer texts only this many tokens are read, as the reviews have.
_UNLABELLED_TOKENS = 64
_ESSAY_SENTENCES = 30_000
_NEAR_WORDS = 8


def main(argv: list[str] | None = None) -> None:
    """Trains the tries and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"the tries to run, of: {'; '.join(TRIES)}")
    parser.add_argument("--output", default="output/text_classification", help="the folder of a finished run")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the data for each student")
    parser.add_argument("--rows", type=int, help="train on the first so many rows only")
    arguments = parser.parse_args(argv)
    results = Path(arguments.output) / "results.json"
    if not results.is_file():
        parser.error(f"{results} does not exist: run `make run` first, or name its folder with --output.")
    unknown = set(arguments.names) - TRIES.keys()
    if unknown:
        parser.error(f"there is no try {unknown.pop()!r}: choose of {'; '.join(TRIES)}.")
    export = json.loads(results.read_text(encoding="utf-8"))["models"]["teacher"]["export"]
    _run(arguments.names or list(TRIES), export, arguments.epochs, arguments.rows)


def _run(names: list[str], teacher_export: str, epochs: int, rows: int | None) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from pipelines.components.model_artifact import keras_uri, load_keras
    from tfmodels import datasets

    teacher, preprocessor = load_keras(keras_uri(teacher_export))
    reviews = datasets.movie_reviews()
    training = [review for review in reviews if review.split == "train"][:rows]
    held_out = [review for review in reviews if review.split != "train"]

    def encoded(part):
        token_ids = preprocessor.tokenize([review.text for review in part])
        return token_ids, np.array([int(review.score > 0) for review in part])

    train, (token_ids, labels) = encoded(training), encoded(held_out)
    wanted = _logits(teacher, token_ids)
    reference = float((wanted.argmax(-1) == labels).mean())
    title = "Students of one teacher"
    table = Table("try", "parameters", "rows", "accuracy", "kept", "divergence", "seconds", title=title)
    table.add_row("teacher", f"{teacher.count_params():,}", "", f"{reference:.2%}", "", "", "")
    for name in names:
        started = time.monotonic()
        student, count = _student(TRIES[name], teacher, preprocessor, train, epochs)
        seconds = time.monotonic() - started
        logits = _logits(student, token_ids)
        accuracy, divergence = float((logits.argmax(-1) == labels).mean()), _divergence(wanted, logits)
        print(f"{name}: {accuracy:.4f}", flush=True)
        table.add_row(
            name,
            f"{student.count_params():,}",
            f"{count:,}",
            f"{accuracy:.2%}",
            f"{accuracy / reference:.1%}",
            f"{divergence:.3f}",
            f"{seconds:.0f}",
        )
    Console().print(table)


def _student(recipe: Try, teacher, preprocessor, train, epochs):
    import tempfile

    import keras
    import numpy as np
    import tensorflow as tf

    import tfmodels
    from tfmodels.distillation import (
        Distiller,
        HiddenStates,
        LogitRegression,
        SoftLabels,
        embed_like_teacher,
        random_spans,
    )
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.training import Batches, FitConfig, fit

    keras.utils.set_random_seed(0)
    sizes = dict(recipe.sizes)
    backbone = tfmodels.create_model("bert_tiny", max_sequence_length=preprocessor.sequence_length, **sizes)
    student = TextClassifier(backbone, 2, pooling=MeanPooling())
    tokenizer = preprocessor.tokenizer
    if recipe.like_teacher:
        embed_like_teacher(student, teacher, first=tokenizer.cls_token_id, last=tokenizer.sep_token_id)
    layers = {sizes["num_layers"]: teacher.backbone.config.num_layers}
    losses = {
        "soft": lambda weight: SoftLabels(weight=weight, name="soft_labels"),
        "logits": lambda weight: LogitRegression(weight, name="logit_regression"),
        "hidden": lambda weight: HiddenStates(layers, weight, name="hidden_states"),
    }
    losses = [make(getattr(recipe, name)) for name, make in losses.items() if getattr(recipe, name)]
    distiller = Distiller(student, teacher, losses, recipe.hard)

    token_ids, labels = train
    texts = list(token_ids.numpy())
    further = random_spans(texts, recipe.spans * len(texts)) if recipe.spans else []
    if recipe.unlabelled:
        further += [row[:_UNLABELLED_TOKENS] for row in preprocessor.tokenize(_unlabelled_texts()).numpy()]
    if recipe.varied:
        further += _varied(texts, recipe.varied, teacher, tokenizer)
    rows = [*texts, *further]
    token_ids = tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])
    labels = np.concatenate([labels, np.full(len(further), -1)])
    config = FitConfig(epochs=epochs, batch_size=128, learning_rate=1.5e-3)
    batches = Batches(token_ids, {"labels": labels}, config.batch_size)
    if losses:
        outputs = batches.outputs_of(distiller.teacher_outputs, dtype="float16")
        batches = batches.with_targets({f"teacher/{output}": values for output, values in outputs.items()})
    with tempfile.TemporaryDirectory() as directory:
        fit(distiller, batches, None, config, directory, verbose=0)
    return student, len(rows)


def _varied(texts, count: int, teacher, tokenizer) -> list:
    """Variations of every text; the words that stand in for others need not be in any of the texts."""
    import numpy as np

    from tfmodels.distillation import NearestWords, bilstm_changes, token_states, varied_rows

    starts = tokenizer.word_starts()
    is_word = starts & np.array([piece.isalpha() for piece in tokenizer.get_vocabulary()])
    states = token_states(teacher, first=tokenizer.cls_token_id, last=tokenizer.sep_token_id)
    nearest = NearestWords([(int(piece),) for piece in np.flatnonzero(is_word)], states[is_word], _NEAR_WORDS)

    def near(word, random):
        found = nearest(word)
        return found[random.integers(len(found))] if found else word

    return varied_rows(texts, starts, bilstm_changes(tokenizer.mask_token_id, near), n_iter=count)


def _unlabelled_texts() -> list[str]:
    from tfmodels import datasets
    from tfmodels.text import split_sentences

    texts = [text for name in ("amazon", "nyt", "tweets") for text in datasets.unlabelled_texts(name)]
    essays = (sentence for essay in datasets.english_prose() for sentence in split_sentences(essay))
    return texts + [sentence for _, sentence in zip(range(_ESSAY_SENTENCES), essays)]


def _logits(model, token_ids):
    from tfmodels.training import Batches

    return Batches(token_ids, {}, 128).outputs_of(model)["logits"]


def _divergence(wanted, logits) -> float:
    """The mean Kullback-Leibler divergence of the student's probabilities from the teacher's, in nats."""
    import numpy as np

    ours, theirs = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (logits, wanted))
    return float((np.exp(theirs) * (theirs - ours)).sum(-1).mean())


if __name__ == "__main__":
    main()
