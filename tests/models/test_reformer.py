"""Reformer and its kinds of attention in configurations; that it equals transformers' is shown in tests/parity."""

import json

import numpy as np
import pytest

import tfmodels
from tests.models.tiny import tiny
from tests.support import check_gradients_reach, random_sum, to_numpy, token_batch
from tests.support.backbones import check_all_padding, check_padding_invariance, check_round_trip
from tfmodels.errors import UserError
from tfmodels.layers import LocalSelfAttention, LSHSelfAttention
from tfmodels.models import (
    BinaryPartition,
    CausalLM,
    ETCAttention,
    FullAttention,
    LocalAttention,
    LSHAttention,
    ReformerConfig,
    ReformerLM,
    ReformerMaskedLM,
    Star,
    TextClassifier,
)

HASHING = {"chunk_length": 3, "num_buckets": 4, "num_hashes": 2}


def test_an_encoder_of_berts_kind_takes_hashing(tmp_path):
    kind = json.loads(json.dumps(LSHAttention(**HASHING).to_dict()))
    model = tiny("bert_tiny", attention=kind, num_layers=2)
    assert isinstance(model.parts["blocks"][0].attention, LSHSelfAttention)
    check_padding_invariance(model)
    check_all_padding(model)
    check_round_trip(model, tmp_path)


def test_an_encoder_of_berts_kind_takes_chunks():
    model = tiny("bert_tiny", attention=LocalAttention(chunk_length=3), num_layers=2)
    layer = model.parts["blocks"][1].attention
    assert isinstance(layer, LocalSelfAttention) and (layer.chunks_before, layer.chunks_after) == (1, 1)
    assert model.parts["blocks"][0].attention.use_bias
    causal = tiny("bert_tiny", attention=LocalAttention(chunk_length=3, causal=True))
    assert causal.parts["blocks"][0].attention.chunks_after == 0
    assert CausalLM(causal).output["logits"].shape[-1] == 51


def test_layers_take_the_kinds_in_turn_and_hash_differently():
    model = tiny("reformer_enwik8", num_layers=5)
    kinds = [type(block.attention) for block in model.parts["stack"].blocks]
    assert kinds == [LocalSelfAttention, LSHSelfAttention] * 2 + [LocalSelfAttention]
    first, second = (model.parts["stack"].blocks[index].attention.rotations for index in (1, 3))
    assert first.shape == second.shape and (first != second).all()


def test_buckets_are_about_two_a_chunk_where_none_are_given():
    def buckets(length, chunk):
        config = ReformerConfig(
            max_sequence_length=length, axial_shape=None, attention=LSHAttention(chunk_length=chunk, causal=True)
        )
        return config.attention[0].make(config, 0, "float32").num_buckets

    assert buckets(1024, 64) == 32
    assert buckets(1000, 64) == 32
    assert buckets(16, 64) == 2
    assert buckets(4096, 64) == (8, 16)
    assert buckets(65_536, 64) == (32, 64)


def test_a_configuration_survives_json():
    config = tfmodels.describe_model("reformer_enwik8")[1].config
    values = json.loads(json.dumps(config.to_dict()))
    assert ReformerConfig.from_dict(values) == config
    assert [kind["kind"] for kind in values["attention"]] == ["LocalAttention"] * 2 + ["LSHAttention", "LocalAttention"]


def test_the_language_model_has_an_output_layer_of_its_own(tmp_path):
    model = ReformerLM(tiny("reformer_enwik8", num_layers=2))
    assert model.head.logits.kernel.shape == (2 * 14, 51)
    outputs = model(token_batch([5, 7]))
    assert outputs["logits"].shape == (2, 7, 51)
    check_round_trip(model, tmp_path)
    check_gradients_reach(lambda: random_sum(model(token_batch([9, 4]))), model.trainable_variables)


