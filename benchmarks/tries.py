"""The table of tries: what each part of the student's recipe brings, students of one size beside one teacher.

    python -m benchmarks.tries [--output output/text_classification] [--epochs 5] [NAME ...]

The teacher is the fine-tuned one of a finished `make run`. Every try trains a student on the same reviews and prints
its accuracy on the 2,000 validation and test rows together (standard error: 0.9 points) and as a fraction of the
teacher's. Nothing is chosen by these rows: every try is the student of the last epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

SIZES = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "embedding_dim": 64}
WIDE = {"num_layers": 3, "num_heads": 6, "hidden_dim": 192, "intermediate_dim": 384, "embedding_dim": 64}

# name -> (sizes, start at the teacher's token states, weight of hard labels, soft labels, hidden states, spans a text)
TRIES = {
    "hard labels alone": (SIZES, False, 1.0, 0.0, 0.0, 0),
    "soft labels": (SIZES, False, 0.0, 1.0, 0.0, 0),
    "+ token states": (SIZES, True, 0.0, 1.0, 0.0, 0),
    "+ hidden states": (SIZES, True, 0.0, 1.0, 1.0, 0),
    "+ spans": (SIZES, True, 0.0, 1.0, 1.0, 4),
    "wider and deeper": (WIDE, True, 0.0, 1.0, 1.0, 4),
}


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

    train, test = encoded(training), encoded(held_out)
    reference = _accuracy(teacher, *test)
    table = Table("try", "parameters", "accuracy", "of the teacher's", "seconds", title="Students of one teacher")
    table.add_row("teacher", f"{teacher.count_params():,}", f"{reference:.2%}", "", "")
    for name in names:
        started = time.monotonic()
        student = _student(name, teacher, preprocessor, train, test, epochs)
        seconds = time.monotonic() - started
        accuracy = _accuracy(student, *test)
        print(f"{name}: {accuracy:.4f}", flush=True)
        fraction = f"{accuracy / reference:.1%}"
        table.add_row(name, f"{student.count_params():,}", f"{accuracy:.2%}", fraction, f"{seconds:.0f}")
    Console().print(table)


def _student(name, teacher, preprocessor, train, test, epochs):
    import tempfile

    import keras
    import numpy as np
    import tensorflow as tf

    import tfmodels
    from tfmodels.distillation import Distiller, HiddenStates, SoftLabels, embed_like_teacher, random_spans
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.training import Batches, FitConfig, fit

    sizes, start, hard, soft, hidden, spans_per_text = TRIES[name]
    keras.utils.set_random_seed(0)
    backbone = tfmodels.create_model("bert_tiny", max_sequence_length=preprocessor.sequence_length, **sizes)
    student = TextClassifier(backbone, 2, pooling=MeanPooling())
    tokenizer = preprocessor.tokenizer
    if start:
        embed_like_teacher(student, teacher, first=tokenizer.cls_token_id, last=tokenizer.sep_token_id)
    losses = [SoftLabels(weight=soft, name="soft_labels")]
    if hidden:
        layers = {sizes["num_layers"]: teacher.backbone.config.num_layers}
        losses.append(HiddenStates(layers, hidden, name="hidden_states"))
    distiller = Distiller(student, teacher, losses, hard)

    token_ids, labels = train
    if spans_per_text:
        parts = random_spans(list(token_ids.numpy()), spans_per_text * len(labels))
        parts = tf.RaggedTensor.from_row_lengths(np.concatenate(parts), [len(part) for part in parts])
        token_ids = tf.concat([token_ids, tf.cast(parts, token_ids.dtype)], axis=0)
        labels = np.concatenate([labels, np.full(len(labels) * spans_per_text, -1)])
    config = FitConfig(epochs=epochs, batch_size=128, learning_rate=1.5e-3)
    batches = Batches(token_ids, {"labels": labels}, config.batch_size)
    outputs = batches.outputs_of(distiller.teacher_outputs, dtype="float16")
    batches = batches.with_targets({f"teacher/{output}": values for output, values in outputs.items()})
    with tempfile.TemporaryDirectory() as directory:
        fit(distiller, batches, None, config, directory, verbose=0)
    return student


def _accuracy(model, token_ids, labels) -> float:
    from tfmodels.training import Batches

    logits = Batches(token_ids, {}, 128).outputs_of(model)["logits"]
    return float((logits.argmax(-1) == labels).mean())


if __name__ == "__main__":
    main()
