"""BERT and its tasks beside transformers, with absolute and with relative positions."""

import numpy as np
import pytest
import torch
import transformers

import tfmodels
from tests.parity.support import HEADS, NEXT_SENTENCE, PRETRAINING, FamilyChecks, batch_of_pairs, reference_outputs
from tests.support import check_parity, to_numpy
from tfmodels import datasets
from tfmodels.interop.bert import FAMILY

pytestmark = pytest.mark.parity

SIZES = {
    "three heads, gelu": {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
    },
    "one head, relu, three segments": {
        "vocab_size": 53,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "hidden_act": "relu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
    },
    "relative keys": {
        "vocab_size": 50,
        "hidden_size": 21,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 31,
        "max_position_embeddings": 13,
        "hidden_act": "gelu_new",
        "position_embedding_type": "relative_key",
    },
    "relative keys and queries": {
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 31,
        "max_position_embeddings": 11,
        "position_embedding_type": "relative_key_query",
    },
}

ENCODERS = {
    "seven heads, silu, one layer": {
        "vocab_size": 50,
        "hidden_size": 21,
        "num_hidden_layers": 1,
        "num_attention_heads": 7,
        "intermediate_size": 84,
        "max_position_embeddings": 11,
        "hidden_act": "silu",
        "layer_norm_eps": 1e-3,
    },
    "twelve layers": {
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 31,
        "max_position_embeddings": 16,
    },
}
ACTIVATIONS = ("gelu_python", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "mish", "relu6", "sigmoid", "tanh")


class TestBert(FamilyChecks):
    name = "Bert"
    family = FAMILY
    sizes = SIZES
    heads = HEADS | PRETRAINING | NEXT_SENTENCE


@pytest.mark.parametrize("sizes", ENCODERS.values(), ids=ENCODERS)
def test_other_encoders_equal_transformers(sizes, tmp_path):
    TestBert().test_the_encoder_equals_transformers(sizes, tmp_path)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_equal_transformers(activation, tmp_path):
    sizes = {**ENCODERS["seven heads, silu, one layer"], "hidden_act": activation}
    TestBert().test_the_encoder_equals_transformers(sizes, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_read(dtype, tmp_path):
    theirs, batch = TestBert().make("Model", SIZES["three heads, gelu"]), batch_of_pairs()
    theirs.to(dtype).save_pretrained(tmp_path, safe_serialization=True)
    actual = to_numpy(tfmodels.from_hf(tmp_path)(batch))["sequence_output"]
    expected = reference_outputs(theirs.float(), batch).last_hidden_state.detach()
    check_parity(f"{dtype} checkpoint: sequence", {"": actual}, {"": expected})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shards_of_transformers_are_read(dtype, tmp_path):
    theirs, batch = TestBert().make("ForPreTraining", SIZES["relative keys"]).to(dtype), batch_of_pairs()
    theirs.save_pretrained(tmp_path, safe_serialization=True, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    expected = reference_outputs(theirs.float(), batch)
    actual = to_numpy(tfmodels.from_hf(tmp_path)(batch))
    check_parity(
        f"{dtype} shards: logits",
        actual,
        {"logits": expected.prediction_logits.detach(), "pair_logits": expected.seq_relationship_logits.detach()},
    )


@pytest.mark.data
def test_minilm_equals_transformers_on_real_sentences():
    folder = datasets.minilm()
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = tfmodels.from_hf(folder).with_intermediates()
    texts = [review.text for review in datasets.movie_reviews()[:200]]
    assert len(set(texts)) > 190
    for start in range(0, 200, 50):
        encoded = tokenizer(texts[start : start + 50], padding=True, truncation=True, return_tensors="np")
        batch = {
            "token_ids": encoded["input_ids"].astype("int32"),
            "segment_ids": encoded["token_type_ids"].astype("int32"),
            "padding_mask": encoded["attention_mask"].astype(bool),
        }
        with torch.no_grad():
            expected = reference_outputs(theirs, batch, output_hidden_states=True)
        actual = to_numpy(ours(batch))
        # At tokens: what stands at padding is read by nobody, and there the reference itself is 1e-4 from its own
        # float64 values.
        real = batch["padding_mask"]
        check_parity(
            "MiniLM on 200 reviews: hidden states",
            {layer: states[real] for layer, states in enumerate(actual["hidden_states"])},
            {layer: states[real] for layer, states in enumerate(map(np.asarray, expected.hidden_states))},
        )
        check_parity("MiniLM on 200 reviews: pooled", {"": actual["pooled_output"]}, {"": expected.pooler_output})