def test_neighbours_leak_nothing_of_the_future():
    model = ReformerLM(tiny("reformer_enwik8", attention=LocalAttention(chunk_length=4, causal=True)))
    # Row t + 1 is row 0 with another token at t.
    batch = {name: np.repeat(values, 14, axis=0) for name, values in token_batch([13]).items()}
    for position in range(13):
        batch["token_ids"][position + 1, position] = batch["token_ids"][0, position] % 50 + 1
    before, *rows = to_numpy(model(batch)["logits"])
    for position, after in enumerate(rows):
        np.testing.assert_allclose(after[:position], before[:position], atol=1e-6)
        assert np.abs(after[position] - before[position]).max() > 1e-6


def test_a_reformer_reads_both_ways_where_its_kinds_do():
    model = tiny("reformer_enwik8", attention=[LSHAttention(**HASHING)])
    assert not model.config.is_causal
    assert ReformerMaskedLM(model).output["logits"].shape == (None, None, 51)
    pooled = to_numpy(model(token_batch([9, 4])))
    np.testing.assert_array_equal(pooled["pooled_output"], pooled["sequence_output"][:, 0])
    with pytest.raises(UserError, match="sees the tokens that a language model is to tell"):
        ReformerLM(model)


def test_a_causal_reformer_classifies_by_the_last_token():
    model = TextClassifier(tiny("reformer_enwik8"), 3)
    assert type(model.head.pooling).__name__ == "DenseLastToken"
    assert model(token_batch([9, 4]))["logits"].shape == (2, 3)


def test_groups_of_layers_are_the_blocks():
    model = tiny("reformer_enwik8")
    groups = model.layer_groups()
    assert len(groups) == model.config.num_layers + 2
    weights = [variable.path for group in groups for layer in group for variable in layer.trainable_variables]
    assert sorted(weights) == sorted(variable.path for variable in model.trainable_variables)


def test_the_length_has_a_bound():
    assert tiny("reformer_enwik8").max_length == 16
    assert tiny("reformer_enwik8", axial_shape=None, axial_dims=None).max_length == 16
    assert tiny("bert_tiny", attention=LSHAttention(**HASHING)).max_length == 16


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"axial_shape": (3, 5)}, "15 positions apart, fewer than max_sequence_length=16"),
        ({"attention": []}, "not one or more kinds"),
        ({"attention": ["lsh"]}, "not one or more kinds"),
        ({"attention": [LocalAttention(causal=True), LSHAttention()]}, "the same `causal`"),
        ({"attention": [{"kind": "LSHAttention", "num_buckets": 7}]}, "even and at least 2"),
        ({"attention": [{"kind": "LSHAttention", "num_hashes": 0}]}, "at least one round"),
        ({"attention": [{"kind": "LocalAttention", "chunk_length": 0}]}, "at least one token"),
        ({"attention": [{"kind": "LSHAttention", "rounds": 2}]}, "no field 'rounds'"),
        ({"feed_forward_chunk": 0}, "at least one token"),
    ],
)
def test_bad_configurations_are_told_in_a_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny("reformer_enwik8", **changes)


@pytest.mark.parametrize("kind", [BinaryPartition(), ETCAttention(), Star()])
def test_a_reformer_has_no_nodes_beside_its_tokens(kind):
    with pytest.raises(UserError, match=f"{type(kind).__name__} works on more than the tokens"):
        tiny("reformer_enwik8", head_dim=None, attention=[LocalAttention(), kind])


def test_relative_positions_are_not_for_hashing():
    with pytest.raises(UserError, match="does not know positions 'relative_key'"):
        tiny("bert_tiny", attention=LSHAttention(**HASHING), positions="relative_key")


def test_full_attention_may_stand_in_a_reformer():
    model = tiny("reformer_enwik8", attention=[FullAttention(causal=True)], head_dim=None)
    assert to_numpy(model(token_batch([9, 4])))["sequence_output"].shape == (2, 9, 28)
