"""BigBird and its tasks beside transformers: full attention, blocks at inference, and random blocks in training.

In training transformers draws its blocks with NumPy's global generator; there they are pinned to ours, and both sides
run without dropout. Lengths are such that the sparse path is what runs: more than (5 + 2 R) C tokens.
"""

import pytest
import torch
import transformers
from keras import ops
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

import tfmodels
from benchmarks import bigbird
from tests.parity.support import (
    FamilyChecks,
    compare_gradients,
    named_as_ours,
    reference,
    reference_outputs,
    save_and_load,
)
from tests.parity.weights import randomise
from tests.support import check_parity, to_numpy, token_batch
from tfmodels.errors import UserError
from tfmodels.interop.bigbird import FAMILY
from tfmodels.models import BigBirdAttention

pytestmark = pytest.mark.parity

HEADS = {
    "ForSequenceClassification": {"num_labels": 3},
    "ForTokenClassification": {"num_labels": 5},
    "ForMaskedLM": {},
    "ForPreTraining": {},
}
BLOCK_HEADS = {"Model": {}, "ForMaskedLM": {}}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FULL = {
    "full attention, silu": {
        "vocab_size": 53,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "hidden_act": "silu",
        "attention_type": "original_full",
        **NO_DROPOUT,
    },
}
SPARSE = {
    "blocks of 3, two random": {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 40,
        "block_size": 3,
        "num_random_blocks": 2,
        **NO_DROPOUT,
    },
    "blocks of 2, three random, one head, relu, three segments": {
        "vocab_size": 53,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 30,
        "hidden_act": "relu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
        "block_size": 2,
        "num_random_blocks": 3,
        **NO_DROPOUT,
    },
}


