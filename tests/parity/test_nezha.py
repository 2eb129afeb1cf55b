"""NEZHA and its tasks beside transformers, on rows that are longer than the farthest distance."""

import pytest

from tests.parity.support import HEADS, NEXT_SENTENCE, PRETRAINING, FamilyChecks
from tfmodels.interop.nezha import FAMILY

pytestmark = pytest.mark.parity

SIZES = {
    "distances up to 3, gelu": {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
        "max_relative_position": 3,
    },
    "distances up to 64, relu, three segments": {
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
    "distances up to 10, gelu_new": {
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "intermediate_size": 13,
        "max_position_embeddings": 16,
        "max_relative_position": 10,
        "hidden_act": "gelu_new",
    },
}


class TestNezha(FamilyChecks):
    name = "Nezha"
    family = FAMILY
    sizes = SIZES
    heads = HEADS | PRETRAINING | NEXT_SENTENCE
