"""The Set Transformer's backbone: order, several seeds, kinds of attention, and what it refuses."""

import json

import numpy as np
import pytest

import tfmodels
from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.support.backbones import check_backbone
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import BertConfig, InducedSetAttention, SetTransformerConfig, TextClassifier

ENCODERS = {
    "induced": {},
    "full attention, three seeds": {"attention": None, "num_seeds": 3},
    "more points than tokens, wide networks": {"attention": InducedSetAttention(19), "intermediate_dim": 11},
}


def model(**overrides):
    backbone = tiny("set_transformer", **overrides)
    random = np.random.default_rng(0)
    for variable in backbone.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.4, variable.shape))
    return backbone


@pytest.mark.parametrize("overrides", ENCODERS.values(), ids=ENCODERS)
def test_tokens_may_come_in_any_order(overrides):
    backbone, batch = model(**overrides), token_batch([7, 4])
    order = np.array([6, 1, 3, 0, 5, 2, 4])
    plain = to_numpy(backbone(batch))
    turned = to_numpy(backbone({name: values[:, order] for name, values in batch.items()}))
    real = batch["padding_mask"][:, order]
    assert_close(turned["sequence_output"][real], plain["sequence_output"][:, order][real], 1e-5)
    assert_close(turned["pooled_output"], plain["pooled_output"], 1e-5)
    # It does see them: another token makes another set.
    batch["token_ids"][:, 0] = 50
    assert (np.abs(to_numpy(backbone(batch))["pooled_output"] - plain["pooled_output"]).max(axis=-1) > 1e-3).all()


def test_the_contract_holds_for_full_attention_and_several_seeds(tmp_path):
    check_backbone(
        lambda dtype=None: tiny("set_transformer", dtype, **ENCODERS["full attention, three seeds"]), tmp_path
    )


def test_an_empty_set_has_one_answer():
    backbone = model()
    long, short = (to_numpy(backbone(token_batch([3, 0], length=length)))["pooled_output"] for length in (9, 3))
    assert_close(long, short, 1e-5)
    none = {name: values[:, :0] for name, values in token_batch([3, 0]).items()}
    assert_close(to_numpy(backbone(none))["pooled_output"], np.stack([long[1]] * 2), 1e-5)


def test_layers_are_told_from_the_bottom_to_the_top():
    backbone = tiny("set_transformer", num_decoder_layers=2)
    groups = backbone.layer_groups()
    assert len(groups) == backbone.config.num_layers + 2
    assert [layer.name for layer in groups[-1]] == ["pooler", "decoder_0", "decoder_1"]
    assert [layer.name for layer in groups[0]] == ["embeddings"]
    assert TextClassifier(backbone, 3)(token_batch([4, 2]))["logits"].shape == (2, 3)


@pytest.mark.parametrize("name", ["bert_tiny", "albert_base", "roberta_base"])
def test_other_encoders_take_induced_points(name):
    backbone = tiny(name, attention=json.loads(json.dumps({"kind": "InducedSetAttention", "num_points": 5})))
    assert backbone.parts["blocks"][0].attention.num_points == 5
    assert backbone.attention_heads == ()
    assert np.isfinite(to_numpy(backbone(token_batch([5, 0, 2])))["pooled_output"]).all()


def test_a_configuration_goes_through_json():
    config = SetTransformerConfig(num_seeds=2, attention=InducedSetAttention(7))
    assert SetTransformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_what_asks_nothing_is_refused():
    with pytest.raises(UserError, match="cannot be summed up by 0 seeds: give num_seeds at least 1"):
        SetTransformerConfig(num_seeds=0)
    with pytest.raises(UserError, match="InducedSetAttention needs at least one point, not 0"):
        BertConfig(attention=InducedSetAttention(0))
    with pytest.raises(UserError, match="InducedSetAttention does not know positions 'alibi'"):
        tfmodels.create_model("set_transformer", positions="alibi")
