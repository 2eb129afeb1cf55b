"""Transformer-XL beside transformers: memory of several stretches, adaptive softmax, the gradient of every weight.

The reference begins a text with a memory of zeros that queries attend to; we begin with none. The comparisons give ours
the same zeros, or the reference no memory.
"""

import numpy as np
import pytest
import torch
import transformers
from keras import ops

import tfmodels
from tests.parity.support import reference, save_and_load
from tests.parity.weights import compare_gradients, factors, randomise
from tests.support import check_parity, to_numpy, token_batch
from tfmodels.interop.transformer_xl import FAMILY
from tfmodels.models import TextClassifier
from tfmodels.models.transformer_xl import AdaptiveLM, TransformerXLBackbone

pytestmark = pytest.mark.parity

SIZES = {
    "shrinking vectors": {
        "vocab_size": 61,
        "cutoffs": [20, 35, 50],
        "d_model": 24,
        "d_embed": 18,
        "n_head": 3,
        "d_head": 5,
        "d_inner": 37,
        "div_val": 2,
        "n_layer": 3,
        "mem_len": 6,
        "clamp_len": 4,
        "same_length": True,
    },
    "one table, normalised first": {
        "vocab_size": 53,
        "cutoffs": [11, 30],
        "d_model": 20,
        "d_embed": 20,
        "n_head": 4,
        "d_head": 7,
        "d_inner": 9,
        "div_val": 1,
        "n_layer": 2,
        "mem_len": 13,
        "clamp_len": -1,
        "same_length": False,
        "pre_lnorm": True,
    },
    "one table, widened, projections of its own": {
        "vocab_size": 50,
        "cutoffs": [20],
        "d_model": 14,
        "d_embed": 10,
        "n_head": 1,
        "d_head": 8,
        "d_inner": 31,
        "div_val": 1,
        "n_layer": 2,
        "mem_len": 4,
        "clamp_len": 3,
        "same_length": False,
        "proj_share_all_but_first": False,
        "layer_norm_epsilon": 1e-3,
    },
    "one table, widened by shared projections": {
        "vocab_size": 50,
        "cutoffs": [20, 30],
        "d_model": 14,
        "d_embed": 10,
        "n_head": 2,
        "d_head": 7,
        "d_inner": 31,
        "div_val": 1,
        "n_layer": 1,
        "mem_len": 9,
        "clamp_len": -1,
        "same_length": True,
    },
}


def transformer_xl(class_name, sizes):
    return reference(class_name, transformers.TransfoXLConfig(**sizes))


def stretch(seed):
    batch = token_batch([5, 5, 5], seed=seed)
    batch["token_ids"] = np.random.default_rng(seed).integers(0, 50, (3, 5)).astype("int32")
    return batch


def tensors(batch, memory):
    return {**{name: ops.convert_to_tensor(value) for name, value in batch.items()}, "memory": memory}