def long_batch(sizes):
    """Rows that end in the middle of blocks, of the last one and of others, one with a hole, one a single token."""
    size = sizes["block_size"]
    length = (7 + 2 * sizes["num_random_blocks"]) * size - 1
    batch = token_batch([length, length - 1, length // 2, length - 2 * size, 1, length])
    batch["padding_mask"][5, [2, length - 3]] = False
    return batch


def pinned(monkeypatch, ours, batch):
    """Makes transformers draw the blocks that our layers draw; returns the layers that asked, as they do."""
    size = ours.config.attention.block_size
    blocks = -(-batch["token_ids"].shape[1] // size)
    calls = []

    def draw(self, *arguments, **settings):
        calls.append(self.seed)
        layer = ours.parts["blocks"][self.seed].attention
        indices, is_used = layer.pattern(ops.convert_to_tensor([blocks], dtype="int32"), blocks, training=True)
        drawn = ops.convert_to_numpy(indices)[0, :, 1:-1, 5:]
        assert ops.convert_to_numpy(is_used)[0, :, 1:-1, 5:].all()
        assert any((drawn[head] != drawn[0]).any() for head in range(len(drawn))) or len(drawn) == 1
        return list(drawn)

    monkeypatch.setattr(BigBirdBlockSparseAttention, "_bigbird_block_rand_mask_with_head", draw)
    return calls


class TestFullAttention(FamilyChecks):
    name = "BigBird"
    family = FAMILY
    sizes = FULL
    heads = HEADS


class TestBlocks:
    """At inference, where the first block stands for the random ones, and in training.

    What stands at padding is not compared: there transformers puts zeros, which nobody reads.
    """

    sizes = SPARSE
    heads = BLOCK_HEADS

    def make(self, head, sizes):
        return reference(f"BigBird{head}", transformers.BigBirdConfig(**sizes, **self.heads[head]))

    def test_layers_equal_transformers(self, sizes, tmp_path):
        theirs, batch = self.make("Model", sizes), long_batch(sizes)
        states = to_numpy(save_and_load(theirs, tmp_path).with_intermediates()(batch))["hidden_states"]
        expected = reference_outputs(theirs, batch, output_hidden_states=True).hidden_states
        real, length = batch["padding_mask"], batch["padding_mask"].shape[1]
        check_parity(
            "BigBirdModel, blocks: hidden states",
            {index: state[real] for index, state in enumerate(states)},
            # transformers leaves its padding to whole blocks in them.
            {index: state.detach().numpy()[:, :length][real] for index, state in enumerate(expected)},
        )

    def test_models_equal_transformers(self, head, sizes, tmp_path):
        theirs, batch = self.make(head, sizes), long_batch(sizes)
        compare(f"BigBird{head}, blocks", save_and_load(theirs, tmp_path), theirs, batch)

    def test_models_equal_transformers_in_training(self, head, sizes, tmp_path, monkeypatch):
        theirs, batch = self.make(head, sizes), long_batch(sizes)
        ours = save_and_load(theirs, tmp_path)
        calls = pinned(monkeypatch, getattr(ours, "backbone", ours), batch)
        compare(f"BigBird{head}, random blocks", ours, theirs.train(), batch, training=True)
        assert calls == list(range(sizes["num_hidden_layers"]))

    def test_transformers_loads_what_we_save(self, head, sizes, tmp_path):
        ours, batch = randomise(save_and_load(self.make(head, sizes), tmp_path / "theirs")), long_batch(sizes)
        tfmodels.to_hf(ours, tmp_path / "ours")
        theirs, report = getattr(transformers, f"BigBird{head}").from_pretrained(
            tmp_path / "ours", output_loading_info=True
        )
        assert report["unexpected_keys"] == report["mismatched_keys"] == []
        assert {key for key in report["missing_keys"] if ".decoder." not in key} == set()
        assert theirs.config.block_size == sizes["block_size"]
        compare(f"BigBird{head}, blocks, loaded by transformers", ours, theirs.eval(), batch)


def test_a_batch_that_is_too_short_attends_fully(tmp_path):
    sizes = SPARSE["blocks of 3, two random"]
    theirs = reference("BigBirdModel", transformers.BigBirdConfig(**sizes))
    # One token more is sparse.
    batch = token_batch([sizes["block_size"] * (5 + 2 * sizes["num_random_blocks"]), 4, 11])
    ours = save_and_load(theirs, tmp_path)
    outputs = named_as_ours(reference_outputs(theirs, batch), ours.output)
    assert theirs.attention_type == "original_full"
    expected = {key: value.detach() for key, value in outputs.items()}
    check_parity("BigBirdModel, too short for blocks: outputs", to_numpy(ours(batch)), expected)
    compare_gradients("BigBirdModel, too short for blocks", FAMILY, ours, theirs, outputs, batch)


def compare(name, ours, theirs, batch, training=False):
    """Outputs at real tokens, and the gradients of every weight."""
    real = batch["padding_mask"]
    outputs = named_as_ours(reference_outputs(theirs, batch), ours.output)
    # It turns to full attention by itself, for good.
    assert getattr(theirs, "bert", theirs).attention_type == "block_sparse"
    actual = to_numpy(ours(batch, training=training))

    def at_tokens(value):
        return value[real] if value.shape[:2] == real.shape else value

    check_parity(
        f"{name}: outputs",
        {key: at_tokens(value) for key, value in actual.items()},
        {key: at_tokens(value.detach().numpy()) for key, value in outputs.items()},
    )
    compare_gradients(name, FAMILY, ours, theirs, outputs, batch, lambda inputs: ours(inputs, training=training))


def test_what_transformers_cannot_compute_is_not_saved(tmp_path):
    config = transformers.BigBirdConfig(**SPARSE["blocks of 3, two random"])
    reference("BigBirdModel", config).save_pretrained(tmp_path, safe_serialization=True)
    loaded = tfmodels.from_hf(tmp_path)
    assert loaded.config.attention == BigBirdAttention(block_size=3, num_random_blocks=2, as_transformers=True)
    ours = type(loaded)(loaded.config.replace(attention=BigBirdAttention(block_size=3)))
    with pytest.raises(UserError, match="as_transformers=True"):
        tfmodels.to_hf(ours, tmp_path / "ours")


@pytest.mark.parametrize("changes", [{"use_bias": False}, {"rescale_embeddings": True}, {"attention_type": "sliding"}])
def test_checkpoints_that_have_no_counterpart_are_refused(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        FAMILY.config_from_hf(changes)


@pytest.mark.parametrize("name", ["bigbird_base", "bigbird_large"])
def test_presets_have_as_many_parameters_as_transformers(name):
    _, preset = tfmodels.describe_model(name)
    values = FAMILY.config_to_hf(preset.config.replace(attention=None))
    with torch.device("meta"):
        theirs = transformers.BigBirdModel(transformers.BigBirdConfig(**values))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == preset.parameters


def test_the_base_preset_is_the_default_of_transformers():
    _, preset = tfmodels.describe_model("bigbird_base")
    assert FAMILY.config_from_hf({}).replace(attention=preset.config.attention) == preset.config
    default = transformers.BigBirdConfig().to_dict()
    assert FAMILY.config_from_hf(default).replace(attention=preset.config.attention) == preset.config


def test_the_benchmark_times_models_of_equal_outputs():
    results = bigbird.measure(layers=1, length=705, pairs=1)
    assert [result.at_least for result in results] == [1.5, 1.5, 1.0, 1.0]
    assert all(result.value > 0 for result in results)
    assert "transformers" in results[0].second and "full attention" in results[3].second
