"""Kinds of attention as parts of a configuration, by the one kind that everybody knows."""

import json

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.support.backbones import check_backbone
from tests.support.tensors import assert_close, token_batch
from tfmodels.errors import UserError
from tfmodels.models import BertConfig, CausalLM, FullAttention, TextClassifier

CAUSAL = FullAttention(causal=True)


@pytest.mark.parametrize("name", ["bert_tiny", "albert_base", "electra_small", "roberta_base", "ernie2_base"])
def test_every_encoder_of_the_family_takes_a_kind(name):
    plain, given = tiny(name), tiny(name, attention=FullAttention())
    given.set_weights(plain.get_weights())
    batch = token_batch([6, 3])
    ours, theirs = to_numpy(given(batch)), to_numpy(plain(batch))
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)
    if name != "roberta_base":  # whose first position counts the padding before it
        assert_no_leak(tiny(name, attention=CAUSAL))


def assert_no_leak(backbone, length=7):
    """What stands after a token does not reach it."""
    batch = token_batch([length])
    before = to_numpy(backbone(batch))["sequence_output"][0]
    for place in range(length):
        changed = {name: values.copy() for name, values in batch.items()}
        changed["token_ids"][0, place] = (changed["token_ids"][0, place] + 1) % 50
        after = to_numpy(backbone(changed))["sequence_output"][0]
        assert_close(after[:place], before[:place], 1e-6)
        assert (after[place:] != before[place:]).any(axis=-1).all()


def test_an_encoder_whose_attention_is_causal_keeps_to_the_contract(tmp_path):
    check_backbone(lambda dtype=None: tiny(dtype=dtype, attention=CAUSAL), tmp_path)


def test_the_last_real_token_speaks_for_a_text_that_is_read_from_the_left():
    backbone = tiny(attention=CAUSAL)
    batch = token_batch([6, 3])
    before = to_numpy(backbone(batch))["pooled_output"]
    batch["token_ids"][0, 5] += 1
    after = to_numpy(backbone(batch))["pooled_output"]
    assert (before[0] != after[0]).any()
    np.testing.assert_array_equal(before[1], after[1])


def test_a_kind_goes_to_json_and_back():
    config = BertConfig(attention=CAUSAL)
    values = json.loads(json.dumps(config.to_dict()))
    assert values["attention"] == {"kind": "FullAttention", "causal": True}
    assert BertConfig.from_dict(values) == config
    assert config.replace(num_layers=3).attention == CAUSAL


def test_what_is_no_kind_is_refused_by_name():
    with pytest.raises(UserError, match="no kind of attention 'FulAttention': did you mean 'FullAttention'"):
        BertConfig(attention={"kind": "FulAttention"})
    with pytest.raises(UserError, match="FullAttention has no field 'casual': did you mean 'causal'"):
        BertConfig(attention={"kind": "FullAttention", "casual": True})
    with pytest.raises(UserError, match="attention='full' is no kind of attention"):
        BertConfig(attention="full")


def test_a_language_model_must_not_see_what_it_tells():
    with pytest.raises(UserError, match="sees the tokens that a language model is to tell"):
        CausalLM(tiny())
    model = CausalLM(tiny(attention=CAUSAL))
    assert to_numpy(model(token_batch([5])))["logits"].shape == (1, 5, 51)


def test_a_classifier_with_a_kind_is_restored_from_its_file(tmp_path):
    model = TextClassifier(tiny(attention=CAUSAL), 3)
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    assert twin.backbone.config.attention == CAUSAL
    batch = token_batch([6, 2])
    np.testing.assert_array_equal(to_numpy(twin(batch)["logits"]), to_numpy(model(batch)["logits"]))
