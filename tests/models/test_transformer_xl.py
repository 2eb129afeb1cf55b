"""Transformer-XL's own ways: memory instead of a longer text, and nothing of the future. Parity holds the rest."""

import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import check_backbone, check_task, gradients_of, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import AdaptiveLM, TransformerXLConfig

V = 51


def transformer_xl(dtype=None, **overrides):
    return tiny("transformer_xl_large", dtype, **overrides)


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.4 for weight in model.weights])
    return model


def piece(batch, start, end):
    return {name: ops.convert_to_tensor(value[:, start:end]) for name, value in batch.items()}


@pytest.mark.parametrize(
    "overrides",
    [{"norm_first": True, "share_biases": True, "cutoffs": (), "shrinkage": 1}, {"attention_span": 3}],
    ids=["normalised first", "a span"],
)
def test_every_kind_keeps_to_the_contract(overrides, tmp_path):
    check_backbone(lambda dtype=None: transformer_xl(dtype, **overrides), tmp_path)


@pytest.mark.parametrize("overrides", [{}, {"cutoffs": (20,), "shrinkage": 1, "tie_projections": False}])
def test_the_language_model_keeps_to_the_contract(overrides, tmp_path):
    check_task(
        lambda dtype=None: AdaptiveLM(transformer_xl(dtype, **overrides)),
        tmp_path,
        lambda batch, length: {"log_probabilities": (batch, length, V)},
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {"memory_length": None},
        {"memory_length": None, "norm_first": True},
        # As much memory as a query can see is as good as all of it.
        {"memory_length": 2, "attention_span": 3},
        {"memory_length": None, "max_distance": 2},
    ],
    ids=["all memory", "normalised first", "a span", "bounded distances"],
)
def test_stretches_with_memory_equal_the_whole_text(overrides):
    lm, batch = with_random_weights(AdaptiveLM(transformer_xl(**overrides))), token_batch([11, 11])
    whole, states = to_numpy(lm(batch))["log_probabilities"], to_numpy(lm.backbone(batch))["sequence_output"]
    model, backbone = lm.with_memory(), lm.backbone.with_memory()
    memory = lm.backbone.empty_memory(2)
    for start, end in ((0, 4), (4, 5), (5, 11)):
        inputs = {**piece(batch, start, end), "memory": memory}
        outputs = model(inputs)
        assert_close(to_numpy(outputs["log_probabilities"]), whole[:, start:end], 1e-5)
        assert_close(to_numpy(backbone(inputs)["sequence_output"]), states[:, start:end], 1e-5)
        memory = outputs["memory"]


def test_without_memory_a_stretch_knows_less():
    backbone, batch = with_random_weights(transformer_xl()), token_batch([8, 8])
    whole, alone = (to_numpy(backbone(b))["sequence_output"] for b in (batch, piece(batch, 4, 8)))
    assert np.abs(whole[:, 4:] - alone).max() > 1e-2


@pytest.mark.parametrize("span", [None, 2])
def test_a_token_changes_itself_and_what_follows_within_its_reach(span):
    backbone, batch = with_random_weights(transformer_xl(attention_span=span, num_layers=2)), token_batch([7])
    before = to_numpy(backbone(batch))["sequence_output"][0]
    for changed in range(7):
        other = {**batch, "token_ids": batch["token_ids"].copy()}
        other["token_ids"][0, changed] = (other["token_ids"][0, changed] + 1) % 50
        difference = np.abs(to_numpy(backbone(other))["sequence_output"][0] - before).max(axis=-1)
        # Two layers that each see one token back reach two tokens.
        reach = 7 if span is None else 2 * (span - 1)
        for position in range(7):
            is_reached = changed <= position <= changed + reach
            assert (difference[position] > 1e-5) == is_reached, (changed, position)


def test_memory_holds_the_latest_inputs_of_every_layer_and_passes_no_gradient():
    backbone, batch = with_random_weights(transformer_xl(memory_length=6)), token_batch([5, 5])
    model, full = backbone.with_memory(), backbone.with_intermediates()
    first = model({**piece(batch, 0, 5), "memory": backbone.empty_memory(2)})["memory"]
    states = to_numpy(full(batch))["hidden_states"]
    for layer, kept in enumerate(to_numpy(first)):
        assert_close(kept, states[layer], 1e-6)
    second = model({**piece(batch, 0, 5), "memory": first})["memory"]
    assert [kept.shape for kept in second] == [(2, 6, 14)] * 3

    def loss():
        memory = model({**piece(batch, 0, 5), "memory": backbone.empty_memory(2)})["memory"]
        return sum(ops.sum(kept) for kept in memory) + 0 * ops.sum(backbone(batch)["sequence_output"])

    assert not any(gradient.any() for gradient in gradients_of(loss, backbone.trainable_variables)[1])


@pytest.mark.parametrize("overrides", [{}, {"attention_span": 4}])
def test_masked_memory_is_no_memory(overrides):
    backbone, batch = with_random_weights(transformer_xl(**overrides)), token_batch([9, 9])
    masked, plain = backbone.with_memory(masked=True), backbone.with_memory()
    memory = plain({**piece(batch, 0, 5), "memory": backbone.empty_memory(2)})["memory"]
    expected = to_numpy(plain({**piece(batch, 5, 9), "memory": memory}))["sequence_output"]
    alone = to_numpy(backbone(piece(batch, 5, 9)))["sequence_output"]
    # Three states of nothing stand before the memory; the second row has no memory at all.
    memory = tuple(ops.concatenate([100 * ops.ones_like(part[:, :3]), part], axis=1) for part in memory)
    mask = ops.convert_to_tensor(np.array([[False] * 3 + [True] * 5, [False] * 8]))
    actual = to_numpy(masked({**piece(batch, 5, 9), "memory": memory, "memory_mask": mask}))["sequence_output"]
    assert_close(actual[0], expected[0], 1e-5)
    assert_close(actual[1], alone[1], 1e-5)
    assert np.abs(alone[0] - expected[0]).max() > 1e-2


def test_shared_biases_are_one_pair():
    own, shared = transformer_xl(), transformer_xl(share_biases=True)
    pair = 2 * own.config.num_heads * own.config.head_dim
    assert own.count_params() - shared.count_params() == (own.config.num_layers - 1) * pair


def test_cutoffs_from_json_are_a_tuple():
    config = TransformerXLConfig.from_dict({"cutoffs": [3, 5]})
    assert config.cutoffs == (3, 5) and hash(config)
    with pytest.raises(UserError, match="must rise"):
        transformer_xl(cutoffs=(9, 3))
