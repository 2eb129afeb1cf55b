"""Reformer beside transformers: hashing, chunks, reversible layers, axial positions; outputs, gradients, saving.

The reference draws the rotations of every layer anew, from a generator that `hash_seed` sets: ours are given the same.
It derives in training mode alone, where a row must fill all axial positions; dropout is zero. What stands at padding is
not compared.

The reference computes in float64. In float32 it joins the rounds of a token that sees itself alone by the log-sum-exps
of logits of -100,000, rounded to 1/128, so that the weights of rounds sum to something between 0.996 and 1.004.
"""

import numpy as np
import pytest
import torch
import transformers

import tfmodels
from tests.parity.support import compare_gradients, named_as_ours, reference, save_and_load
from tests.parity.weights import randomise
from tests.support import check_parity, to_numpy, token_batch
from tfmodels.interop.reformer import FAMILY
from tfmodels.layers import LSHSelfAttention
from tfmodels.models import ReformerLM, TextClassifier

pytestmark = pytest.mark.parity

SEED = 7
_SHARED = {
    "vocab_size": 53,
    "hidden_size": 14,
    "attention_head_size": 5,
    "num_attention_heads": 3,
    "feed_forward_size": 19,
    "axial_pos_shape": [4, 6],
    "axial_pos_embds_dim": [5, 9],
    "max_position_embeddings": 24,
    "hash_seed": SEED,
    "hidden_dropout_prob": 0.0,
    "local_attention_probs_dropout_prob": 0.0,
    "lsh_attention_probs_dropout_prob": 0.0,
    "lsh_attn_chunk_length": 6,
    "local_attn_chunk_length": 4,
    "num_buckets": 6,
}
SIZES = {
    "hashing alone, one round, causal": {"attn_layers": ["lsh"] * 2, "is_decoder": True},
    "hashing alone, three rounds, factors, plain positions": {
        "attn_layers": ["lsh"] * 3,
        "num_hashes": 3,
        "num_buckets": [2, 4],
        "axial_pos_embds": False,
        "hidden_act": "gelu",
    },
    "neighbours alone, causal": {"attn_layers": ["local"] * 2, "is_decoder": True, "layer_norm_eps": 1e-3},
    "neighbours alone, both sides": {"attn_layers": ["local"] * 2, "local_num_chunks_after": 1},
    "both, four rounds, causal, chunks of the network": {
        "attn_layers": ["local", "lsh", "lsh", "local"],
        "num_hashes": 4,
        "is_decoder": True,
        "lsh_num_chunks_before": 2,
        "chunk_size_feed_forward": 8,
    },
    "both, two rounds, both sides, silu": {
        "attn_layers": ["lsh", "local"],
        "num_hashes": 2,
        "lsh_num_chunks_after": 1,
        "local_num_chunks_before": 2,
        "hidden_act": "silu",
    },
    "both, chunks as long as the row": {
        "attn_layers": ["lsh", "local"],
        "num_hashes": 2,
        "is_decoder": True,
        "lsh_attn_chunk_length": 24,
        "local_attn_chunk_length": 24,
    },
}
HEADS = {
    "WithLMHead": {},
    "ForMaskedLM": {},
    "ForSequenceClassification": {"num_labels": 3},
    "ForQuestionAnswering": {"num_labels": 2},
}


def heads_of(sizes):
    """The heads that fit: transformers has a language model for either direction, and classifies by the first token."""
    return (
        ["ModelWithLMHead"]
        if sizes.get("is_decoder")
        else ["ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering"]
    )


WITH_HEADS = [pytest.param(name, head, id=f"{name}: {head}") for name, s in SIZES.items() for head in heads_of(s)]


def make(head, name):
    """A model of transformers with random weights, ready to derive."""
    config = transformers.ReformerConfig(**_SHARED | SIZES[name], **HEADS.get(head, {}))
    return reference(f"Reformer{head}", config).train()


def batch():
    """Rows of several lengths, one with a hole in its middle."""
    rows = token_batch([24, 17, 9, 2])
    rows["padding_mask"][1, 6] = False
    return rows


def outputs_of(theirs, rows):
    return theirs.double()(
        input_ids=torch.tensor(rows["token_ids"]).long(), attention_mask=torch.tensor(rows["padding_mask"]).long()
    )


def with_its_rotations(model):
    """Ours with the rotations that the reference draws."""
    backbone = getattr(model, "backbone", model)
    for block in backbone.parts["stack"].blocks:
        if isinstance(block.attention, LSHSelfAttention):
            torch.manual_seed(SEED)
            drawn = torch.randn(block.attention.rotations.shape, dtype=torch.float64)
            block.attention.rotations = drawn.float().numpy()
    return model


