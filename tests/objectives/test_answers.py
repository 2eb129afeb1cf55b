"""MT-DNN's stochastic answer network against its equations, and that it tells pairs which one vector does not tell."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.rows import CLS, SEP
from tests.objectives.test_pretrainer import loss_of, spread_out, tensors
from tests.objectives.topics import TOPICS, WORDS, topic_backbone
from tests.support import check_gradients_reach, gradients_of, to_numpy, token_batch
from tests.support.gradients import finite_differences
from tests.support.oracles import part, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import XLNetBackbone
from tfmodels.objectives import PairClassification, Pretrainer
from tfmodels.objectives.answers import AnswerNetwork
from tfmodels.training import Batches, FitConfig, fit

D, C, K = 4, 3, 3
LABELS = np.array([2, 0, -1, 1, 1])


def states_and_masks():
    """A pair, a pair of one token each, padding between the texts, a single text, and padding first."""
    states = np.random.default_rng(0).normal(size=(5, 7, D))
    premise = np.array([[1, 1, 1, 0, 0, 0, 0], [1] + [0] * 6, [1, 0, 1, 0, 0, 0, 0], [1] * 7, [0, 0, 1, 1, 1, 0, 0]])
    hypothesis = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 1] + [0] * 5, [0, 0, 0, 0, 1, 1, 0], [1] * 7, [0] * 5 + [1, 1]])
    return states, premise > 0, hypothesis > 0


def network(**settings):
    made = AnswerNetwork(C, **{"num_steps": K, "dropout": 0.0, "prediction_dropout": 0.0, **settings})
    made.build((None, None, D))
    spread_out(made)
    return made


def weights_of(made):
    """The weights in float64, by their paths below the network."""
    variables = {v.path.partition(f"{made.name}/")[2]: v for v in made.trainable_variables}
    return {name: to_numpy(variable.value).astype("float64") for name, variable in variables.items()}


def gru(weights, state, x):
    """One row of z s + (1 - z) tanh(...), as the GRU with a reset after the product (arXiv:1406.1078)."""

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    of_x = np.split(x @ weights["kernel"] + weights["bias"][0], 3)
    of_state = np.split(state @ weights["recurrent_kernel"] + weights["bias"][1], 3)
    update, reset = sigmoid(of_x[0] + of_state[0]), sigmoid(of_x[1] + of_state[1])
    return update * state + (1 - update) * np.tanh(of_x[2] + reset * of_state[2])


def step_answers(weights, states, premise, hypothesis, steps=K):
    """P_0 to P_{K-1} of one row, float[K, C]."""

    def attended(scores, mask):
        return softmax(scores[mask]) @ states[mask]

    state, found = attended(states @ weights["summary/kernel"][:, 0], hypothesis), []
    for _ in range(steps):
        read = attended(states @ (state @ weights["query/kernel"]), premise)
        compared = np.concatenate([state, read, abs(state - read), state * read])
        found.append(softmax(compared @ weights["answer/kernel"] + weights["answer/bias"]))
        state = gru(part(weights, "cell"), state, read)
    return np.array(found)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_answer_is_the_mean_of_all_steps(steps):
    made, arguments = network(num_steps=steps), states_and_masks()
    expected = [step_answers(weights_of(made), *row, steps).mean(axis=0) for row in zip(*arguments)]
    actual = np.exp(to_numpy(made(arguments[0].astype("float32"), *arguments[1:])))
    assert_close(actual, expected, 1e-5)
    assert_close(actual.sum(axis=1), np.ones(5), 1e-5)


def test_every_gradient_is_that_of_the_equations():
    made, (states, *masks) = network(), states_and_masks()
    weights = weights_of(made)

    def loss(weights, states):
        known = [row for row in range(5) if LABELS[row] >= 0]
        rows = [step_answers(weights, states[row], masks[0][row], masks[1][row]).mean(axis=0) for row in known]
        return -np.mean([np.log(answer[LABELS[row]]) for row, answer in zip(known, rows)])

    given = keras.Variable(states.astype("float32"))
    variables = [*made.trainable_variables, given]

    def ours():
        answers = made(keras.ops.convert_to_tensor(given), *masks)
        picked = keras.ops.take_along_axis(answers, np.maximum(LABELS, 0)[:, None], axis=1)[:, 0]
        return -keras.ops.sum(picked * (LABELS >= 0)) / 4

    value, gradients = gradients_of(ours, variables)
    assert value == pytest.approx(loss(weights, states), rel=1e-5)
    for (name, weight), gradient in zip(weights.items(), gradients):
        expected = finite_differences(lambda other, name=name: loss({**weights, name: other}, states), weight)
        # The state's bias within the reset gate's product and the weights of what is read count too.
        assert np.abs(expected).max() > 1e-5, name
        assert_close(gradient, expected, 1e-5, name)
    assert_close(gradients[-1], finite_differences(lambda other: loss(weights, other), states), 1e-5, "the states")


def test_training_leaves_steps_out_of_the_mean_but_never_all():
    made = network(num_steps=K, prediction_dropout=0.6)
    states, *masks = (np.repeat(array[:1], 400, axis=0) for array in states_and_masks())
    steps = step_answers(weights_of(made), *(array[0] for array in (states, *masks)))
    answers = np.exp(to_numpy(made(states.astype("float32"), *masks, training=True)))
    means = {}
    for kept in range(1, 2**K):
        chosen = [step for step in range(K) if kept >> step & 1]
        means[tuple(chosen)] = steps[chosen].mean(axis=0)
    found = {chosen: (np.abs(answers - mean).max(axis=1) < 1e-5).sum() for chosen, mean in means.items()}
    assert sum(found.values()) == 400, "every answer is the mean of some steps"
    # One step stays for certain, each other with probability 0.4: all three with 0.16, one alone with 0.36.
    assert found[(0, 1, 2)] / 400 == pytest.approx(0.16, abs=0.06)
    for step in range(K):
        assert found[(step,)] / 400 == pytest.approx(0.36 / K, abs=0.06)
    again = np.exp(to_numpy(made(states.astype("float32"), *masks, training=True)))
    assert (again != answers).any()
    np.testing.assert_array_equal(
        to_numpy(made(states.astype("float32"), *masks)), to_numpy(made(states.astype("float32"), *masks))
    )


def objective_on(backbone):
    objective = PairClassification("pair", C, num_steps=K)
    pretrainer = Pretrainer(backbone, [objective])
    spread_out(pretrainer, 0.6)
    return objective, pretrainer


def test_segments_tell_premise_from_hypothesis_and_padding_does_not_matter():
    objective, pretrainer = objective_on(tiny())
    batch, wide = token_batch([9, 5, 2, 7]), token_batch([9, 5, 2, 7], length=14)
    for inputs in (batch, wide):
        inputs["segment_ids"][3] = 0
    # What lies beyond the text says nothing, whatever segment it is in.
    wide["segment_ids"][:, 10:] = 1
    outputs = pretrainer(tensors(batch))
    answers = to_numpy(objective.answers(outputs, tensors(batch)))
    assert_close(to_numpy(objective.answers(pretrainer(tensors(wide)), tensors(wide))), answers, 1e-5)
    states = to_numpy(outputs)["sequence_output"].astype("float64")
    weights = weights_of(objective.network)
    for row in range(4):
        premise, second = (batch["padding_mask"][row] & (batch["segment_ids"][row] == number) for number in (0, 1))
        # A single text is premise and hypothesis.
        hypothesis = second if row < 3 else premise
        expected = np.log(step_answers(weights, states[row], premise, hypothesis).mean(axis=0))
        assert_close(answers[row], expected, 1e-4)


def test_unknown_labels_do_not_count_and_every_weight_learns():
    objective, pretrainer = objective_on(tiny())
    inputs, targets = token_batch([9, 5, 2, 7, 6]), {"pair": LABELS}
    outputs = pretrainer(tensors(inputs))
    answers = to_numpy(objective.answers(outputs, tensors(inputs)))
    expected = -np.mean([answers[row, LABELS[row]] for row in (0, 1, 3, 4)])
    assert float(loss_of(pretrainer, inputs, targets)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(pretrainer, inputs, {"pair": np.full(5, -1)})) == 0
    check_gradients_reach(
        lambda: loss_of(pretrainer, inputs, targets), pretrainer.trainable_variables, unused=("pooler",)
    )


def test_any_backbone_will_do():
    for name in ("albert_base", "roberta_base", "xlnet_base", "nezha_base", "transformer_xl_standard"):
        backbone = tiny(name)
        objective, pretrainer = objective_on(backbone)
        batch = token_batch([9, 1, 4])
        if isinstance(backbone, XLNetBackbone):
            batch["segment_ids"][:, 8] = 2  # [CLS], which is of neither text
        answers = to_numpy(objective.answers(pretrainer(tensors(batch)), tensors(batch)))
        assert answers.shape == (3, C) and np.isfinite(answers).all(), name
        assert_close(np.exp(answers).sum(axis=1), np.ones(3), 1e-5, name)


def test_what_cannot_be_is_told():
    with pytest.raises(UserError, match="at least 1 step and a fraction below 1"):
        AnswerNetwork(C, num_steps=0)
    with pytest.raises(UserError, match="prediction_dropout=1"):
        AnswerNetwork(C, prediction_dropout=1)
    config = AnswerNetwork(C, 2, 0.3, 0.2).get_config()
    assert AnswerNetwork.from_config(config).prediction_dropout == 0.2


def pairs_of_topics(rows, seed):
    """[CLS] words of a topic [SEP] words of the same or another topic [SEP], and which of the two."""
    random = np.random.default_rng(seed)
    texts, segments, labels = [], [], []
    for _ in range(rows):
        first, label = int(random.integers(TOPICS)), int(random.integers(2))
        second = first if label else (first + int(random.integers(1, TOPICS))) % TOPICS
        words = [4 + WORDS * topic + random.integers(WORDS, size=random.integers(2, 5)) for topic in (first, second)]
        texts.append([CLS, *words[0].tolist(), SEP, *words[1].tolist(), SEP])
        segments.append([0] * (len(words[0]) + 2) + [1] * (len(words[1]) + 1))
        labels.append(label)
    ragged = [tf.ragged.constant(values, dtype=tf.int32) for values in (texts, segments)]
    return Batches(ragged[0], {"pair": np.array(labels)}, 32, segment_ids=ragged[1], bucket_lengths=[11], seed=seed)


@pytest.mark.learns
def test_it_learns_whether_two_texts_are_of_one_topic(tmp_path):
    keras.utils.set_random_seed(0)
    held_out = pairs_of_topics(128, seed=1)
    pretrainer = Pretrainer(topic_backbone(), [PairClassification("pair", 2, num_steps=2)])
    config = FitConfig(epochs=3, learning_rate=1e-2, monitor="val_loss")
    history = fit(pretrainer, pairs_of_topics(768, seed=0), held_out, config, tmp_path, verbose=0)
    labels = held_out.targets["pair"]
    assert max(history["val_pair_accuracy"]) > 0.85 > max(labels.mean(), 1 - labels.mean()) + 0.2
