"""NEZHA and its tasks beside transformers, on rows that are longer than the farthest distance."""

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
from tfmodels.interop.nezha import FAMILY  # noqa: E402

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


def make(class_name, sizes, **settings):
    return reference(class_name, transformers.NezhaConfig(**sizes, **settings))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_encoder_equals_transformers(sizes, tmp_path):
    check_encoder("NezhaModel", FAMILY, make("NezhaModel", sizes), batch_of_pairs(), tmp_path)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", [*HEADS, *PRETRAINING])
def test_tasks_equal_transformers(head, sizes, tmp_path):
    check_head(f"Nezha{head}", FAMILY, make(f"Nezha{head}", sizes, **HEADS.get(head, {})), batch_of_pairs(), tmp_path)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("head", ["Model", *HEADS, *PRETRAINING])
def test_transformers_loads_what_we_save(head, sizes, tmp_path):
    theirs = make(f"Nezha{head}", sizes, **HEADS.get(head, {}))
    check_what_we_save(f"Nezha{head}", theirs, batch_of_pairs(), tmp_path)
