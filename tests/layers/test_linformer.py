"""Linformer's attention against equation 7 of arXiv:2006.04768, and what its projections keep to."""

import gc

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny, tiny_config
from tests.support import check_layer, to_numpy, token_batch
from tests.support.attention_oracles import check_dense_oracle, holed_rows, with_random_weights
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import LengthProjection, LinformerAttention, MultiHeadAttention
from tfmodels.models import Linformer


def vectors(batch, length, size=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def attention_of(maps, is_shared, dtype=None):
    key, value = (LengthProjection(9, 4, maps, dtype=dtype, name=f"{name}_projection") for name in ("key", "value"))
    return LinformerAttention(2, 6, key, None if is_shared else value, 0.0, dtype=dtype)


def oracle(weights, x, is_real):
    """softmax(q (E k)^T / sqrt(H)) (F v), head by head."""
    query, key, value = (x @ weights[f"{n}/kernel"] + weights[f"{n}/bias"] for n in ("query", "key", "value"))
    key_maps = weights["key_projection/maps"]
    value_maps = weights.get("value_projection/maps", key_maps)
    heads = []
    for head, part in enumerate((slice(0, 3), slice(3, 6))):
        e, f = (maps[head % len(maps), : x.shape[1]].T for maps in (key_maps, value_maps))  # [k, T]
        keys, values = e @ (key[..., part] * is_real[..., None]), f @ (value[..., part] * is_real[..., None])
        heads.append(softmax(query[..., part] @ keys.transpose(0, 2, 1) / np.sqrt(3)) @ values)
    joined = np.concatenate(heads, axis=-1)
    return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]


@pytest.mark.parametrize(("maps", "is_shared"), [(1, True), (1, False), (2, False)])
@pytest.mark.parametrize("length", [9, 7, 1])
def test_outputs_and_gradients_are_those_of_the_equation(maps, is_shared, length):
    check_dense_oracle(attention_of(maps, is_shared), oracle, vectors(3, length), holed_rows(3, length))


@pytest.mark.parametrize("is_shared", [True, False])
def test_it_keeps_to_the_layer_contract(is_shared):
    check_layer(
        lambda dtype=None: attention_of(2, is_shared, dtype),
        lambda batch, length: {
            "query": vectors(batch, length),
            "value": vectors(batch, length + 1, seed=1),
            "attention_mask": holed_rows(batch, length + 1)[:, None, None],
        },
        lambda batch, length: (batch, length, 6),
    )


def test_identity_maps_make_it_full_attention():
    query = vectors(2, 9)
    layer = LinformerAttention(2, 6, LengthProjection(9, 9, name="key_projection"))
    full = MultiHeadAttention(2, 6)
    full(query)
    with_random_weights(full)
    layer(query)
    weights = {variable.path.split("/", 1)[1]: value for variable, value in zip(full.weights, full.get_weights())}
    weights["key_projection/maps"] = np.eye(9)[None]
    layer.set_weights([weights[variable.path.split("/", 1)[1]] for variable in layer.weights])
    assert_close(to_numpy(layer(query)), to_numpy(full(query)), 1e-6)


def test_more_tokens_than_it_has_weights_for_are_refused():
    layer = attention_of(1, True)
    layer(vectors(1, 9))
    with pytest.raises(UserError, match="10 tokens are more than the 9 positions"):
        layer(vectors(1, 10))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"projected_length": 0}, "project to at least one row"),
        ({"sharing": "headwse"}, "no sharing 'headwse': did you mean 'headwise'"),
        ({"max_length": 0}, "a max_length of at least one token, not 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny("bert_tiny", attention=Linformer(**settings))


def test_without_positions_it_must_be_told_its_length():
    with pytest.raises(UserError, match="say how many, such as max_length=512"):
        tiny_config("bert_tiny", attention=Linformer(), positions="none")
    backbone = tiny("bert_tiny", attention=Linformer(max_length=7), positions="none")
    assert backbone.max_length == 7


@pytest.mark.parametrize(
    ("sharing", "shapes"),
    [
        ("none", 6 * [(2, 16, 5)]),
        ("headwise", 6 * [(1, 16, 5)]),
        ("key_value", 3 * [(1, 16, 5)]),
        ("layerwise", [(1, 16, 5)]),
    ],
)
def test_maps_are_shared_as_the_paper_says_and_stay_so_in_a_file(sharing, shapes, tmp_path):
    backbone = tiny("bert_tiny", attention=Linformer(projected_length=5, sharing=sharing))
    backbone.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    for model in (backbone, twin):
        maps = [variable for variable in model.trainable_variables if variable.name == "maps"]
        assert [tuple(variable.shape) for variable in maps] == shapes
    # What the file gave back is shared, not only equal: a change of it changes all layers.
    batch = token_batch([9, 4])
    for model in (backbone, twin):
        for variable in model.trainable_variables:
            if variable.name == "maps":
                variable.assign(variable * 3.0)
    np.testing.assert_array_equal(
        to_numpy(twin(batch))["sequence_output"], to_numpy(backbone(batch))["sequence_output"]
    )


def test_two_encoders_of_one_configuration_share_no_map():
    config = tiny_config("bert_tiny", attention=Linformer(projected_length=5, sharing="layerwise"))
    make = type(tiny("bert_tiny"))
    first, second = make(config), make(config)
    maps = [block.attention.key_projection for model in (first, second) for block in model.parts["blocks"]]
    assert len({id(part) for part in maps[:3]}) == len({id(part) for part in maps[3:]}) == 1
    assert maps[0] is not maps[3]
    # The configuration holds none of them.
    del first, second, maps
    gc.collect()
    assert config.attention._shared() is None
