"""Configurations refuse what they do not know, never change, and go through JSON."""

import dataclasses
import json

import pytest

from tfmodels.errors import UserError
from tfmodels.models import BertConfig


def test_a_configuration_goes_through_json():
    config = BertConfig(num_layers=3, embedding_dim=64)
    assert BertConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "key, nearest", [("num_layer", "num_layers"), ("drop_out", "dropout"), ("vocab_size", "vocabulary_size")]
)
def test_an_unknown_key_is_answered_with_the_nearest_field(key, nearest):
    with pytest.raises(UserError, match=f"BertConfig has no field '{key}': did you mean '{nearest}'"):
        BertConfig.from_dict({key: 1})


def test_a_key_like_no_other_is_answered_with_all_fields():
    with pytest.raises(UserError, match="choose one of activation, attention, attention_dropout, dropout"):
        BertConfig.from_dict({"xyzzy": 1})


def test_replace_makes_a_copy():
    config = BertConfig()
    assert config.replace(num_layers=1).num_layers == 1 and config.num_layers == 12
    with pytest.raises(UserError, match="did you mean 'num_heads'"):
        config.replace(num_head=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_layers = 3
