"""Every kind of attention inside BERT, at a tiny size: what all of them keep to. What each is, its own tests say."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import kinds
from tests.models.tiny import tiny, tiny_config
from tests.support import to_numpy, token_batch
from tests.support.backbones import (
    check_all_padding,
    check_contract,
    check_intermediates,
    check_padding_invariance,
    check_round_trip,
)
from tests.support.gradients import largest_tensor
from tests.support.tensors import assert_close
from tfmodels import models
from tfmodels.errors import UserError
from tfmodels.models import AttentionKind, CausalLM, Guide

# A kind -> tiny settings of it: blocks and windows are shorter than the rows, and divide none. A new kind adds a line.
TINY = {
    "BigBirdAttention": [{"block_size": 2, "num_random_blocks": 1}],
    "BinaryPartition": [{"density": 2, "num_levels": 3}, {"density": 1, "num_levels": 2, "causal": True}],
    "ETCAttention": [{"radius": 2, "tokens_per_global": 3, "max_distance": 2}],
    "External": [{"memory_size": 5}],
    "FeedForwardOnly": [{"units": 11}],
    "FullAttention": [{}, {"causal": True}],
    "InducedSetAttention": [{"num_points": 3}],
    "LSHAttention": [{"chunk_length": 3, "num_buckets": (2, 2)}, {"chunk_length": 3, "num_buckets": 4, "causal": True}],
    "Linformer": [{"projected_length": 5}, {"projected_length": 5, "sharing": "layerwise"}],
    "LocalAttention": [{"chunk_length": 3}, {"chunk_length": 3, "causal": True}],
    "LowRank": [{"rank": 3, "window": 2}],
    "MultiScale": [{"scales": (1, 1 / 4)}, {"scales": (1, 3), "causal": True}],
    "Routing": [{"num_clusters": 3, "window": 2}, {"num_clusters": 3, "cluster_size": 3, "window": 2, "causal": True}],
    "Star": [{}],
}
KINDS = [
    pytest.param(name, settings, id=f"{name}_{index}")
    for name, variants in TINY.items()
    for index, settings in enumerate(variants)
]
FIRST = [case for case in KINDS if case.id.endswith("_0")]
CAUSAL = [case for case in KINDS if getattr(models, case.values[0])(**case.values[1]).is_causal]


def kind_of(name, settings):
    return AttentionKind.kinds()[name](**settings)


def backbone_of(name, settings, **overrides):
    return tiny("bert_tiny", attention=kind_of(name, settings), **{"num_layers": 1, **overrides})


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([value + random.normal(size=value.shape) * 0.4 for value in model.get_weights()])
    return model


def test_every_kind_is_swept_and_exported_by_name():
    assert set(TINY) == set(AttentionKind.kinds())
    for name, kind in AttentionKind.kinds().items():
        assert getattr(models, name) is kind and name in models.__all__


@pytest.mark.parametrize("name", AttentionKind.kinds())
def test_every_kind_says_what_it_is_chosen_by(name):
    guide = AttentionKind.kinds()[name].__dict__["guide"]  # its own, not that of a kind it derives from
    assert isinstance(guide, Guide) and all(guide)
    assert "arXiv:" in guide.paper and "T" in guide.time and "T" in guide.memory and 1 <= guide.power <= 2
    assert guide.advice.endswith(".")


def test_the_page_on_attention_tells_what_the_kinds_tell():
    page = (Path(__file__).parents[2] / "docs" / "attention.md").read_text(encoding="utf-8")
    page = page.replace("<sup>", "^").replace("</sup>", "")
    for name, kind in AttentionKind.kinds().items():
        guide = kind.guide
        assert f"| `{name}` | {guide.paper} | {guide.time} | {guide.memory} | {guide.sees} |" in page


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the registry's sweep shows it, with a preset of each")
@pytest.mark.parametrize(("name", "settings"), FIRST)
def test_every_kind_keeps_to_the_contract_inside_bert(name, settings, tmp_path):
    backbone = with_random_weights(backbone_of(name, settings))
    check_contract(backbone)
    check_padding_invariance(backbone)
    check_all_padding(backbone)
    check_intermediates(backbone)
    check_round_trip(backbone, tmp_path)


# The exports of the first ones, in tests/serving, show it on TensorFlow.
@pytest.mark.parametrize(
    ("name", "settings"),
    [case for case in KINDS if case not in FIRST or keras.backend.backend() != "tensorflow"],
)
def test_every_kind_is_the_same_in_a_graph_of_any_length(name, settings):
    backbone = with_random_weights(backbone_of(name, settings))
    for lengths in ([13, 2], [3]):  # From the second on Keras's graph is one of any length.
        batch = token_batch(lengths)
        expected, actual = to_numpy(backbone(batch)), backbone.predict_on_batch(batch)
        for output, value in expected.items():
            assert_close(actual[output], value, 1e-4, output)


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_every_kind_makes_nothing_of_no_tokens(name, settings):
    kind = kind_of(name, settings)
    layer = kind.make(tiny_config("bert_tiny", attention=kind), 0, "float32")
    for training in (False, True):
        output = layer(np.zeros((3, 0, 14)), attention_mask=np.zeros((3, 1, 1, 0), bool), training=training)
        assert output.shape == (3, 0, 14)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_twice_the_length_makes_the_largest_tensor_twice_as_large(name):
    sizes = []
    for length in (4096, 8192):
        config = tiny_config(
            "bert_tiny",
            num_heads=4,
            hidden_dim=8,
            max_sequence_length=length,
            attention=kinds.kind_of(name, length),
        )
        layer = config.attention.make(config, 0, "float32")
        layer.build((1, length, 8))
        sizes.append(largest_tensor(layer, np.zeros((1, length, 8), "float32")))
    growth = sizes[1] / sizes[0]
    assert (growth == 4) if name == "FullAttention" else (growth <= 2.2), sizes


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_every_kind_survives_json(name, settings):
    config = tiny_config("bert_tiny", attention=kind_of(name, settings))
    values = json.loads(json.dumps(config.to_dict()))
    assert values["attention"]["kind"] == name
    assert type(config).from_dict(values) == config
    assert tiny_config("bert_tiny", attention=values["attention"]) == config
    with pytest.raises(UserError, match="has no field 'windwo'"):
        AttentionKind.from_dict({"kind": name, "windwo": 3})


@pytest.mark.parametrize("name", AttentionKind.kinds())
def test_every_kind_refuses_settings_of_another_type(name):
    for field in dataclasses.fields(AttentionKind.kinds()[name]):
        plain = field.type.removesuffix(" | None")
        for value in {"int": ("64", 2.5, True), "float": ("0.5",), "bool": ("no", 1), "str": (1,)}.get(plain, ()):
            with pytest.raises(UserError, match=f"{field.name}={value!r} is no "):
                AttentionKind.from_dict({"kind": name, field.name: value})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "LSHAttention", "num_buckets": 64.0}, "num_buckets=64.0"),
        ({"kind": "LSHAttention", "num_buckets": "64"}, "num_buckets='64'"),
        ({"kind": "LSHAttention", "num_buckets": [4, 2.0]}, r"num_buckets=\(4, 2.0\)"),
        ({"kind": "LSHAttention", "seed": -1}, "seed=-1"),
        ({"kind": "MultiScale", "scales": 4}, "scales=4"),
        ({"kind": "MultiScale", "scales": "1"}, "scales='1'"),
        ({"kind": "MultiScale", "scales": [1, 3], "heads": 2}, "heads=2"),
        ({"kind": "MultiScale", "scales": [1, 3], "heads": [0.5, 1.5]}, r"heads\[0\]=0.5 is no whole number"),
    ],
)
def test_several_numbers_are_several_and_of_their_type(values, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny_config("bert_tiny", attention=values)


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_every_kind_refuses_the_masks_and_positions_that_it_does_not_know(name, settings):
    kind = kind_of(name, settings)
    if not kind.takes_masks:
        with pytest.raises(UserError, match="takes no attention mask"):
            backbone_of(name, settings).with_attention_mask()
    for positions in ("relative_key", "sinusoid_key_value"):
        if kind.takes_positions:
            outputs = to_numpy(backbone_of(name, settings, positions=positions)(token_batch([5])))
            assert np.isfinite(outputs["sequence_output"]).all()
        else:
            with pytest.raises(UserError, match=f"{name} does not know positions '{positions}'"):
                backbone_of(name, settings, positions=positions)


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_every_kind_reads_another_sequence_or_refuses_it(name, settings):
    kind, random = kind_of(name, settings), np.random.default_rng(0)
    layer = kind.make(tiny_config("bert_tiny", attention=kind), 0, "float32")
    query, value = random.normal(size=(2, 2, 7, 14)).astype("float32")
    if kind.is_causal or name not in ("FeedForwardOnly", "FullAttention", "InducedSetAttention", "Linformer"):
        with pytest.raises(UserError, match="leave `value` out"):
            layer(query, value)
    else:
        read = to_numpy(layer(query, value))
        assert np.abs(read - to_numpy(layer(query))).max(axis=-1).min() > 1e-6


@pytest.mark.parametrize(("name", "settings"), CAUSAL)
def test_under_a_causal_kind_no_token_hears_of_a_later_one(name, settings):
    length = 13
    if name == "LSHAttention":
        # Which tokens share a chunk follows from how all of them sort, as in the paper: one chunk shows the mask alone.
        settings = {**settings, "chunk_length": length}
    model = CausalLM(with_random_weights(backbone_of(name, settings, num_layers=2)))
    batch = token_batch([length])
    # Row p has other tokens from p on; the last row is the batch as it was.
    repeated = {key: np.repeat(value, length + 1, axis=0) for key, value in batch.items()}
    changed = np.arange(length)[None] >= np.arange(length + 1)[:, None]
    repeated["token_ids"] = np.where(changed, 1 + (repeated["token_ids"] + 6) % 49, repeated["token_ids"])
    logits = to_numpy(model(repeated))["logits"]
    for place in range(length):
        assert_close(logits[place, :place], logits[-1, :place], 1e-5, f"before {place}")
        assert np.abs(logits[place, place:] - logits[-1, place:]).max(axis=-1).min() > 1e-4, "a token hears of itself"
    assert backbone_of(name, settings).config.is_causal


@pytest.mark.parametrize(("name", "settings"), [case for case in KINDS if case not in CAUSAL])
def test_a_kind_that_sees_what_follows_makes_no_language_model(name, settings):
    with pytest.raises(UserError, match="give it causal attention"):
        CausalLM(backbone_of(name, settings))


def test_a_kind_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no kind of attention 'FulAttention': did you mean 'FullAttention'"):
        tiny(attention={"kind": "FulAttention"})
    with pytest.raises(UserError, match="is no kind of attention, such as FullAttention"):
        tiny(attention="FullAttention")
    assert keras.saving.get_registered_object("tfmodels>BertBackbone") is models.BertBackbone