def real(values, rows):
    """Without what stands at padding."""
    mask = rows["padding_mask"]
    return {
        key: np.asarray(value)[mask] if value.shape[:2] == mask.shape else np.asarray(value)
        for key, value in values.items()
    }


@pytest.mark.parametrize("name", SIZES)
def test_the_encoder_equals_transformers(name, tmp_path):
    theirs, rows = make("Model", name), batch()
    ours = with_its_rotations(save_and_load(theirs, tmp_path))
    assert type(ours) is FAMILY.backbone
    assert ours.count_params() == sum(p.numel() for p in theirs.parameters())
    expected = {"sequence_output": outputs_of(theirs, rows).last_hidden_state}
    actual = {"sequence_output": to_numpy(ours(rows)["sequence_output"])}
    detached = {key: value.detach() for key, value in expected.items()}
    check_parity(f"ReformerModel, {name}: outputs", real(actual, rows), real(detached, rows))
    compare_gradients(f"ReformerModel, {name}", FAMILY, ours, theirs, expected, rows)


@pytest.mark.parametrize("name, head", WITH_HEADS)
def test_heads_equal_transformers(name, head, tmp_path):
    theirs, rows = make(head, name), batch()
    ours = with_its_rotations(save_and_load(theirs, tmp_path))
    expected = named_as_ours(outputs_of(theirs, rows), ours.output)
    detached = {key: value.detach() for key, value in expected.items()}
    check_parity(f"Reformer{head}, {name}: logits", real(to_numpy(ours(rows)), rows), real(detached, rows))
    compare_gradients(f"Reformer{head}, {name}", FAMILY, ours, theirs, expected, rows)


@pytest.mark.parametrize("name, head", WITH_HEADS)
def test_transformers_loads_what_we_save(name, head, tmp_path):
    theirs, rows = make(head, name), batch()
    ours = with_its_rotations(randomise(save_and_load(theirs, tmp_path / "theirs")))
    tfmodels.to_hf(ours, tmp_path / "ours")
    loaded, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not set(report["missing_keys"]) - {"lm_head.decoder.bias"}
    assert report["unexpected_keys"] == report["mismatched_keys"] == []
    loaded.config.hash_seed = SEED
    for layer in loaded.reformer.encoder.layers:
        layer.attention.self_attention.hash_seed = SEED
    actual = to_numpy(ours(rows))
    expected = {key: v.detach() for key, v in named_as_ours(outputs_of(loaded.eval(), rows), actual).items()}
    check_parity(f"Reformer{head}, {name}: loaded by transformers", real(actual, rows), real(expected, rows))


@pytest.mark.parametrize("length", (1, 3, 4))
def test_rows_shorter_than_a_chunk_equal_transformers(length, tmp_path):
    theirs = make("ModelWithLMHead", "both, four rounds, causal, chunks of the network").eval()
    theirs.config.chunk_size_feed_forward = 0
    for layer in theirs.reformer.encoder.layers:
        layer.feed_forward.chunk_size_feed_forward = 0  # It refuses rows that are not whole chunks.
    ours, rows = with_its_rotations(save_and_load(theirs, tmp_path)), token_batch([length, length])
    expected = {"logits": outputs_of(theirs, rows).logits.detach()}
    check_parity(f"Reformer, {length} tokens", {"logits": to_numpy(ours(rows)["logits"])}, expected)


def test_a_released_configuration_is_ours():
    config = transformers.ReformerConfig(
        vocab_size=258,
        attn_layers=["local", "local", "lsh", "local"] * 3,
        attention_head_size=128,
        axial_pos_embds_dim=[256, 768],
        axial_pos_shape=[128, 512],
        feed_forward_size=4096,
        hidden_size=1024,
        num_attention_heads=8,
    )
    with torch.device("meta"):
        theirs = transformers.ReformerModel(config)
    _, preset = tfmodels.describe_model("reformer_enwik8")
    assert sum(p.numel() for p in theirs.parameters()) == preset.parameters


def test_a_causal_classifier_has_no_counterpart(tmp_path):
    ours = save_and_load(make("ModelWithLMHead", "hashing alone, one round, causal"), tmp_path)
    assert isinstance(ours, ReformerLM)
    with pytest.raises(tfmodels.errors.UserError, match="first token, which sees nothing else"):
        tfmodels.to_hf(TextClassifier(ours.backbone, 2), tmp_path / "classifier")