def zeros(model, sizes):
    return tuple(ops.zeros((3, sizes["mem_len"], sizes["d_model"])) for _ in range(sizes["n_layer"]))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_memory_of_several_stretches_equals_transformers(sizes, tmp_path):
    theirs = transformer_xl("TransfoXLLMHeadModel", sizes)
    lm = save_and_load(theirs, tmp_path)
    assert type(lm) is AdaptiveLM
    assert lm.count_params() == sum(p.numel() for p in theirs.parameters())
    ours, backbone, name = (
        lm.with_memory(),
        lm.backbone.with_memory(),
        f"TransfoXLLMHeadModel, div_val {sizes['div_val']}",
    )
    batches, memory, memories, total, drawn = [stretch(seed) for seed in (0, 1, 2)], None, zeros(lm, sizes), 0.0, []
    for number, batch in enumerate(batches):
        ids = torch.tensor(batch["token_ids"]).long()
        expected = theirs(ids, mems=memory, output_hidden_states=True)
        actual = ours(tensors(batch, memories))
        scores = expected.prediction_scores
        check_parity(f"{name}: log-probabilities", {"": to_numpy(actual["log_probabilities"])}, {"": scores.detach()})
        check_parity(
            f"{name}: memory",
            dict(enumerate(to_numpy(actual["memory"]))),
            {index: layer.permute(1, 0, 2) for index, layer in enumerate(expected.mems)},
        )
        last = to_numpy(backbone(tensors(batch, memories))["sequence_output"])
        check_parity(f"{name}: outputs", {"": last}, {"": expected.hidden_states[-1].detach()})
        drawn.append(factors(scores.shape, seed=number) / 10)
        total = total + (scores * torch.tensor(drawn[-1])).sum()
        memory, memories = expected.mems, actual["memory"]

    def loss():
        value, memories = 0.0, zeros(lm, sizes)
        for batch, factor in zip(batches, drawn):
            outputs = ours(tensors(batch, memories))
            value, memories = value + ops.sum(outputs["log_probabilities"] * factor), outputs["memory"]
        return value

    compare_gradients(name, FAMILY.entries(lm), loss, theirs, total)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_without_memory_every_layer_equals_transformers(sizes, tmp_path):
    sizes = {**sizes, "mem_len": 0, "same_length": False}
    theirs, batch = transformer_xl("TransfoXLModel", sizes), stretch(0)
    ours = save_and_load(theirs, tmp_path)
    assert type(ours) is TransformerXLBackbone
    expected = theirs(torch.tensor(batch["token_ids"]).long(), output_hidden_states=True)
    actual, name = to_numpy(ours.with_intermediates()(batch)), f"TransfoXLModel, div_val {sizes['div_val']}"
    check_parity(
        f"{name}: hidden states",
        dict(enumerate(actual["hidden_states"])),
        {index: state.detach() for index, state in enumerate(expected.hidden_states)},
    )
    states = expected.last_hidden_state
    check_parity(
        f"{name}: outputs",
        {key: actual[key] for key in ("sequence_output", "pooled_output")},
        {"sequence_output": states.detach(), "pooled_output": states[:, -1].detach()},
    )
    factor = factors(states.shape)
    compare_gradients(
        name,
        FAMILY.entries(ours),
        lambda: ops.sum(ours(batch)["sequence_output"] * factor),
        theirs,
        (states * torch.tensor(factor)).sum(),
    )


@pytest.mark.parametrize("from_ours", [False, True], ids=["theirs", "ours"])
def test_texts_are_classified_as_transformers_does(from_ours, tmp_path):
    sizes = {**SIZES["one table, normalised first"], "mem_len": 0, "num_labels": 3, "pad_token_id": 0}
    theirs, batch = transformer_xl("TransfoXLForSequenceClassification", sizes), token_batch([5, 1, 9])
    ours, name = save_and_load(theirs, tmp_path), "TransfoXLForSequenceClassification"
    assert type(ours) is TextClassifier
    assert ours.count_params() == sum(p.numel() for p in theirs.parameters())
    if from_ours:
        tfmodels.to_hf(randomise(ours), tmp_path / "ours")
        # Padding has no id here: transformers, which looks for one, has to be told.
        theirs, report = type(theirs).from_pretrained(tmp_path / "ours", pad_token_id=0, output_loading_info=True)
        missing = [key for key in report["missing_keys"] if "inv_freq" not in key]
        assert missing == report["unexpected_keys"] == report["mismatched_keys"] == []
    expected = theirs.eval()(torch.tensor(batch["token_ids"]).long()).logits
    check_parity(f"{name}: logits", to_numpy(ours(batch)), {"logits": expected.detach()})
    factor = factors(expected.shape)
    compare_gradients(
        name,
        FAMILY.entries(ours),
        lambda: ops.sum(ours(batch)["logits"] * factor),
        theirs,
        (expected * torch.tensor(factor)).sum(),
    )


@pytest.mark.parametrize("class_name", ["TransfoXLModel", "TransfoXLLMHeadModel"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_transformers_loads_what_we_save(class_name, sizes, tmp_path):
    ours, batch = randomise(save_and_load(transformer_xl(class_name, sizes), tmp_path / "theirs")), stretch(0)
    tfmodels.to_hf(ours, tmp_path / "ours")
    theirs, report = getattr(transformers, class_name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    missing = [key for key in report["missing_keys"] if not key.startswith("crit.out_") and "inv_freq" not in key]
    assert missing == report["unexpected_keys"] == report["mismatched_keys"] == []
    for key in ("div_val", "cutoffs", "mem_len", "same_length", "pre_lnorm", "d_head"):
        assert getattr(theirs.config, key) == sizes.get(key, False)
    expected = theirs.eval()(torch.tensor(batch["token_ids"]).long())
    actual = to_numpy(ours.with_memory()(tensors(batch, zeros(ours, sizes))))
    key, value = (
        ("sequence_output", expected[0]) if class_name == "TransfoXLModel" else ("log_probabilities", expected[0])
    )
    check_parity(f"{class_name}: loaded by transformers", {"": actual[key]}, {"": value.detach()})
