"""The table of multi-task learning in a tiny setting: its tasks hold what they are said to hold."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import multitask
from benchmarks.results import from_json
from tfmodels import datasets

WORDS = ["good", "bad", "film", "orbit", "engine", "goal", "shuttle", "wheel", "team", "never", "always", "so"]


@pytest.fixture
def texts(monkeypatch):
    """Reviews and messages of few words in place of the real ones."""
    random = np.random.default_rng(0)

    def words(count):
        return " ".join(random.choice(WORDS, count))

    splits = ["train"] * 60 + ["validation"] * 5 + ["test"] * 40
    reviews = [SimpleNamespace(text=words(6), score=(-1) ** row * 1.5, split=split) for row, split in enumerate(splits)]
    posts = [
        SimpleNamespace(text=words(3 + row % 20), group=f"group{row % 3}", split=split)
        for row, split in enumerate(["train"] * 90 + ["test"] * 50)
    ]
    monkeypatch.setattr(datasets, "movie_reviews", lambda: reviews)
    monkeypatch.setattr(datasets, "newsgroups", lambda: posts)
    return reviews, posts


def texts_of(batches):
    """The rows' tokens without special ones, cut at the separator, in their order."""
    for ids, segments in zip(batches.token_ids.to_list(), batches.segment_ids.to_list()):
        border = segments.index(1) if 1 in segments else len(ids)
        yield tuple(ids[1 : border - 1]), tuple(ids[border:-1])


def test_the_tasks_hold_what_they_are_said_to_hold(texts):
    tasks, size = multitask._tasks(length=32, rows=None)
    assert list(tasks) == ["sentiment", "topic", "passages"] and size > len(WORDS)
    assert [len(tasks[name].train.lengths) for name in tasks] == [60, 85, 85], "messages of 3 words are left out"
    assert [len(tasks[name].test.lengths) for name in tasks] == [40, 48, 48]
    assert tasks["sentiment"].majority == 0.5
    whole = {first: row for row, (first, second) in enumerate(texts_of(tasks["topic"].test))}
    labels = tasks["passages"].test.targets["passages"]
    for row, (first, second) in enumerate(texts_of(tasks["passages"].test)):
        assert ((first + second) in whole) == bool(labels[row]), (
            "the passages are of one message where the label says so"
        )
    assert 10 < labels.sum() < 40


def test_one_encoder_is_trained_on_all_tasks(texts):
    tasks, size = multitask._tasks(length=16, rows=32)
    sizes = {"vocabulary_size": size, "max_sequence_length": 16, "num_layers": 1}
    accuracies, seconds, parameters = multitask._trained("bert_tiny", sizes, tasks, epochs=1)
    assert list(accuracies) == list(tasks) and all(0 <= value <= 1 for value in accuracies.values())
    assert seconds > 0 and parameters > size * 128


def test_every_task_is_compared_and_the_table_is_shown(texts, monkeypatch):
    trained = []

    def instead(model, sizes, tasks, epochs):
        trained.append((list(tasks), epochs))
        return dict.fromkeys(tasks, 0.9 if len(tasks) > 1 else 0.6), 10.0 * len(tasks), 1000

    monkeypatch.setattr(multitask, "_trained", instead)
    answer = CliRunner().invoke(multitask.main, ["--quick", "--json"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    results, _ = from_json(answer.output)
    names = ["sentiment", "topic", "passages"]
    assert trained == [(names, 1), *(([name], 1) for name in names)]
    assert [result.value for result in results] == pytest.approx([1.5, 1.5, 1.5, 3.0, 1.0])
    assert results[0].what == "sentiment: accuracy of the encoder for all / of its own"
    assert "for all 90.0%" in results[0].first and "its own 60.0%; the most frequent class 50.0%" in results[0].second


@pytest.mark.data
def test_the_tasks_are_made_of_real_texts():
    tasks, size = multitask._tasks(length=32, rows=200)
    assert all(len(task.train.lengths) == len(task.test.lengths) == 200 for task in tasks.values())
    assert len(np.unique(tasks["topic"].train.targets["topic"])) > 15 and size > 1000
    assert 0.3 < tasks["passages"].test.targets["passages"].mean() < 0.7
    assert tasks["passages"].train.lengths.max() <= 32
