"""ERNIE and its tasks beside transformers, with and without the vectors of tasks."""

import pytest
import torch
import transformers

import tfmodels
from tests.parity.support import HEADS, NEXT_SENTENCE, PRETRAINING, FamilyChecks, batch_of_pairs, reference_outputs
from tests.support import check_parity, to_numpy
from tfmodels.interop.ernie import FAMILY

pytestmark = pytest.mark.parity

SIZES = {
    "ERNIE 1.0: relu, no tasks": {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-5,
    },
    "ERNIE 2.0: gelu, five tasks, four segments": {
        "vocab_size": 53,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "type_vocab_size": 4,
        "use_task_id": True,
        "task_type_vocab_size": 5,
    },
    "relative keys and queries": {
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 31,
        "max_position_embeddings": 11,
        "hidden_act": "gelu_new",
        "position_embedding_type": "relative_key_query",
    },
}


class TestErnie(FamilyChecks):
    name = "Ernie"
    family = FAMILY
    sizes = SIZES
    heads = HEADS | PRETRAINING | NEXT_SENTENCE


def test_every_task_equals_transformers(tmp_path):
    theirs = TestErnie().make("Model", SIZES["ERNIE 2.0: gelu, five tasks, four segments"])
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=True)
    ours, batch = tfmodels.from_hf(tmp_path / "theirs"), batch_of_pairs()
    for task in range(5):
        twin = type(ours)(ours.config.replace(task_id=task))
        twin.set_weights(ours.get_weights())
        expected = reference_outputs(theirs, batch, task_type_ids=torch.full((4, 11), task)).last_hidden_state
        check_parity("ErnieModel: each task", {"": to_numpy(twin(batch))["sequence_output"]}, {"": expected.detach()})
    # Our setting survives a directory that transformers can load.
    tfmodels.to_hf(twin, tmp_path / "ours")
    assert tfmodels.from_hf(tmp_path / "ours").config.task_id == 4
    assert transformers.ErnieModel.from_pretrained(tmp_path / "ours").config.task_type_vocab_size == 5
