"""ELECTRA, XLNet and Transformer-XL go out to Hugging Face checkpoints and come back; what those lack is refused."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfmodels
from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tfmodels.errors import UserError
from tfmodels.interop.views import Columns, Reshaped, Rows
from tfmodels.models import (
    AdaptiveLM,
    Backbone,
    MaskedLM,
    PermutationLM,
    ReplacedTokenDetector,
    SpanClassifier,
    TextClassifier,
    TokenClassifier,
)

MODELS = {
    "ELECTRA": ("electra_small", {}, lambda backbone: backbone),
    "ELECTRA, one width": ("electra_base", {"embedding_dim": None}, ReplacedTokenDetector),
    "ELECTRA, detector": ("electra_small", {}, ReplacedTokenDetector),
    "ELECTRA, generator": ("electra_small", {"activation": "relu"}, MaskedLM),
    "ELECTRA, texts": ("electra_small", {}, lambda backbone: TextClassifier(backbone, 3, dropout=0.3)),
    "ELECTRA, tokens": ("electra_small", {}, lambda backbone: TokenClassifier(backbone, 4)),
    "ELECTRA, spans": ("electra_small", {}, SpanClassifier),
    "XLNet": ("xlnet_base", {"memory_length": 7, "reuse_length": 3, "max_distance": 5}, lambda backbone: backbone),
    "XLNet, language model": ("xlnet_base", {}, PermutationLM),
    "XLNet, texts": ("xlnet_base", {"activation": "relu"}, lambda backbone: TextClassifier(backbone, 3, dropout=0.3)),
    "XLNet, tokens": ("xlnet_base", {}, lambda backbone: TokenClassifier(backbone, 4)),
    "XLNet, spans": ("xlnet_base", {"layer_norm_epsilon": 1e-4}, SpanClassifier),
    "Transformer-XL": ("transformer_xl_large", {"attention_span": 384}, lambda backbone: backbone),
    "Transformer-XL, language model": ("transformer_xl_large", {"norm_first": True, "max_distance": 9}, AdaptiveLM),
    "Transformer-XL, texts": (
        "transformer_xl_large",
        {"embedding_dim": None},
        lambda backbone: TextClassifier(backbone, 3, dropout=0.3),
    ),
    "Transformer-XL, one table": (
        "transformer_xl_large",
        {"shrinkage": 1, "tie_projections": False, "memory_length": 0},
        AdaptiveLM,
    ),
}


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.3 for weight in model.weights])
    return model


def normal(config):
    """What a checkpoint cannot tell apart: None and the size that it stands for."""
    values = config.to_dict()
    if "embedding_dim" in values:
        values["embedding_dim"] = values["embedding_dim"] or config.hidden_dim
    return values


@pytest.mark.parametrize("name, overrides, make", MODELS.values(), ids=MODELS)
def test_what_is_saved_is_loaded_again(name, overrides, make, tmp_path):
    model, batch = with_random_weights(make(tiny(name, **overrides))), token_batch([6, 3])
    twin = tfmodels.from_hf(tfmodels.to_hf(model, tmp_path))
    assert type(twin) is type(model)
    ours, theirs = (getattr(one, "backbone", one).config for one in (model, twin))
    assert type(ours) is type(theirs) and normal(ours) == normal(theirs)
    if isinstance(model, TextClassifier):
        assert twin.settings["dropout"] == 0.3
    expected, actual = to_numpy(model(batch)), to_numpy(twin(batch))
    assert set(expected) == set(actual)
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value)


@pytest.mark.parametrize(
    "name, make", [("electra_small", MaskedLM), ("xlnet_base", PermutationLM), ("transformer_xl_large", AdaptiveLM)]
)
def test_a_backbone_is_loaded_out_of_a_language_model(name, make, tmp_path):
    model = with_random_weights(make(tiny(name)))
    tfmodels.to_hf(model, tmp_path)
    backbone = tfmodels.from_hf(tmp_path, task=Backbone)
    assert type(backbone) is type(model.backbone)
    for ours, theirs in zip(backbone.get_weights(), model.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "name, make, tensor",
    [
        ("xlnet_base", PermutationLM, "transformer.layer.1.rel_attn.seg_embed"),
        ("xlnet_base", PermutationLM, "transformer.mask_emb"),
        ("xlnet_base", PermutationLM, "lm_loss.bias"),
        ("transformer_xl_large", AdaptiveLM, "transformer.layers.2.dec_attn.qkv_net.weight"),
        ("transformer_xl_large", AdaptiveLM, "transformer.word_emb.emb_projs.1"),
        ("transformer_xl_large", AdaptiveLM, "crit.cluster_weight"),
    ],
)
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(name, make, tensor, tmp_path):
    tfmodels.to_hf(make(tiny(name)), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, tensor: np.ones((3, 2), "float32")}, path)
    with pytest.raises(UserError, match=rf"'{re.escape(tensor)}' has shape \(3, 2\), but the model needs"):
        tfmodels.from_hf(tmp_path)
    del tensors[tensor]
    save_file(tensors, path)
    with pytest.raises(UserError, match=f"has no tensor '{re.escape(tensor)}'"):
        tfmodels.from_hf(tmp_path)


@pytest.mark.parametrize(
    "name, changes, told",
    [
        ("xlnet_base", {"attn_type": "uni"}, "attn_type='uni' is not supported for XLNet"),
        ("xlnet_base", {"summary_type": "first"}, "summary_type='first' is not supported"),
        ("xlnet_base", {"ff_activation": "gelu_fast"}, "ff_activation 'gelu_fast'"),
        ("transformer_xl_large", {"untie_r": False}, "untie_r=False is not supported for Transformer-XL"),
        ("transformer_xl_large", {"tie_projs": [False, True, False]}, "tie_projs=.* is not supported"),
    ],
)
def test_what_we_cannot_compute_is_refused(name, changes, told, tmp_path):
    tfmodels.to_hf(tiny(name), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(UserError, match=told):
        tfmodels.from_hf(tmp_path)


@pytest.mark.parametrize(
    "name, overrides, told",
    [
        ("transformer_xl_large", {"share_biases": True}, "biases of each layer's own"),
        ("transformer_xl_large", {"memory_length": None}, "needs a memory_length"),
        ("transformer_xl_large", {"attention_span": 3}, "attention_span None or the same"),
    ],
)
def test_what_transformers_lacks_is_refused_before_anything_is_written(name, overrides, told, tmp_path):
    with pytest.raises(UserError, match=told):
        tfmodels.to_hf(tiny(name, **overrides), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_classifier_of_other_vectors_than_transformers_takes_is_not_saved(tmp_path):
    backbone = tiny("transformer_xl_large", embedding_dim=12)
    with pytest.raises(UserError, match="no counterpart of this TextClassifier: save its backbone"):
        tfmodels.to_hf(TextClassifier(backbone, 3), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    tfmodels.to_hf(backbone, tmp_path)
    assert type(tfmodels.from_hf(tmp_path, task=TextClassifier)) is TextClassifier


def test_views_put_in_what_they_take_out():
    import keras

    first, second = (keras.Variable(np.arange(12.0).reshape(3, 4) + 100 * n) for n in (0, 1))
    for view, expected in (
        (Reshaped(first, 3, 2, 2), np.arange(12.0).reshape(3, 2, 2)),
        (Rows(first, 1, 3), np.arange(4.0, 12).reshape(2, 4)),
        (Rows(first, 2, 3, 1, 1, 4), np.arange(8.0, 12).reshape(1, 1, 4)),
        (Columns(first, second), np.concatenate([np.arange(12.0).reshape(3, 4) + n for n in (0, 100)], axis=1)),
    ):
        assert view.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(view), expected)
        before = [to_numpy(variable.value) for variable in (first, second)]
        view.assign(expected + 0.5)
        np.testing.assert_array_equal(np.asarray(view), expected + 0.5)
        view.assign(expected)
        for variable, kept in zip((first, second), before):
            np.testing.assert_array_equal(to_numpy(variable.value), kept)
