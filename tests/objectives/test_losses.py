"""Losses against NumPy, values and gradients."""

import keras
import numpy as np
import pytest
from scipy import stats

from tests.support import to_numpy
from tests.support.gradients import finite_differences, gradients_with_respect_to
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.objectives import losses

B, T, P, V, D = 2, 5, 3, 7, 4
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(B, P, V)) * 2
LABELS = np.array([[2, 6, 0], [5, 5, 1]])
WEIGHTS = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
REPLACED = RANDOM.random((B, T)) < 0.3
REAL = np.array([[1.0] * 5, [1.0] * 3 + [0.0] * 2])
REWARDS = RANDOM.random((B, P))
BASELINES = RANDOM.random((B, P))


def mean_where(values, weights):
    """The mean of the values that count, one at a time."""
    kept = [value for value, weight in zip(np.ravel(values), np.ravel(weights)) if weight]
    return sum(kept) / len(kept) if kept else 0.0


def masked_lm_oracle(logits):
    probabilities = softmax(logits)
    return mean_where([[-np.log(probabilities[b, p, LABELS[b, p]]) for p in range(P)] for b in range(B)], WEIGHTS)


def replaced_token_oracle(logits):
    # D is the probability of "original" (arXiv:2003.10555, section 2).
    original = 1 / (1 + np.exp(logits))
    return mean_where(-np.where(REPLACED, np.log(1 - original), np.log(original)), REAL)


def policy_oracle(log_probabilities):
    return mean_where(-log_probabilities * (REWARDS - BASELINES), WEIGHTS)


def info_nce_oracle(queries):
    total = 0.0
    for row in range(len(queries)):
        scores = [np.exp(queries[row] @ key) for key in KEYS]
        total -= np.log(scores[row] / sum(scores))
    return total / len(queries)


KEYS = RANDOM.normal(size=(4, D))

CASES = {
    "masked language model": (lambda x: losses.masked_lm_loss(x, LABELS, WEIGHTS), masked_lm_oracle, LOGITS),
    "replaced tokens": (
        lambda x: losses.replaced_token_loss(x, REPLACED, REAL),
        replaced_token_oracle,
        RANDOM.normal(size=(B, T)) * 3,
    ),
    "policy gradient": (
        lambda x: losses.policy_gradient_loss(x, REWARDS.astype("float32"), BASELINES.astype("float32"), WEIGHTS),
        policy_oracle,
        np.log(RANDOM.random((B, P))),
    ),
    "information": (
        lambda x: losses.info_nce(x, KEYS.astype("float32")),
        info_nce_oracle,
        RANDOM.normal(size=(4, D)),
    ),
}


@pytest.mark.parametrize("ours, oracle, argument", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_the_equations(ours, oracle, argument):
    assert_close(to_numpy(ours(keras.ops.convert_to_tensor(argument, "float32"))), oracle(argument), 1e-6)
    (gradient,) = gradients_with_respect_to(ours, argument)
    assert_close(gradient, finite_differences(oracle, argument), 1e-5)


def test_nothing_to_count_is_a_loss_of_zero():
    nothing = np.zeros((B, P))
    logits = keras.ops.convert_to_tensor(LOGITS, "float32")
    assert float(losses.masked_lm_loss(logits, LABELS, nothing)) == 0
    (gradient,) = gradients_with_respect_to(lambda x: losses.masked_lm_loss(x, LABELS, nothing), LOGITS)
    assert gradient is None or not gradient.any()


def test_extreme_logits_stay_finite():
    logits = np.array([[-1e4, 1e4, 0.0, 88.0, -88.0]], "float32")
    values = to_numpy(losses.binary_losses(logits, np.array([[True, False, True, True, True]])))
    assert_close(values, [[1e4, 1e4, np.log(2), 0.0, 88.0]], 1e-5)


def test_rewards_and_baselines_get_no_gradient():
    log_probabilities = np.log(RANDOM.random((B, P))).astype("float32")
    gradients = gradients_with_respect_to(
        lambda *x: losses.policy_gradient_loss(log_probabilities, *x, WEIGHTS), REWARDS, BASELINES
    )
    assert all(gradient is None or not gradient.any() for gradient in gradients)


def test_the_policy_gradient_climbs_the_expected_reward():
    """REINFORCE's mean over all samples is the gradient of the expected reward (arXiv:2003.10555, appendix F)."""
    logits, rewards, baseline = np.array([0.3, -0.2, 0.9]), np.array([0.1, 2.0, 0.7]), 0.4

    def sampled(choice):
        def loss(x):
            log_probability = keras.ops.log_softmax(x, axis=-1)[:, choice : choice + 1]
            # One prediction: [1, 1].
            ones = np.ones((1, 1), "float32")
            return losses.policy_gradient_loss(log_probability, ones * rewards[choice], ones * baseline, ones)

        return gradients_with_respect_to(loss, logits[None])[0][0]

    probabilities = softmax(logits)
    mean = sum(probabilities[choice] * sampled(choice) for choice in range(3))
    expected = finite_differences(lambda x: softmax(x) @ rewards, logits)
    assert_close(-mean, expected, 1e-5)


def test_vectors_are_gathered_row_by_row():
    sequence, positions = RANDOM.normal(size=(B, T, D)), np.array([[4, 0, 0], [1, 3, 1]])
    gathered = to_numpy(losses.gather_positions(sequence.astype("float32"), positions))
    for b, p in np.ndindex(B, P):
        assert_close(gathered[b, p], sequence[b, positions[b, p]], 1e-6)
    factors = RANDOM.normal(size=(B, P, D)).astype("float32")
    (gradient,) = gradients_with_respect_to(
        lambda x: keras.ops.sum(losses.gather_positions(x, positions) * factors), sequence
    )
    expected = np.zeros((B, T, D))
    for b, p in np.ndindex(B, P):
        expected[b, positions[b, p]] += factors[b, p]
    assert_close(gradient, expected, 1e-6)


def test_fillings_put_nothing():
    values = np.arange(10).reshape(2, 5)
    positions = np.array([[1, 4, 0], [0, 0, 0]])
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    put = to_numpy(losses.put_at_positions(values, positions, weights, np.array([[70, 71, 72], [73, 74, 75]])))
    assert put.tolist() == [[0, 70, 2, 3, 71], [5, 6, 7, 8, 9]]
    first = to_numpy(losses.put_at_positions(values, np.zeros((2, 1), int), np.ones((2, 1)), np.array([[8], [9]])))
    assert first.tolist() == [[8, 1, 2, 3, 4], [9, 6, 7, 8, 9]]


def test_samples_have_their_probabilities_and_no_gradient():
    logits = np.array([1.0, -0.5, 0.2, 2.0, -30.0], "float32")
    rows = np.broadcast_to(logits, (20_000, 5)).copy()
    samples = to_numpy(losses.gumbel_sample(rows, keras.random.SeedGenerator(0)))
    observed = np.bincount(samples, minlength=5)
    assert samples.dtype == np.int32 and observed[4] == 0
    assert stats.chisquare(observed[:4], softmax(logits[:4].astype("float64")) * len(rows)).pvalue > 1e-3
    seed = keras.random.SeedGenerator(0)
    first, second = (to_numpy(losses.gumbel_sample(rows, seed)) for _ in range(2))
    np.testing.assert_array_equal(first, samples)
    assert (first != second).any()
