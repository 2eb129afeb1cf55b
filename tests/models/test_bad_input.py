"""What encoders make of input that is out of bounds, stated for every family: nothing is refused where it would cost.

`Batches.check`, which `fit` asks, and `export_savedmodel` refuse such input before it gets here.
"""

import keras
import numpy as np
import pytest

import tfmodels
from tests.models.tiny import tiny, tiny_config
from tests.support import to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import TextClassifier, TransformerXLBackbone, XLNetBackbone

V = tiny_config("bert_base").vocabulary_size
FAMILIES = sorted({tfmodels.describe_model(name)[0]: name for name in reversed(tfmodels.list_models())}.values())


def with_token(id):
    batch = token_batch([5, 3])
    batch["token_ids"][0, 2] = id
    return batch


def states(model, batch):
    return to_numpy(model(batch))["sequence_output"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_token_beyond_the_vocabulary_is_refused_or_shows(name):
    model = tiny(name)
    if isinstance(model, TransformerXLBackbone):
        # Of no cluster: a vector of zeros, whatever the number.
        np.testing.assert_array_equal(states(model, with_token(V)), states(model, with_token(-V)))
    elif keras.backend.backend() == "jax":
        values = states(model, with_token(V + 1))
        assert np.isnan(values[0, 2]).all() and np.isfinite(values[1]).all()
    else:
        with pytest.raises(Exception, match=rf"{V + 1} is not in \[0, "):
            states(model, with_token(V + 1))


@pytest.mark.parametrize("name", FAMILIES)
def test_minus_one_is_the_last_row_of_the_table(name):
    model = tiny(name)
    # XLNet's table ends with the vector of what is to be predicted; Transformer-XL has a vector of zeros for both.
    last = V if isinstance(model, XLNetBackbone | TransformerXLBackbone) else V - 1
    np.testing.assert_array_equal(states(model, with_token(-1)), states(model, with_token(last)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_longer_than_the_positions_is_refused(name):
    model, batch = tiny(name), token_batch([17, 3])
    if model.max_length is None:
        assert np.isfinite(states(model, batch)).all()
        return
    assert model.max_length == 16
    assert np.isfinite(states(model, token_batch([16, 3]))).all()
    with pytest.raises(UserError, match="17 tokens are more than the 16 positions that there are: shorten the rows"):
        states(model, batch)


# What a backbone and tasks on it make of them, the registry's sweep shows (`check_no_tokens`).
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("bert_base", "with_intermediates"),
        ("bert_base", "with_attention_mask"),
        ("ernie_base", "with_task_ids"),
        ("transformer_xl_enwik8", "with_memory"),
        ("awd_lstm_penn_treebank", "with_memory"),
        ("xlnet_base", "two_streams"),
    ],
)
def test_models_of_other_inputs_or_outputs_refuse_rows_of_no_tokens(name, method):
    backbone = tiny(name, num_layers=1, **({"num_tasks": 2} if method == "with_task_ids" else {}))
    for model in (backbone, TextClassifier(backbone, 2)):
        if hasattr(model, method):
            model = getattr(model, method)()
            empty = keras.tree.map_structure(
                lambda tensor: np.zeros((2, *(size or 0 for size in tensor.shape[1:])), tensor.dtype), model.input
            )
            with pytest.raises(UserError, match="there are no tokens in these rows"):
                model(empty)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="every length is known there")
@pytest.mark.parametrize("name", ["bert_base", "roberta_base"])
def test_in_a_graph_of_unknown_length_tensorflow_refuses_it_in_its_own_words(name):
    model = tiny(name)
    for length in (5, 9):  # Keras traces a graph of any length for the second one.
        model.predict_on_batch(token_batch([length]))
    with pytest.raises(Exception, match=r"ncompatible shapes|is not in \[0, 18\)"):
        model.predict_on_batch(token_batch([17]))


def test_positions_that_count_tokens_read_rows_that_padding_fills():
    model = tiny("roberta_base")
    padded = states(model, token_batch([16, 3], length=20))
    assert_close(padded[:, :16], states(model, token_batch([16, 3])), 1e-5)


def test_rows_have_no_end_where_positions_are_relative_or_there_are_none():
    limits = {name: tiny(name).max_length for name in FAMILIES}
    endless = {"nezha_base", "transformer_xl_enwik8", "xlnet_base", "bilstm", "awd_lstm_penn_treebank"}
    endless |= {"bp_transformer", "da_transformer", "etc_base", "set_transformer"}
    assert limits == {name: None if name in endless else 16 for name in FAMILIES}
    assert tiny("bert_base", positions="relative_key").max_length is None
