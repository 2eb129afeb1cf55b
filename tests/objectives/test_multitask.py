"""MT-DNN's objectives and batches, ERNIE 2.0's schedule."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import MASK, SPECIAL_IDS
from tests.objectives.test_pretrainer import loss_of, spread_out, tensors
from tests.objectives.topics import TOPICS, VOCABULARY_SIZE, WORDS, topic_backbone, topic_rows
from tests.support import check_gradients_reach, to_numpy, token_batch
from tests.support.oracles import named_weights, part, softmax
from tfmodels.errors import UserError
from tfmodels.objectives import (
    Classification,
    CorruptedBatches,
    ForTask,
    MaskedLanguageModel,
    MaskedText,
    MaskReplacement,
    MixedBatches,
    NoMasking,
    Pretrainer,
    Ranking,
    Similarity,
    TaskPretrainer,
    TokenClassification,
    TokenMasking,
    continual_schedule,
)
from tfmodels.training import Batches, FitConfig, fit

LABELS = {
    "topic": np.array([2, -1, 0, 1, -1, -1]),
    "score": np.array([np.nan, 0.5, -1.0, np.nan, np.nan, 2.0], "float32"),
    "rank": np.array([1, 0, 1, 0, -1, 0]),
    "rank/query": np.array([7, 7, 3, 3, 7, 7]),
}


def tasks():
    return [Classification("topic", 3, dropout=0.0), Similarity("score", weight=0.5), Ranking("rank", dropout=0.0)]


def test_every_objective_is_its_equation_and_unknown_labels_do_not_count():
    pretrainer, inputs = Pretrainer(topic_backbone(), tasks()), token_batch([5, 9, 3, 7, 2, 4], vocabulary_size=20)
    spread_out(pretrainer)
    outputs = pretrainer(inputs)
    pooled = to_numpy(outputs)["pooled_output"].astype("float64")
    figures, projected = {}, {}
    for objective in pretrainer.objectives:
        figures[objective.name] = to_numpy(
            objective.measure(outputs, inputs, tensors(LABELS), pretrainer.backbone, False)
        )
        weights = part(named_weights(objective.logits), "logits")
        projected[objective.name] = pooled @ weights["kernel"] + weights.get("bias", 0)
    probabilities = softmax(projected["topic"])
    expected = -np.mean([np.log(probabilities[row, LABELS["topic"][row]]) for row in (0, 2, 3)])
    assert figures["topic"]["loss"] == (pytest.approx(expected, rel=1e-5), 3)
    expected = np.mean([(projected["score"][row, 0] - LABELS["score"][row]) ** 2 for row in (1, 2, 5)])
    assert figures["score"]["loss"] == (pytest.approx(expected, rel=1e-5), 3)
    # Query 7 has candidates 0, 1 and 5 (4 is unknown), query 3 has 2 and 3.
    scores = projected["rank"][:, 0]
    expected = -np.mean([np.log(softmax(scores[[0, 1, 5]])[0]), np.log(softmax(scores[[2, 3]])[0])])
    assert figures["rank"]["loss"] == (pytest.approx(expected, rel=1e-5), 2)
    hits = [scores[0] >= scores[[0, 1, 5]].max(), scores[2] >= scores[3]]
    assert figures["rank"]["accuracy"][0] == pytest.approx(np.mean(hits))
    check_gradients_reach(lambda: loss_of(pretrainer, inputs, LABELS), pretrainer.trainable_variables)


def test_a_batch_that_knows_nothing_is_no_loss():
    pretrainer, inputs = Pretrainer(topic_backbone(), tasks()), token_batch([5, 9], vocabulary_size=20)
    nothing = {
        "topic": np.array([-1, -1]),
        "score": np.full(2, np.nan, "float32"),
        "rank": np.array([-1, -1]),
        "rank/query": np.array([-1, -1]),
    }
    assert float(loss_of(pretrainer, inputs, nothing)) == 0


def mixed_tasks(rows=(64, 24), seed=0):
    """Which topic, and how near its number is to the middle: two tasks on texts of one language."""
    (first, topics), (second, others) = (topic_rows(count, seed + index) for index, count in enumerate(rows))
    scores = np.abs(others - TOPICS / 2).astype("float32")
    return {
        "topic": Batches(first, {"topic": topics.astype("int32")}, 8, bucket_lengths=[14], seed=seed),
        "score": Batches(second, {"score": scores}, 8, bucket_lengths=[14], seed=seed),
    }


def test_tokens_are_classified_where_something_is_known_and_nothing_is_padding():
    objective, inputs = TokenClassification("capitals", 2, dropout=0.0), token_batch([5, 3], vocabulary_size=20)
    pretrainer = Pretrainer(topic_backbone(), [objective])
    spread_out(pretrainer)
    # Zeros stand at padding: it counts for nothing, whatever stands there.
    targets = {"capitals": np.array([[-1, 0, 1, 1, -1], [-1, 1, -1, 0, 0]])}
    outputs = pretrainer(inputs)
    hidden, weights = (
        to_numpy(outputs)["sequence_output"].astype("float64"),
        part(named_weights(objective.logits), "logits"),
    )
    probabilities = softmax(hidden @ weights["kernel"] + weights["bias"])
    known = [(0, 1, 0), (0, 2, 1), (0, 3, 1), (1, 1, 1)]
    figures = to_numpy(objective.measure(outputs, inputs, tensors(targets), pretrainer.backbone, False))
    chosen = np.array([probabilities[row, place, label] for row, place, label in known])
    assert figures["loss"] == (pytest.approx(-np.log(chosen).mean(), rel=1e-5), 4)
    assert figures["accuracy"] == (pytest.approx((chosen > 0.5).mean()), 4)
    check_gradients_reach(lambda: loss_of(pretrainer, inputs, targets), objective.trainable_variables)


def masks_and_capitals(rows=64, seed=0):
    """A task that predicts tokens, and one on the text as it is: whether a token is among the first words."""
    token_ids, _ = topic_rows(rows, seed)
    corruptions = [TokenMasking(0.2, 3), NoMasking(3)]
    told = [{}, {"capitals": tf.where(token_ids > len(SPECIAL_IDS) - 1, tf.cast(token_ids % 2, tf.int32), -1)}]
    return {
        str(task): CorruptedBatches(
            Batches(token_ids, {"row": np.arange(rows), **told[task]}, 16, bucket_lengths=[14], seed=seed + task),
            ForTask(MaskedText(choose, MaskReplacement(MASK)), task),
            special_ids=SPECIAL_IDS,
        )
        for task, choose in enumerate(corruptions)
    }


def test_tasks_with_masks_and_without_share_batches_of_one_form():
    mixed, tasks = MixedBatches(masks_and_capitals(), continual_schedule([8, 4]), 3), set()
    for inputs, targets in mixed.dataset(0, 3):
        (task,) = set(inputs["task_ids"].numpy())
        tasks.add(task)
        assert targets["capitals"].shape == inputs["token_ids"].shape and targets["positions"].shape[1:] == [3]
        is_known = targets["capitals"].numpy() >= 0
        assert (targets["weights"].numpy().sum() > 0) == (task == 0)
        assert ((inputs["token_ids"].numpy() == MASK).any()) == (task == 0)
        assert is_known.any() == (task == 1)
    assert tasks == {0, 1}


@pytest.mark.learns
def test_the_vector_of_a_task_tells_the_encoder_what_it_is_for(tmp_path):
    sizes = {"vocabulary_size": VOCABULARY_SIZE, "num_layers": 1, "hidden_dim": 24, "num_tasks": 2, "dropout": 0.0}
    backbone = tiny("ernie2_base", **sizes)
    objectives = [MaskedLanguageModel(), TokenClassification("capitals", 2, dropout=0.0)]
    pretrainer = TaskPretrainer(backbone, objectives)
    mixed = MixedBatches(masks_and_capitals(256), continual_schedule([16 * 6] * 2), 6)
    held_out = MixedBatches(masks_and_capitals(64, seed=1))
    before = backbone.parts["tasks"].tasks.numpy().copy()
    inputs, _ = next(iter(held_out.in_order()))
    pair = [to_numpy(pretrainer({**inputs, "task_ids": inputs["task_ids"] * 0 + task})) for task in range(2)]
    assert (pair[0]["sequence_output"] != pair[1]["sequence_output"]).any()
    config = FitConfig(epochs=6, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, mixed, held_out, config, tmp_path, verbose=0)
    assert (np.abs(backbone.parts["tasks"].tasks.numpy() - before).max(axis=1) > 1e-3).all()
    # Half of the tokens are odd; three words of a topic cannot be told apart.
    assert history["val_capitals_accuracy"][-1] > 0.95
    assert history["val_masked_language_model_loss"][-1] < 0.7 * np.log(TOPICS * WORDS)
    with pytest.raises(UserError, match="give it num_tasks"):
        TaskPretrainer(tiny("ernie2_base"), [MaskedLanguageModel()])


def kinds(dataset):
    """0 for a batch of the first task, 1 for one of the second, and the first token of each batch."""
    found = []
    for inputs, targets in dataset:
        known = (targets["topic"].numpy() >= 0).all(), (~np.isnan(targets["score"].numpy())).all()
        assert sum(known) == 1
        assert known[0] or (targets["topic"].numpy() == -1).all()
        assert known[1] or np.isnan(targets["score"].numpy()).all()
        found.append((int(known[1]), tuple(inputs["token_ids"].numpy().ravel())))
    return found


def test_every_epoch_takes_every_batch_of_every_task_in_a_new_order():
    mixed = MixedBatches(mixed_tasks(), seed=1)
    assert len(mixed) == 8 + 3
    whole = kinds(mixed.dataset(0, 3))
    epochs = [[kind for kind, _ in whole[start : start + 11]] for start in (0, 11, 22)]
    assert [sum(epoch) for epoch in epochs] == [3, 3, 3] and epochs[0] != epochs[1]
    assert len({text for kind, text in whole[:11] if kind == 0}) == 8
    assert kinds(mixed.dataset(1, 3)) == whole[11:], "a resumed run sees the same"
    assert [kind for kind, _ in kinds(mixed.in_order())] == [0] * 8 + [1] * 3


def test_a_schedule_is_followed_and_tasks_go_on_where_they_were():
    schedule = [0, 0, 1, 0, 1, 1, 1, 1]
    mixed = MixedBatches(mixed_tasks(), schedule, epochs=2)
    whole = kinds(mixed.dataset(0, 2))
    assert [kind for kind, _ in whole] == schedule and len(mixed) == 4
    assert kinds(mixed.dataset(1, 2)) == whole[4:]
    # Five batches of a task of three: an epoch of it, then two of the next.
    assert len({text for kind, text in whole if kind == 1}) >= 3
    with pytest.raises(UserError, match="the schedule has 2 epochs"):
        mixed.dataset(0, 3)
    with pytest.raises(UserError, match="each of a task from 0 to 1"):
        MixedBatches(mixed_tasks(), [0, 2])
    with pytest.raises(UserError, match="needs as many batches"):
        MixedBatches(mixed_tasks(), [0, 1], epochs=3)


def test_continual_stages_add_tasks_and_keep_their_iterations():
    iterations = [60, 40, 31]
    schedule = continual_schedule(iterations, seed=2)
    assert np.bincount(schedule).tolist() == iterations
    first = [int(np.argmax(schedule == task)) for task in range(3)]
    # Stage 0 has a third of the first task; stage 1 another and half of the second.
    assert set(schedule[:20]) == {0} and set(schedule[20:60]) == {0, 1} and set(schedule[60:]) == {0, 1, 2}
    assert first[0] < first[1] < first[2]
    assert np.bincount(schedule[20:60]).tolist() == [20, 20] and np.bincount(schedule[60:]).tolist() == [20, 20, 31]
    np.testing.assert_array_equal(continual_schedule(iterations, seed=2), schedule)
    assert (continual_schedule(iterations, seed=3) != schedule).any()


def test_a_right_candidate_without_a_rival_does_not_count():
    (ranking,) = Pretrainer(topic_backbone(), [Ranking("rank", dropout=0.0)]).objectives
    labels = {"rank": np.array([1, 1, 0, 1, -1]), "rank/query": np.array([4, 5, 5, 6, 6])}
    np.testing.assert_array_equal(to_numpy(ranking.counted({}, tensors(labels))), [0, 1, 0, 0, 0])


@pytest.mark.learns
def test_candidates_are_ranked(tmp_path):
    # Three texts a query, the right one of topic 0.
    def batches(seed, queries=96):
        random = np.random.default_rng(seed)
        topics = np.array([random.permutation([0, *random.choice(np.arange(1, TOPICS), 2)]) for _ in range(queries)])
        numbers = np.repeat(np.arange(queries), 3)
        labels = {"rank": (topics.ravel() == 0).astype("int32"), "rank/query": numbers}
        token_ids, _ = topic_rows(3 * queries, seed=seed, topics=topics.ravel())
        return Batches(token_ids, labels, 32, groups=numbers, seed=seed)

    pretrainer = Pretrainer(topic_backbone(), [Ranking("rank")])
    config = FitConfig(epochs=4, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, batches(0), batches(1), config, tmp_path, verbose=0)
    assert history["val_rank_accuracy"][-1] > 0.9 > 2 / 3


@pytest.mark.learns
def test_one_encoder_learns_two_tasks(tmp_path):
    rows = (256, 256)
    held_out = MixedBatches(mixed_tasks(rows, seed=5))
    pretrainer = Pretrainer(topic_backbone(), [Classification("topic", TOPICS), Similarity("score")])
    config = FitConfig(epochs=6, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, MixedBatches(mixed_tasks(rows)), held_out, config, tmp_path, verbose=0)
    scores = held_out.tasks["score"].targets["score"]
    assert history["val_topic_accuracy"][-1] > 0.9 > 2 / TOPICS
    assert history["val_score_loss"][-1] < 0.3 * np.var(scores)
