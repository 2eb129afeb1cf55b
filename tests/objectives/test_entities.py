"""Denoising entity auto-encoding against its equations, and TransE against its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.models.tiny import tiny
from tests.objectives.rows import uniform_rows
from tests.objectives.test_choosing import SIGNIFICANCE
from tests.objectives.test_corruption import bert, corrupted
from tests.support.gradients import finite_differences, gradients_of
from tests.support.tensors import assert_close, to_numpy
from tfmodels.errors import UserError
from tfmodels.layers import EntityEmbedding
from tfmodels.models import KnowledgeEncoder
from tfmodels.objectives import (
    CorruptedBatches,
    EntityAlignment,
    MaskedLanguageModel,
    MaskedText,
    NoMasking,
    Pretrainer,
    TransE,
    WithEntities,
)
from tfmodels.training import Batches, FitConfig, fit

# Rows of five tokens: an entity named twice, one alone, and none.
NAMED = np.array([[3, 0, 2, 3, 1], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0]])
D, E = 6, 4


def alignment():
    table = EntityEmbedding(3, E)
    table.build()
    objective = EntityAlignment(table)
    objective.prepare(tiny(hidden_dim=D))
    random = np.random.default_rng(0)
    for variable in (*objective.weights, *table.weights):
        variable.assign(random.normal(size=variable.shape))
    return objective


def loss_by_hand(sequence, kernel, bias, vectors):
    """Equation 7, one token after the other."""
    losses = []
    for row, place in np.ndindex(NAMED.shape):
        if NAMED[row, place]:
            candidates = sorted(set(NAMED[row]) - {0})
            scores = np.array([(sequence[row, place] @ kernel + bias) @ vectors[number - 1] for number in candidates])
            losses.append(np.log(np.exp(scores).sum()) - scores[candidates.index(NAMED[row, place])])
    return np.mean(losses)


def test_a_token_is_aligned_with_one_of_its_rows_entities():
    objective = alignment()
    sequence = np.random.default_rng(1).normal(size=(3, 5, D)).astype("float32")

    def measured():
        return objective.measure({"sequence_output": sequence}, {}, {"entities": NAMED}, None, True)

    figures = measured()
    weights = [
        to_numpy(weight).astype("float64") for weight in (*objective.projection.weights, objective.entities.vectors)
    ]
    expected = loss_by_hand(sequence, *weights)
    assert_close(float(figures["loss"][0]), expected, 1e-6)
    assert float(figures["loss"][1]) == float(objective.count({}, {"entities": NAMED})) == 5
    _, gradients = gradients_of(lambda: measured()["loss"][0], objective.projection.weights)
    for index, gradient in enumerate(gradients):
        slopes = finite_differences(
            lambda value, index=index: loss_by_hand(sequence, *weights[:index], value, *weights[index + 1 :]),
            weights[index],
        )
        assert_close(gradient, slopes, 1e-5)
    assert [variable.name for variable in objective.trainable_variables] == ["kernel", "bias"]
    # The token that names its row's only entity is right whatever it says.
    objective.projection.kernel.assign(np.zeros((D, E)))
    objective.projection.bias.assign(np.zeros(E))
    accuracy = float(measured()["accuracy"][0])
    assert accuracy == pytest.approx((2 + 1) / 5), "equal scores are the first candidate's, which two of the four name"


def test_a_batch_that_names_nothing_is_no_loss():
    objective = alignment()
    outputs = {"sequence_output": np.ones((2, 5, D), "float32")}
    figures = objective.measure(outputs, {}, {"entities": np.zeros((2, 5), "int32")}, None, True)
    assert [float(value) for pair in figures.values() for value in pair] == [0.0] * 4


def test_five_alignments_in_a_hundred_are_wrong_and_fifteen_hidden():
    count, batch = 7, uniform_rows(1500, 50)
    entities = np.random.default_rng(0).integers(0, count + 1, batch["token_ids"].shape).astype("int32")
    batch["entities"] = entities
    corruption = WithEntities(MaskedText(NoMasking(4), bert()), count)
    inputs, targets = corrupted(corruption, batch)
    np.testing.assert_array_equal(targets["entities"], entities)
    told = inputs["entities"]
    assert told.dtype == "int32" and not told[entities == 0].any()
    named, seen = entities[entities > 0], told[entities > 0]
    fates = [((seen > 0) & (seen != named)).sum(), (seen == 0).sum(), (seen == named).sum()]
    expected = np.array([0.05, 0.15, 0.8]) * len(named)
    assert stats.chisquare(fates, expected).pvalue > SIGNIFICANCE
    # A wrong one is any other, each as often.
    assert set(seen[(seen > 0) & (seen != named)]) == set(range(1, count + 1))
    steps = (seen - named)[(seen > 0) & (seen != named)] % count
    assert stats.chisquare(np.bincount(steps, minlength=count)[1:]).pvalue > SIGNIFICANCE


def test_a_graph_of_one_entity_has_no_other_to_be_wrong():
    with pytest.raises(UserError, match="at least two entities"):
        WithEntities(MaskedText(NoMasking(4), bert()), 1)
    with pytest.raises(ValueError, match="fractions"):
        WithEntities(MaskedText(NoMasking(4), bert()), 3, wrong=0.6, hidden=0.6)


def test_entities_go_with_neither_a_mask_nor_notes():
    knowledge = KnowledgeEncoder(tiny(), num_entities=3, entity_dim=E)
    with pytest.raises(UserError, match="without a mask"):
        Pretrainer(knowledge.backbone, [MaskedLanguageModel()], lambda inputs: None, knowledge=knowledge)


def test_what_a_hidden_token_was_is_learnt_from_the_entity_that_it_names(tmp_path):
    """Every row hides a token that its entity alone tells: one of six, and whoever is not told can but guess."""
    random, kinds = np.random.default_rng(0), 6
    answers = random.integers(0, kinds, 512)
    token_ids = random.integers(30, 45, (512, 6))
    token_ids[:, 0], token_ids[:, 3] = 1, 10 + answers
    entities = np.zeros_like(token_ids)
    entities[:, 3] = 1 + answers
    entities[:, 5] = 1 + random.integers(0, kinds, 512)
    ragged = {
        name: tf.RaggedTensor.from_tensor(tf.constant(values, tf.int32))
        for name, values in (("token_ids", token_ids), ("entities", entities))
    }
    targets = {"row": np.arange(512), "entities": ragged["entities"]}
    batches = Batches(ragged["token_ids"], targets, 32, seed=0)

    class Fourth(NoMasking):
        def __call__(self, batch, draw):
            return tf.one_hot(
                tf.fill(tf.shape(batch["token_ids"])[:1], 3), tf.shape(batch["token_ids"])[1], dtype=tf.int32
            )

    corruption = WithEntities(MaskedText(Fourth(1), bert(mask=1.0, random=0.0)), kinds, wrong=0.0, hidden=0.0)
    keras.utils.set_random_seed(0)
    backbone = tiny(hidden_dim=32, num_heads=2, intermediate_dim=32, dropout=0.0, attention_dropout=0.0)
    knowledge = KnowledgeEncoder(backbone, kinds, entity_dim=8, num_heads=2)
    knowledge.set_entities(np.eye(kinds, 8))
    pretrainer = Pretrainer(backbone, [MaskedLanguageModel()], knowledge=knowledge)
    train = CorruptedBatches(batches, corruption, special_ids=(0, 1))
    config = FitConfig(epochs=12, batch_size=32, learning_rate=5e-3)
    history = fit(pretrainer, train, None, config, tmp_path, verbose=0)
    inputs, targets = next(iter(train))
    untold = {**inputs, "entities": tf.zeros_like(inputs["entities"])}
    figures = pretrainer.objectives[0].measure(pretrainer(untold), untold, targets, backbone, False)
    assert history["masked_language_model_loss"][-1] < 0.2 < np.log(kinds) < float(figures["loss"][0])


def test_transe_takes_the_papers_step():
    graph = TransE([(0, 0, 1), (1, 1, 2)], 4, 2, dim=3, margin=0.7, learning_rate=0.05)
    entities, relations = graph.entities.astype("float64"), graph.relations.astype("float64")
    facts, false = np.array([[0, 0, 1], [1, 1, 2]]), np.array([[0, 0, 3], [3, 1, 2]])

    def loss(values, split=4):
        points, ways = values[:split], values[split:]

        def distance(fact):
            return np.square(points[fact[0]] + ways[fact[1]] - points[fact[2]]).sum()

        return sum(max(0.0, 0.7 + distance(true) - distance(wrong)) for true, wrong in zip(facts, false))

    before = np.concatenate([entities, relations])
    slopes = finite_differences(loss, before)
    assert_close(graph.step(facts, false), loss(before), 1e-5)
    moved = entities - 0.05 * slopes[:4]
    assert_close(graph.entities, moved / np.linalg.norm(moved, axis=1, keepdims=True), 1e-5)
    assert_close(graph.relations, relations - 0.05 * slopes[4:], 1e-5)


def test_transe_finds_where_a_held_out_fact_leads():
    """Sixty things of six kinds, each kind in a place of its own: where a thing is tells what it is."""
    things = np.arange(60)
    kinds = np.stack([things, np.zeros(60, int), 60 + things % 6], axis=1)
    places = np.stack([things, np.ones(60, int), 66 + things % 6], axis=1)
    held_out, train = kinds[:12], np.concatenate([kinds[12:], places])
    graph = TransE(train, 72, 2, dim=8, learning_rate=0.05)

    def mean_rank():
        gaps = graph.entities[held_out[:, 0]] + graph.relations[held_out[:, 1]]
        distances = np.square(gaps[:, None] - graph.entities[None]).sum(axis=-1)
        own = distances[np.arange(12), held_out[:, 2]]
        return 1 + (distances < own[:, None]).sum(axis=1).mean()

    untrained, losses = mean_rank(), list(graph.epochs(100))
    assert losses[-1] < 0.5 * losses[0]
    assert mean_rank() < 5 < 25 < untrained, "chance is the 36th place"
    again = TransE(train, 72, 2, dim=8, learning_rate=0.05)
    assert list(again.epochs(3)) == losses[:3]


@pytest.mark.parametrize("facts", [[], [(0, 0, 3)], [(0, 2, 1)], [(-1, 0, 1)]])
def test_facts_out_of_range_are_refused(facts):
    with pytest.raises(UserError, match=r"facts"):
        TransE(facts, 3, 2)
