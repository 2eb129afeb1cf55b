"""RoBERTa and its tasks beside transformers, whose positions count tokens, around holes too."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.parity.support import (  # noqa: E402
    HEADS,
    batch_of_pairs,
    check_encoder,
    check_head,
    check_what_we_save,
    reference,
)
from tfmodels.interop.roberta import FAMILY  # noqa: E402

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


def batch_for(sizes):
    """Rows with padding at their ends and holes in their middle; padding is the id that transformers looks for."""
    batch, padding_id = batch_of_pairs(), sizes.get("pad_token_id", 1)
    batch["padding_mask"][0, 1:3] = False
    batch["token_ids"][batch["token_ids"] == padding_id] = 7
    batch["token_ids"][~batch["padding_mask"]] = padding_id
    batch["segment_ids"] *= sizes.get("type_vocab_size", 2) - 1
    return batch


def make(class_name, sizes, **settings):
    return reference(class_name, transformers.RobertaConfig(**sizes, **settings))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_encoder_equals_transformers(sizes, tmp_path):
    is_relative = "position_embedding_type" in sizes
    unused = sizes["max_position_embeddings"] * sizes["hidden_size"] if is_relative else 0
    check_encoder("RobertaModel", FAMILY, make("RobertaModel", sizes), batch_for(sizes), tmp_path, unused=unused)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", HEADS)
def test_tasks_equal_transformers(head, sizes, tmp_path):
    check_head(f"Roberta{head}", FAMILY, make(f"Roberta{head}", sizes, **HEADS[head]), batch_for(sizes), tmp_path)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", ["Model", *HEADS])
def test_transformers_loads_what_we_save(head, sizes, tmp_path):
    theirs = make(f"Roberta{head}", sizes, **HEADS.get(head, {}))
    check_what_we_save(f"Roberta{head}", theirs, batch_for(sizes), tmp_path)
