"""RoBERTa and its tasks beside transformers, whose positions count tokens, around holes too."""

import pytest

from tests.parity.support import FamilyChecks, batch_of_pairs
from tfmodels.interop.roberta import FAMILY

pytestmark = pytest.mark.parity

SIZES = {
    "two heads, gelu": {
        "vocab_size": 61,
        "hidden_size": 22,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 37,
        "max_position_embeddings": 14,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
    "one head, gelu_new, two segments, padding 3": {
        "vocab_size": 53,
        "hidden_size": 15,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 17,
        "hidden_act": "gelu_new",
        "type_vocab_size": 2,
        "pad_token_id": 3,
    },
    "relative keys": {
        "vocab_size": 50,
        "hidden_size": 21,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 31,
        "max_position_embeddings": 13,
        "hidden_act": "relu",
        "position_embedding_type": "relative_key",
    },
}


class TestRoberta(FamilyChecks):
    name = "Roberta"
    family = FAMILY
    sizes = SIZES

    def batch(self, sizes):
        """Rows with padding at their ends and holes in their middle; padding is the id that transformers looks for."""
        batch, padding_id = batch_of_pairs(), sizes.get("pad_token_id", 1)
        batch["padding_mask"][0, 1:3] = False
        batch["token_ids"][batch["token_ids"] == padding_id] = 7
        batch["token_ids"][~batch["padding_mask"]] = padding_id
        batch["segment_ids"] *= sizes.get("type_vocab_size", 2) - 1
        return batch
