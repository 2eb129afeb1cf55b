"""What two settings bring: bfloat16 beside float32, and a teacher that is asked once beside one that is asked always.

    python -m benchmarks.training --quick
    python -m benchmarks.training --accuracy

The first compares training steps of BERT-base on 8 rows of 128 tokens, from equal weights; with `--accuracy` MiniLM is
also fine-tuned on the movie reviews in either, one epoch with one seed, and the test accuracies are given. The second
compares a student's epochs on movie reviews: with the logits of MiniLM from a cache, as the pipelines keep them, and
with MiniLM answering in every step. Asking the teacher once takes as long as the difference of a single epoch.
"""

from __future__ import annotations

import tempfile

import click

from benchmarks.pairs import in_turn
from benchmarks.results import Result, command

_ROWS, _LENGTH = 8, 128


def measure(
    quick: bool = False, model: str = "bert_base", pairs: int = 5, rows: int = 1024, accuracy: bool = False
) -> list[Result]:
    """Float32 over bfloat16, and a teacher asked always over one asked once: how many times as long."""
    if quick:
        model, pairs, rows = "bert_tiny", min(pairs, 3), 64
    results = [_precision(model, pairs), _caching(rows, max(2, pairs // 2))]
    if accuracy:
        results += _accuracies(rows if quick else None)
    return results


def _precision(name: str, pairs: int) -> Result:
    import numpy as np

    import tfmodels
    from benchmarks.encoder import inputs_of, step_of
    from tfmodels.models import TextClassifier
    from tfmodels.training import policy_for

    random = np.random.default_rng(0)
    models = {
        precision: TextClassifier(tfmodels.create_model(name, dtype=policy_for(precision)), 2)
        for precision in ("bfloat16", "float32")
    }
    models["bfloat16"].set_weights(models["float32"].get_weights())
    vocabulary = models["float32"].backbone.config.vocabulary_size
    inputs, _ = inputs_of(random.integers(vocabulary // 2, vocabulary, (_ROWS, _LENGTH)))
    targets = {"logits": random.integers(0, 2, _ROWS)}
    steps = [step_of(models[precision], inputs, targets) for precision in ("bfloat16", "float32")]
    what = f"training step of {name}, {_ROWS} x {_LENGTH} tokens"
    return Result.of_pairs(what, in_turn(*steps, pairs), "bfloat16", "float32", at_least=1.4)


def _caching(rows: int, pairs: int) -> Result:
    import tensorflow as tf

    import tfmodels
    from tfmodels.distillation import Distiller, SoftLabels
    from tfmodels.models import TextClassifier
    from tfmodels.training import adamw

    teacher, batches = _minilm_and_reviews(rows)
    vocabulary_size = teacher.backbone.config.vocabulary_size

    def epoch_of(cached):
        student = TextClassifier(tfmodels.create_model("bert_tiny", vocabulary_size=vocabulary_size), 2)
        distiller = Distiller(student, teacher, [SoftLabels(2.0)], hard_label_weight=0.5)
        given = batches
        if cached:
            answers = batches.outputs_of(distiller.teacher_outputs)
            given = batches.with_targets({f"teacher/{name}": values for name, values in answers.items()})
        distiller.compile(adamw(1e-4), jit_compile=False)
        read = list(given.dataset())
        distiller.make_train_function()

        def epoch():
            for batch in read:
                logs = distiller.train_function(iter(tf.data.Dataset.from_tensors(batch)))
            return float(logs["loss"])

        return epoch

    times = in_turn(epoch_of(True), epoch_of(False), pairs, warmups=1)
    what = f"a student's epoch on {rows} reviews, taught by MiniLM"
    return Result.of_pairs(what, times, "asked once", "asked always", at_least=3.0)


def _accuracies(rows: int | None) -> list[Result]:
    """Test accuracies of MiniLM after one epoch on the movie reviews."""
    import keras
    import numpy as np

    from tfmodels.training import FitConfig, fit

    results = []
    for precision in ("float32", "bfloat16"):
        keras.utils.set_random_seed(0)
        model, train = _minilm_and_reviews(rows, precision=precision, target="logits")
        _, test = _minilm_and_reviews(rows, split="test", target="logits")
        config = FitConfig(epochs=1, precision=precision)
        loss = {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        with tempfile.TemporaryDirectory() as directory:
            fit(model, train, None, config, directory, loss=loss, verbose=0)
        found = test.outputs_of(model)["logits"].argmax(axis=-1)
        share = float(np.mean(found == test.targets["logits"]))
        results.append(Result(f"MiniLM fine-tuned in {precision}, test accuracy", 100 * share, unit="%"))
    return results


def _minilm_and_reviews(rows: int | None, split="train", precision="float32", target="labels"):
    """MiniLM under a new head, and movie reviews as `Batches`."""
    import numpy as np

    import tfmodels
    from tfmodels import datasets
    from tfmodels.layers import MeanPooling
    from tfmodels.models import TextClassifier
    from tfmodels.text import TextPreprocessor
    from tfmodels.training import Batches, policy_for

    folder = datasets.minilm()
    model = tfmodels.from_hf(
        folder, task=TextClassifier, dtype=policy_for(precision), num_classes=2, pooling=MeanPooling()
    )
    reviews = [review for review in datasets.movie_reviews() if review.split == split][:rows]
    labels = np.array([int(review.score > 0) for review in reviews])
    token_ids = TextPreprocessor.from_hf(folder).tokenize([review.text for review in reviews])
    return model, Batches(token_ids, {target: labels}, 32)


main = command(
    measure,
    click.option("--model", default="bert_base", show_default=True, help="A BERT of `tfmodels list`."),
    click.option("--pairs", default=5, show_default=True, type=click.IntRange(1), help="How often each is timed."),
    click.option("--rows", default=1024, show_default=True, type=click.IntRange(32), help="Reviews of an epoch."),
    click.option("--accuracy", is_flag=True, help="Also fine-tune MiniLM in both (minutes)."),
)

if __name__ == "__main__":
    main()
