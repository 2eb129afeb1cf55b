"""ALBERT and its tasks beside transformers, with one group of shared layers and with several."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.parity.support import (  # noqa: E402
    HEADS,
    PRETRAINING,
    batch_of_pairs,
    check_encoder,
    check_head,
    check_what_we_save,
    reference,
)
from tfmodels.interop.albert import FAMILY  # noqa: E402

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


def make(class_name, sizes, **settings):
    return reference(class_name, transformers.AlbertConfig(**sizes, **settings))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_encoder_equals_transformers(sizes, tmp_path):
    turns = sizes.get("inner_group_num", 1)
    theirs = make("AlbertModel", sizes)
    check_encoder("AlbertModel", FAMILY, theirs, batch_of_pairs(), tmp_path, layers_per_state=turns)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", [*HEADS, *PRETRAINING])
def test_tasks_equal_transformers(head, sizes, tmp_path):
    check_head(f"Albert{head}", FAMILY, make(f"Albert{head}", sizes, **HEADS.get(head, {})), batch_of_pairs(), tmp_path)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", ["Model", *HEADS, *PRETRAINING])
def test_transformers_loads_what_we_save(head, sizes, tmp_path):
    theirs = make(f"Albert{head}", sizes, **HEADS.get(head, {}))
    check_what_we_save(f"Albert{head}", theirs, batch_of_pairs(), tmp_path)
