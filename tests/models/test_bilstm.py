"""The BiLSTM beside its equations in NumPy, on rows of different lengths; its size as the paper counts it."""

import warnings

import keras
import numpy as np
import pytest

import tfmodels
from tests.models.tiny import tiny
from tests.support import check_task, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import BilstmConfig, TextClassifier, TokenClassifier

LENGTHS = [6, 1, 9]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, vectors):
    """Hochreiter and Schmidhuber's cell with forget gates (Gers et al., 2000), one token after the other.

    Args:
        weights: The input's, the state's and the bias, float[E, 4H], float[H, 4H] and float[4H], for the input gate,
            the forget gate, the new content and the output gate.
        vectors: float[T, E].

    Returns:
        float[T, H].
    """
    kernel, recurrent, bias = weights
    state = cell = np.zeros(len(recurrent))
    states = []
    for vector in vectors:
        i, f, g, o = np.split(vector @ kernel + state @ recurrent + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def randomised(model):
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0, 0.4, variable.shape))
    return model


def test_both_directions_are_the_papers_cell_on_real_tokens_alone():
    backbone = randomised(tiny("bilstm"))
    table, *weights = [np.asarray(value, "float64") for value in backbone.get_weights()]
    batch = token_batch(LENGTHS, length=12)
    outputs = to_numpy(backbone(batch))
    for row, length in enumerate(LENGTHS):
        states = table[batch["token_ids"][row, :length]]
        for layer in range(backbone.config.num_layers):
            ahead, back = weights[6 * layer : 6 * layer + 3], weights[6 * layer + 3 : 6 * layer + 6]
            forward, backward = lstm(ahead, states), lstm(back, states[::-1])[::-1]
            states = np.concatenate([forward, backward], axis=1)
        assert_close(outputs["sequence_output"][row, :length], states, 1e-5)
        assert_close(outputs["pooled_output"][row], np.concatenate([forward[-1], backward[0]]), 1e-5)


def test_the_published_size_is_that_of_the_lstms_and_the_classifier():
    # arXiv:1903.12136, table 4: 0.96 millions.
    with keras.StatelessScope(initialize_variables=False):
        classifier = TextClassifier(tfmodels.create_model("bilstm"), 2)
        count = classifier.count_params() - 30_522 * 600
    keras.utils.clear_session()
    assert count == 2 * 4 * (600 * 150 + 150 * 150 + 150) + (300 * 200 + 200) + (200 * 2 + 2) == 961_802


def test_a_classifier_keeps_to_the_contract_of_tasks(tmp_path):
    check_task(
        lambda dtype=None: TextClassifier(tiny("bilstm", dtype), 3, name="classifier"),
        tmp_path,
        lambda batch, length: {"logits": (batch, 3)},
    )


def test_a_token_classifier_keeps_to_the_contract_of_tasks(tmp_path):
    check_task(
        lambda dtype=None: TokenClassifier(tiny("bilstm", dtype), 3, name="classifier"),
        tmp_path,
        lambda batch, length: {"logits": (batch, length, 3)},
    )


def test_no_mask_is_left_on_what_comes_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextClassifier(tiny("bilstm"), 2)(token_batch([3, 5]))


def test_every_state_has_its_own_width_and_nothing_attends():
    backbone = tiny("bilstm")
    assert backbone.hidden_dims == (9, 14, 14) and backbone.attention_heads == ()
    assert tiny("albert_base").hidden_dims == (14,) * 4 and tiny("albert_base").attention_heads == (2, 2, 2)


def test_an_odd_width_is_refused():
    with pytest.raises(UserError, match="hidden_dim=15 is odd"):
        BilstmConfig(hidden_dim=15)
