"""Configurations refuse what they do not know, never change, and go through JSON."""

import dataclasses
import json

import numpy as np
import pytest

from tfmodels.errors import UserError
from tfmodels.models import BertConfig, BigBirdAttention, ErnieConfig, TransformerXLConfig


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


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("num_layers", "2", "is no whole number: give one, without a point"),
        ("num_layers", 2.0, "is no whole number: give one, without a point"),
        ("num_layers", True, "is no whole number: give one, without a point"),
        ("num_layers", None, "is no whole number: give one, without a point"),
        ("num_layers", 0, "is no whole number from 1"),
        ("vocabulary_size", 0, "is no whole number from 1"),
        ("hidden_dim", -8, "is no whole number from 1"),
        ("embedding_dim", 0, "is no whole number from 1"),
        ("num_segments", -1, "is no whole number from 0"),
        ("max_sequence_length", 0, "is no whole number from 1"),
        ("dropout", "0.1", "is no number: give one, without quotes"),
        ("dropout", 1, "give a fraction, at least 0 and below 1"),
        ("dropout", 1.5, "give a fraction, at least 0 and below 1"),
        ("attention_dropout", -0.1, "is no rate"),
        ("layer_norm_epsilon", float("nan"), "is no number that a computer has"),
        ("layer_norm_epsilon", 10**400, "is no number that a computer has"),
        ("layer_norm_epsilon", -1, "is no small number"),
        ("positions", 3, "is no text"),
    ],
)
def test_values_of_another_type_or_out_of_range_are_refused_however_they_come(field, value, sentence):
    for make in (lambda: BertConfig(**{field: value}), lambda: BertConfig().replace(**{field: value})):
        with pytest.raises(UserError, match=f"BertConfig.{field}=.*{sentence}"):
            make()


def test_values_of_the_same_kind_are_taken_and_go_to_json():
    config = BertConfig(num_layers=np.int64(2), dropout=0, layer_norm_epsilon=np.float32(1e-6), embedding_dim=None)
    attention = BigBirdAttention(block_size=np.int64(16))
    recurrent = [TransformerXLConfig(cutoffs=cutoffs) for cutoffs in ([10, 20], np.array([10, 20]), range(10, 30, 10))]
    for made in (config, config.replace(num_segments=0, attention=attention), ErnieConfig(num_tasks=0), *recurrent):
        assert type(made).from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert {made.cutoffs for made in recurrent} == {(10, 20)}
    assert TransformerXLConfig(norm_first=np.bool_(True)).norm_first is True
    with pytest.raises(UserError, match=r"TransformerXLConfig\.norm_first=1 is no truth value: give true or false"):
        TransformerXLConfig(norm_first=1)
    with pytest.raises(UserError, match=r"TransformerXLConfig\.cutoffs\[1\]='20' is no whole number"):
        TransformerXLConfig(cutoffs=[10, "20"])


def test_a_type_that_cannot_be_found_leaves_the_others_their_checks():
    @dataclasses.dataclass(frozen=True)
    class Larger(BertConfig):
        more: "Nowhere | None" = None  # noqa: F821

    assert Larger(more=3).more == 3
    with pytest.raises(UserError, match=r"Larger\.num_layers='two' is no whole number"):
        Larger(num_layers="two")
