"""The feed-forward network over the tokens (arXiv:2105.02723) against two matrix products of a full row."""

import numpy as np
import pytest

from tests.models.tiny import tiny, tiny_config
from tests.support import check_layer, to_numpy
from tests.support.attention_oracles import check_dense_oracle, holed_rows, with_random_weights
from tests.support.oracles import gelu
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import LengthFeedForward
from tfmodels.models import FeedForwardOnly

LONGEST = 9


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def oracle(weights, x, is_real):
    """The network of a row of the full length: zeros at padding and beyond the end, which are not looked at."""
    full = np.zeros((len(x), LONGEST, x.shape[2]))
    full[:, : x.shape[1]] = np.where(is_real[..., None], x, 0.0)
    features = full.transpose(0, 2, 1)
    hidden = gelu(features @ weights["read_kernel"] + weights["read_bias"])
    written = hidden @ weights["write_kernel"] + weights["write_bias"]
    return written.transpose(0, 2, 1)[:, : x.shape[1]]


@pytest.mark.parametrize("length", [LONGEST, 7, 1])
def test_outputs_and_gradients_are_those_of_the_network(length):
    check_dense_oracle(LengthFeedForward(LONGEST, 5), oracle, vectors(3, length), holed_rows(3, length))


def test_it_keeps_to_the_layer_contract():
    check_layer(
        lambda dtype=None: LengthFeedForward(LONGEST, 5, dropout=0.1, dtype=dtype),
        lambda batch, length: {
            "query": vectors(batch, length),
            "value": vectors(batch, length + 2, seed=1),
            "attention_mask": holed_rows(batch, length + 2)[:, None, None],
        },
        lambda batch, length: (batch, length, 6),
    )


def test_dropout_acts_in_training_only():
    layer, query = LengthFeedForward(LONGEST, 5, dropout=0.5), vectors(2, 5)
    layer(query)
    with_random_weights(layer)
    still = to_numpy(layer(query, training=False))
    assert_close(still, to_numpy(layer(query)), 0)
    assert (to_numpy(layer(query, training=True)) != still).any()


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="10 tokens are more than the 9"):
        LengthFeedForward(LONGEST, 5)(vectors(1, 10))
    with pytest.raises(UserError, match="units=0: a feed-forward network needs at least one"):
        LengthFeedForward(LONGEST, 0)
    with pytest.raises(UserError, match="units=0: a feed-forward network needs at least one"):
        tiny("bert_tiny", attention=FeedForwardOnly(units=0))
    with pytest.raises(UserError, match="say how many, such as max_length=512"):
        tiny_config("bert_tiny", attention=FeedForwardOnly(), positions="none")
    assert tiny("bert_tiny", attention=FeedForwardOnly(max_length=7)).max_length == 7
