"""`attend` against the paper's equation, one number at a time: outputs, logits and gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.support import to_numpy
from tests.support.gradients import finite_differences, gradients_with_respect_to
from tests.support.oracles import attention
from tests.support.tensors import assert_close
from tfmodels.ops import attend, causal, padding

B, T, S, N, H = 2, 3, 5, 3, 2


def tensors(seed=0, source=S):
    random = np.random.default_rng(seed)
    query = random.normal(size=(B, T, N, H))
    key, value = random.normal(size=(2, B, source, N, H))
    return [array.astype("float32") for array in (query, key, value)]


def random_mask(seed=1):
    """bool[B, N, T, S], different for every head, with at least one key for every query."""
    mask = np.random.default_rng(seed).random((B, N, T, S)) < 0.5
    mask[..., 0] |= ~mask.any(axis=-1)
    return mask


RANDOM_BIAS = np.random.default_rng(2).normal(size=(B, N, T, S)).astype("float32")
RELATIVE = np.random.default_rng(3).normal(size=(T, S, H)).astype("float32")
RELATIVE_VALUES = np.random.default_rng(6).normal(size=(T, S, H)).astype("float32")
FACTORS = np.random.default_rng(4).uniform(0.5, 2, size=(T, S)).astype("float32")

# Arguments of `attend`, and the same for the oracle.
CASES = {
    "plain": ({}, {}),
    "mask": ({"mask": random_mask()}, {"mask": random_mask()}),
    "mask of keys": (
        {"mask": random_mask()[:, :1, :1]},
        {"mask": np.broadcast_to(random_mask()[:, :1, :1], (B, N, T, S))},
    ),
    "bias": ({"bias": RANDOM_BIAS}, {"bias": RANDOM_BIAS}),
    "bias of positions": (
        {"bias": RANDOM_BIAS[:1, :1]},
        {"bias": np.broadcast_to(RANDOM_BIAS[:1, :1], (B, N, T, S))},
    ),
    "scale": ({"scale": 0.3}, {"scale": 0.3}),
    # Shaw et al. (arXiv:1803.02155), equation 5: a vector for every pair of positions is added to the key.
    "score": (
        {"score": lambda q, k: ops.matmul(q, ops.swapaxes(k, -1, -2)) + ops.einsum("bnth,tsh->bnts", q, RELATIVE)},
        {"score": lambda q, k, t, s: float(q @ (k + RELATIVE[t, s]))},
    ),
    # Equation 3: another is added to the value.
    "value term": (
        {"value_term": lambda w: ops.einsum("bnts,tsh->bnth", w, RELATIVE_VALUES)},
        {"seen": lambda v, t, s: v + RELATIVE_VALUES[t, s]},
    ),
    "rescale": ({"rescale": lambda x: x * FACTORS}, {"rescale": lambda x, t, s: x * FACTORS[t, s]}),
    "everything": (
        {
            "mask": random_mask(),
            "bias": RANDOM_BIAS,
            "scale": 0.7,
            "score": lambda q, k: ops.matmul(q, ops.swapaxes(k, -1, -2)) + ops.einsum("bnth,tsh->bnts", q, RELATIVE),
            "rescale": lambda x: x * FACTORS,
            "value_term": lambda w: ops.einsum("bnts,tsh->bnth", w, RELATIVE_VALUES),
        },
        {
            "mask": random_mask(),
            "bias": RANDOM_BIAS,
            "scale": 0.7,
            "score": lambda q, k, t, s: float(q @ (k + RELATIVE[t, s])),
            "rescale": lambda x, t, s: x * FACTORS[t, s],
            "seen": lambda v, t, s: v + RELATIVE_VALUES[t, s],
        },
    ),
}
CASES = [pytest.param(*case, id=name) for name, case in CASES.items()]


@pytest.mark.parametrize("arguments, oracle_arguments", CASES)
def test_outputs_and_logits_are_those_of_the_equation(arguments, oracle_arguments):
    query, key, value = tensors()
    output, logits = to_numpy(attend(query, key, value, return_scores=True, **arguments))
    expected_output, expected_logits = attention(query, key, value, **oracle_arguments)
    assert_close(output, expected_output, 1e-6)
    assert_close(logits, expected_logits, 1e-6)
    np.testing.assert_array_equal(to_numpy(attend(query, key, value, **arguments)), output)


@pytest.mark.parametrize("arguments, oracle_arguments", CASES)
def test_gradients_are_those_of_the_equation(arguments, oracle_arguments):
    arrays = tensors()
    cotangent = np.random.default_rng(5).normal(size=(B, T, N, H)).astype("float32")
    actual = gradients_with_respect_to(lambda *qkv: ops.sum(attend(*qkv, **arguments) * cotangent), *arrays)
    for index, name in enumerate(("query", "key", "value")):

        def loss(array, index=index):
            changed = [array if i == index else other.astype("float64") for i, other in enumerate(arrays)]
            return float((attention(*changed, **oracle_arguments)[0] * cotangent).sum())

        assert_close(actual[index], finite_differences(loss, arrays[index]), 1e-5, name)


def test_the_gradient_of_a_bias_is_that_of_the_equation():
    arrays = tensors()
    cotangent = np.random.default_rng(5).normal(size=(B, T, N, H)).astype("float32")
    (actual,) = gradients_with_respect_to(
        lambda bias: ops.sum(attend(*map(ops.convert_to_tensor, arrays), bias=bias) * cotangent), RANDOM_BIAS
    )
    expected = finite_differences(lambda bias: float((attention(*arrays, bias=bias)[0] * cotangent).sum()), RANDOM_BIAS)
    assert_close(actual, expected, 1e-5)


def test_masked_keys_have_no_influence_at_all():
    query, key, value = tensors()
    mask = random_mask()[:, :1, :1]
    hidden = ~mask[:, 0, 0]
    changed = [np.where(hidden[:, :, None, None], array + 100, array) for array in (key, value)]
    np.testing.assert_array_equal(
        to_numpy(attend(query, *changed, mask=mask)), to_numpy(attend(query, key, value, mask=mask))
    )


def test_a_query_that_may_attend_to_nothing_gets_the_mean_of_the_values():
    query, key, value = tensors()
    output = to_numpy(attend(query, key, value, mask=np.zeros((B, 1, 1, S), bool)))
    expected = np.broadcast_to(value.mean(axis=1, keepdims=True), output.shape)
    assert_close(output, expected, 1e-6)


def test_huge_logits_stay_finite():
    query, key, value = tensors()
    output = to_numpy(attend(query * 1e4, key * 1e4, value, mask=random_mask()))
    assert np.isfinite(output).all()


def test_the_softmax_is_computed_in_float32_for_bfloat16_inputs():
    # At 256 the neighbours of a bfloat16 number are 2 away: the three logits would be one.
    bias = np.array([256.0, 256.5, 257.0], "float32")
    query = ops.zeros((1, 1, 1, 3), "bfloat16")
    value = ops.cast(np.eye(3)[None, :, None], "bfloat16")  # weights come out as they are
    output, logits = attend(query, ops.zeros((1, 3, 1, 3), "bfloat16"), value, bias=bias, return_scores=True)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    expected = np.exp(bias - 257) / np.exp(bias - 257).sum()
    np.testing.assert_allclose(to_numpy(output)[0, 0, 0], expected, rtol=2**-8)


def test_dropout_is_applied_to_the_weights():
    query, key, value = tensors()
    seen = []

    def halve(weights):
        seen.append(to_numpy(weights))
        return weights * 0.5

    halved = attend(query, key, value, mask=random_mask(), dropout=halve)
    (weights,) = seen
    # The term on the side of the values gets what is left of the weights.
    attend(query, key, value, mask=random_mask(), dropout=halve, value_term=lambda w: seen.append(to_numpy(w)) or 0.0)
    assert_close(seen[2], 0.5 * weights, 1e-6)
    assert_close(weights.sum(axis=-1), np.ones((B, N, T)), 1e-6)
    assert not weights[~random_mask()].any()
    assert_close(to_numpy(halved), 0.5 * to_numpy(attend(query, key, value, mask=random_mask())), 1e-6)


def test_causal_attention_does_not_see_the_future():
    length = 5
    query = np.random.default_rng(6).normal(size=(B, length, N, H)).astype("float32")
    mask = causal(length) & padding(np.array([[True] * 5, [True] * 3 + [False] * 2]))
    before = to_numpy(attend(query, query, query, mask=mask))
    for position in range(1, length):
        changed = query.copy()
        changed[:, position:] += 3
        after = to_numpy(attend(changed, changed, changed, mask=mask))
        np.testing.assert_array_equal(after[:, :position], before[:, :position])
        assert (after[:, position] != before[:, position]).any()
