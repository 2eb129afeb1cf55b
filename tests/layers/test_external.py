"""External attention against equations 5 and 6 of arXiv:2105.02358."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_dense_oracle, holed_rows
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import ExternalAttention
from tfmodels.models import External
from tfmodels.ops import double_normalised


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def oracle(weights, x, is_real):
    """A softmax over the real tokens, then a division by the sum over the memory: equation 6, in that order."""
    query = x @ weights["query/kernel"] + weights["query/bias"]
    joined = np.zeros_like(query)
    for row, real in enumerate(is_real):
        for part in (slice(0, 3), slice(3, 6)):
            weight = np.exp(query[row, real, part] @ weights["memory_keys"].T)  # [T, M]
            weight = weight / weight.sum(axis=0)
            weight = weight / weight.sum(axis=1, keepdims=True)
            joined[row, real, part] = weight @ weights["memory_values"]
    return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_outputs_and_gradients_are_those_of_the_equations(length):
    check_dense_oracle(ExternalAttention(2, 6, 5), oracle, vectors(3, length), holed_rows(3, length))


def test_it_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: ExternalAttention(2, 6, 5, dropout=0.1, dtype=dtype),
        lambda batch, length: {
            "query": vectors(batch, length),
            "attention_mask": holed_rows(batch, length)[:, None, None],
        },
        lambda batch, length: (batch, length, 6),
    )


def test_a_token_far_from_all_others_is_normalised_too():
    """Its softmax over the tokens is below the smallest float32: dividing by its sum would give 0 / 0."""
    logits = np.zeros((1, 3, 1, 2), "float32")
    logits[0, 1] = [-200.0, -201.0]
    weights = softmax(to_numpy(double_normalised(logits, np.ones((1, 3), bool))).astype("float64"))
    assert_close(weights[0, 1, 0], softmax(np.array([0.0, -1.0])), 1e-5)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="num_heads=4 does not divide hidden_dim=6"):
        ExternalAttention(4, 6)
    with pytest.raises(UserError, match="memory_size=0: external attention needs at least one place"):
        ExternalAttention(2, 6, 0)
    with pytest.raises(UserError, match="memory_size=0: external attention needs at least one place"):
        tiny("bert_tiny", attention=External(0))
    with pytest.raises(UserError, match="reads its memory, not another sequence"):
        ExternalAttention(2, 6)(vectors(1, 3), vectors(1, 3))
