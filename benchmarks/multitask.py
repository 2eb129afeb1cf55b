"""MT-DNN's question on real texts: one encoder for several tasks beside an encoder for each (arXiv:1901.11504).

    python -m benchmarks.multitask --quick
    python -m benchmarks.multitask --epochs 6

The tasks are the sentiment of film reviews, the group of a message to a newsgroup, and whether two passages are of one
message. The last is derived from the messages: the first words of one, and then either its next ones or those of
another message of the same split; it is answered by the stochastic answer network. Every encoder begins with random
weights and sees each training row once an epoch, so that the one for all takes as many steps as the others together.
Figures are those of the last epoch on the test rows, by which nothing is chosen.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping

import click

from benchmarks.results import Result, command

_BATCH, _VOCABULARY = 32, 8192


@dataclasses.dataclass(frozen=True)
class _Task:
    """One task.

    Attributes:
        objective: Makes its head.
        train: The rows to learn from.
        test: The rows that it is judged on.
        majority: The accuracy of the most frequent class of the training rows.
    """

    objective: Callable
    train: object
    test: object
    majority: float


def measure(
    quick: bool = False, model: str = "bert_tiny", epochs: int = 4, length: int = 64, rows: int | None = None
) -> list[Result]:
    """One encoder for three tasks beside an encoder for each: accuracy on test rows, parameters and training time.

    Ratios say how many times as accurate the shared encoder is, and how many times as much the three own encoders take.
    """
    if quick:
        epochs, rows = 1, min(rows or 256, 256)
    tasks, vocabulary_size = _tasks(length, rows)
    sizes = {"vocabulary_size": vocabulary_size, "max_sequence_length": length}
    together, seconds, parameters = _trained(model, sizes, tasks, epochs)
    alone, alone_seconds, alone_parameters = {}, 0.0, 0
    for name, task in tasks.items():
        accuracies, own_seconds, own_parameters = _trained(model, sizes, {name: task}, epochs)
        alone |= accuracies
        alone_seconds += own_seconds
        alone_parameters += own_parameters
    results = [
        Result(
            f"{name}: accuracy of the encoder for all / of its own",
            together[name] / max(alone[name], 1e-9),
            first=f"for all {together[name]:.1%}",
            second=f"its own {alone[name]:.1%}; the most frequent class {task.majority:.1%}",
        )
        for name, task in tasks.items()
    ]
    return [
        *results,
        Result(
            "parameters, own encoders' / the shared one's",
            alone_parameters / parameters,
            first=f"shared {parameters:,}",
            second=f"own {alone_parameters:,}",
        ),
        Result(
            "training time, own encoders' / the shared one's",
            alone_seconds / seconds,
            first=f"shared {seconds:.0f} s",
            second=f"own {alone_seconds:.0f} s",
            note=f"{model} from random weights, {epochs} epochs; one run each, so that small differences say nothing.",
        ),
    ]


def _trained(model: str, sizes: dict, tasks: Mapping[str, _Task], epochs: int):
    """Accuracies on the test rows by task, seconds, and the number of weights."""
    import keras

    import tfmodels
    from tfmodels.objectives import MixedBatches, Pretrainer
    from tfmodels.training import FitConfig, fit

    keras.utils.set_random_seed(0)
    pretrainer = Pretrainer(tfmodels.create_model(model, **sizes), [task.objective() for task in tasks.values()])
    train, test = (
        MixedBatches({name: getattr(task, part) for name, task in tasks.items()}) for part in ("train", "test")
    )
    config = FitConfig(epochs=epochs, batch_size=_BATCH, learning_rate=5e-4, monitor="val_loss")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        history = fit(pretrainer, train, test, config, directory, verbose=0)
    seconds = time.perf_counter() - started
    parameters = sum(int(variable.value.shape.num_elements()) for variable in pretrainer.trainable_variables)
    return {name: history[f"val_{name}_accuracy"][-1] for name in tasks}, seconds, parameters


def _tasks(length: int, rows: int | None) -> tuple[dict[str, _Task], int]:
    """The tasks by name, and the size of their vocabulary."""
    import numpy as np

    from tfmodels import datasets
    from tfmodels.objectives import Classification, PairClassification
    from tfmodels.text import TextPreprocessor, WordPieceTokenizer, train_wordpiece

    reviews, posts, groups = datasets.movie_reviews(), [], {}
    for post in datasets.newsgroups():
        words = post.text.split()[: 2 * length]
        if len(words) >= 4:
            posts.append((words, groups.setdefault(post.group, len(groups)), post.split))
    parts = {
        split: ([r for r in reviews if r.split == split], [p for p in posts if p[2] == split])
        for split in ("train", "test")
    }
    # Reviews come in the order of their film's file, messages by their group.
    parts = {split: tuple(_shuffled(part)[:rows] for part in both) for split, both in parts.items()}
    texts = [review.text for review in parts["train"][0]] + [" ".join(words) for words, *_ in parts["train"][1]]
    tokenizer = WordPieceTokenizer(train_wordpiece(texts, _VOCABULARY))
    single = TextPreprocessor(tokenizer, length)
    pair = TextPreprocessor(tokenizer, length, pair=True)

    data = {"sentiment": {}, "topic": {}, "passages": {}}
    for split, (some_reviews, some_posts) in parts.items():
        sentiments = [int(review.score > 0) for review in some_reviews]
        data["sentiment"][split] = [review.text for review in some_reviews], None, sentiments
        data["topic"][split] = (
            [" ".join(words) for words, *_ in some_posts],
            None,
            [group for _, group, _ in some_posts],
        )
        halves = [(words[: len(words) // 2], words[len(words) // 2 :]) for words, *_ in some_posts]
        is_one = np.random.default_rng(0).random(len(halves)) < 0.5
        # Those of another message are of the next one in a random order.
        seconds = [halves[place if one else (place + 1) % len(halves)][1] for place, one in enumerate(is_one)]
        firsts = [" ".join(first) for first, _ in halves]
        data["passages"][split] = firsts, [" ".join(second) for second in seconds], is_one.astype(int).tolist()

    objectives = {
        "sentiment": lambda: Classification("sentiment", 2),
        "topic": lambda: Classification("topic", len(groups)),
        "passages": lambda: PairClassification("passages", 2),
    }
    tasks = {}
    for name, by_split in data.items():
        batches = [_batches(single, pair, name, *by_split[split]) for split in ("train", "test")]
        most_frequent = np.bincount(by_split["train"][2]).argmax()
        majority = float(np.mean(np.array(by_split["test"][2]) == most_frequent))
        tasks[name] = _Task(objectives[name], *batches, majority)
    return tasks, tokenizer.vocabulary_size()


def _batches(single, pair, name, texts, seconds, labels):
    import numpy as np
    import tensorflow as tf

    from tfmodels.training import Batches

    features = single(tf.constant(texts)) if seconds is None else pair(tf.constant(texts), tf.constant(seconds))
    lengths = tf.reduce_sum(tf.cast(features["padding_mask"], tf.int64), axis=1)
    ids, segments = (tf.RaggedTensor.from_tensor(features[key], lengths) for key in ("token_ids", "segment_ids"))
    return Batches(ids, {name: np.array(labels, "int32")}, _BATCH, segment_ids=segments)


def _shuffled(rows: list) -> list:
    import numpy as np

    return [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]


main = command(
    measure,
    click.option("--model", default="bert_tiny", show_default=True, help="An encoder of `tfmodels list`."),
    click.option("--epochs", default=4, show_default=True, type=click.IntRange(1), help="Passes over the rows."),
    click.option("--length", default=64, show_default=True, type=click.IntRange(16), help="Tokens of a text at most."),
    click.option(
        "--rows", type=click.IntRange(32), help="At most so many rows of a task and split; the default is all."
    ),
)

if __name__ == "__main__":
    main()
