"""ELECTRA beside transformers: narrow and wide embeddings, every head, the gradient of every weight."""

import numpy as np
import pytest
import transformers

import tfmodels
from tests.parity.support import (
    HEADS,
    PRETRAINING,
    FamilyChecks,
    batch_of_pairs,
    compare_gradients,
    reference_outputs,
    save_and_load,
)
from tests.support import check_parity, to_numpy
from tfmodels.interop.electra import FAMILY
from tfmodels.models import ElectraBackbone

pytestmark = pytest.mark.parity

SIZES = {
    "narrow embeddings, three heads": {
        "vocab_size": 61,
        "embedding_size": 10,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
    },
    "embeddings as wide as the layers, one head": {
        "vocab_size": 53,
        "embedding_size": 14,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
    },
    "wide embeddings, as a generator has them, relative keys": {
        "vocab_size": 50,
        "embedding_size": 22,
        "hidden_size": 15,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 31,
        "max_position_embeddings": 16,
        "layer_norm_eps": 1e-3,
        "position_embedding_type": "relative_key",
    },
    "relu": {
        "vocab_size": 51,
        "embedding_size": 9,
        "hidden_size": 18,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 23,
        "max_position_embeddings": 13,
        "hidden_act": "relu",
    },
    "gelu by its hyperbolic tangent": {
        "vocab_size": 52,
        "embedding_size": 18,
        "hidden_size": 18,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 21,
        "max_position_embeddings": 13,
        "hidden_act": "gelu_new",
    },
    "silu": {
        "vocab_size": 54,
        "embedding_size": 7,
        "hidden_size": 10,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 17,
        "max_position_embeddings": 13,
        "hidden_act": "silu",
    },
}


class TestElectra(FamilyChecks):
    name = "Electra"
    family = FAMILY
    sizes = SIZES
    heads = HEADS | PRETRAINING

    def test_the_encoder_equals_transformers(self, sizes, tmp_path):
        theirs, batch = self.make("Model", sizes), self.batch(sizes)
        ours, name = save_and_load(theirs, tmp_path), f"ElectraModel, embeddings of {sizes['embedding_size']}"
        assert type(ours) is ElectraBackbone
        # transformers keeps absolute positions beside relative ones, without a use.
        unused = sum(e.variable.size for e in FAMILY.entries(ours) if isinstance(e.variable, np.ndarray))
        assert ours.count_params() + unused == sum(p.numel() for p in theirs.parameters())
        expected = reference_outputs(theirs, batch, output_hidden_states=True)
        actual = to_numpy(ours.with_intermediates()(batch))
        check_parity(
            f"{name}: hidden states",
            dict(enumerate(actual["hidden_states"])),
            {index: state.detach() for index, state in enumerate(expected.hidden_states)},
        )
        # transformers has no pooled output here; ours is the first token's vector, as in the released code.
        states = expected.last_hidden_state
        outputs = {"sequence_output": states, "pooled_output": states[:, 0]}
        check_parity(f"{name}: outputs", {k: actual[k] for k in outputs}, {k: v.detach() for k, v in outputs.items()})
        compare_gradients(name, FAMILY, ours, theirs, outputs, batch)

    def test_transformers_loads_an_encoder_that_we_save(self, tmp_path):
        ours = tfmodels.create_model(
            "electra_small",
            vocabulary_size=51,
            num_layers=2,
            num_heads=2,
            hidden_dim=14,
            intermediate_dim=19,
            embedding_dim=6,
        )
        tfmodels.to_hf(ours, tmp_path)
        theirs, report = transformers.ElectraModel.from_pretrained(tmp_path, output_loading_info=True)
        assert report["missing_keys"] == report["unexpected_keys"] == report["mismatched_keys"] == []
        batch = batch_of_pairs()
        expected = reference_outputs(theirs.eval(), batch).last_hidden_state.detach()
        actual = to_numpy(ours(batch))["sequence_output"]
        check_parity("ElectraModel: loaded by transformers", {"": actual}, {"": expected})
