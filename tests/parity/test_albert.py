"""ALBERT and its tasks beside transformers, with one group of shared layers and with several."""

import pytest

from tests.parity.support import HEADS, PRETRAINING, FamilyChecks
from tfmodels.interop.albert import FAMILY

pytestmark = pytest.mark.parity

SIZES = {
    "one group, gelu_new": {
        "vocab_size": 61,
        "embedding_size": 10,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
    },
    "two uneven groups, relu, three segments": {
        "vocab_size": 53,
        "embedding_size": 17,
        "hidden_size": 14,
        "num_hidden_layers": 5,
        "num_hidden_groups": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "hidden_act": "relu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
    },
    "a group for every layer, gelu, E = D": {
        "vocab_size": 50,
        "embedding_size": 21,
        "hidden_size": 21,
        "num_hidden_layers": 3,
        "num_hidden_groups": 3,
        "num_attention_heads": 7,
        "intermediate_size": 31,
        "max_position_embeddings": 11,
        "hidden_act": "gelu",
    },
    "two groups of two layers that take turns": {
        "vocab_size": 50,
        "embedding_size": 6,
        "hidden_size": 20,
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
        "num_attention_heads": 2,
        "intermediate_size": 31,
        "max_position_embeddings": 11,
    },
}


class TestAlbert(FamilyChecks):
    name = "Albert"
    family = FAMILY
    sizes = SIZES
    heads = HEADS | PRETRAINING
