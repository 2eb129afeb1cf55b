"""Explicit attention masks: every encoder of BERT's kind under them, on its own layers and weights."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_gradients_reach, gradients_of, random_sum, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, ReplacedTokenDetector, TextClassifier

ENCODERS = {
    "BERT": ("bert_tiny", {}),
    "BERT, relative keys and queries": ("bert_tiny", {"positions": "relative_key_query"}),
    "RoBERTa": ("roberta_base", {}),
    "ALBERT": ("albert_base", {}),
    "NEZHA": ("nezha_base", {}),
    "ERNIE with tasks": ("ernie2_base", {"num_tasks": 3}),
    "ELECTRA": ("electra_small", {}),
}
LENGTHS = [9, 1, 6, 4]


@pytest.fixture(params=ENCODERS.values(), ids=ENCODERS)
def backbone(request):
    name, overrides = request.param
    return with_random_weights(tiny(name, **overrides))


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([value + random.normal(size=value.shape) * 0.4 for value in model.get_weights()])
    return model


def left_to_right(batch):
    rows, length = batch["token_ids"].shape
    return np.broadcast_to(np.tril(np.ones((length, length), bool)), (rows, 1, length, length))


def under(mask, batch):
    return {**batch, "attention_mask": mask}


def other_tokens(batch, places):
    """The batch with other tokens and segments at some places."""
    places = np.broadcast_to(places, batch["token_ids"].shape)
    return {
        **batch,
        "token_ids": np.where(places, 1 + (batch["token_ids"] + 6) % 49, batch["token_ids"]).astype("int32"),
        "segment_ids": np.where(places, 1 - batch["segment_ids"], batch["segment_ids"]).astype("int32"),
    }


def test_a_full_mask_is_no_mask(backbone):
    masked, batch = backbone.with_attention_mask(), token_batch(LENGTHS)
    assert {id(variable) for variable in masked.variables} == {id(variable) for variable in backbone.variables}
    full = under(np.ones((4, 1, 9, 9), bool), batch)
    plain = to_numpy(backbone(batch))
    for name, value in to_numpy(masked(full)).items():
        np.testing.assert_array_equal(value, plain[name])
    variables = backbone.trainable_variables
    ours = gradients_of(lambda: random_sum(masked(full)), variables)[1]
    theirs = gradients_of(lambda: random_sum(backbone(batch)), variables)[1]
    for variable, actual, expected in zip(variables, ours, theirs):
        assert_close(actual, expected, 1e-5, variable.path)


def test_left_to_right_no_token_hears_of_a_later_one(backbone):
    masked, batch = backbone.with_attention_mask(), token_batch(LENGTHS)
    plain = to_numpy(masked(under(left_to_right(batch), batch)))
    for place in range(1, 9):
        changed = other_tokens(batch, np.arange(9) >= place)
        after = to_numpy(masked(under(left_to_right(batch), changed)))
        for row, real in enumerate(LENGTHS):
            before_place = slice(0, min(place, real))
            ours, theirs = (outputs["sequence_output"][row, before_place] for outputs in (after, plain))
            assert_close(ours, theirs, 1e-6, f"row {row} before {place}")
            if place < real:
                difference = after["sequence_output"][row, place:real] - plain["sequence_output"][row, place:real]
                assert np.abs(difference).max(axis=-1).min() > 1e-3, "every token hears of itself"
        # The first token sees itself alone.
        assert_close(after["pooled_output"], plain["pooled_output"], 1e-6)
    # The mask is what keeps it from hearing.
    heard = to_numpy(backbone(changed))["sequence_output"][0, 0] - to_numpy(backbone(batch))["sequence_output"][0, 0]
    assert np.abs(heard).max() > 1e-3


def test_left_to_right_a_row_is_its_beginning_read_alone(backbone):
    masked, batch = backbone.with_attention_mask(), token_batch([9])
    whole = to_numpy(masked(under(left_to_right(batch), batch)))["sequence_output"]
    for length in (1, 4, 8):
        beginning = {name: value[:, :length] for name, value in batch.items()}
        alone = to_numpy(masked(under(left_to_right(beginning), beginning)))["sequence_output"]
        assert_close(alone, whole[:, :length], 1e-5, f"{length} tokens")


def test_padding_stays_unseen_whatever_the_mask_allows(backbone):
    masked, batch = backbone.with_attention_mask(), token_batch(LENGTHS)
    random = np.random.default_rng(0)
    # Every token sees itself, and half of the others.
    mask = (random.random((4, 1, 9, 9)) < 0.5) | np.eye(9, dtype=bool)
    plain = to_numpy(masked(under(mask, batch)))["sequence_output"]
    wider = token_batch(LENGTHS, length=13)
    noisy = {**other_tokens(wider, ~wider["padding_mask"]), "padding_mask": wider["padding_mask"]}
    allowing = np.pad(mask, [(0, 0), (0, 0), (0, 4), (0, 4)], constant_values=True)
    after = to_numpy(masked(under(allowing, noisy)))["sequence_output"]
    for row, real in enumerate(LENGTHS):
        assert_close(after[row, :real], plain[row, :real], 1e-5, f"row {row}")


def test_every_weight_learns_under_a_mask(backbone):
    masked, batch = backbone.with_attention_mask(), token_batch(LENGTHS)
    check_gradients_reach(lambda: random_sum(masked(under(left_to_right(batch), batch))), backbone.trainable_variables)


def test_heads_may_have_masks_of_their_own():
    backbone, batch = with_random_weights(tiny()), token_batch([7, 5])
    masked = backbone.with_attention_mask()
    one = np.tril(np.ones((2, 1, 7, 7), bool))
    same = to_numpy(masked(under(np.repeat(one, 2, axis=1), batch)))["sequence_output"]
    assert_close(same, to_numpy(masked(under(one, batch)))["sequence_output"], 1e-6)
    # A head that may see all hears of what the other must not.
    mixed = np.concatenate([one, np.ones_like(one)], axis=1)
    plain = to_numpy(masked(under(mixed, batch)))["sequence_output"]
    changed = to_numpy(masked(under(mixed, other_tokens(batch, np.arange(7) == 4))))["sequence_output"]
    assert np.abs(changed[:, 0] - plain[:, 0]).max() > 1e-3
    mixed[:, 1, 0, 4] = False
    single = tiny(num_layers=1)
    masked = with_random_weights(single).with_attention_mask()
    plain = to_numpy(masked(under(mixed, batch)))["sequence_output"]
    changed = to_numpy(masked(under(mixed, other_tokens(batch, np.arange(7) == 4))))["sequence_output"]
    assert_close(changed[:, 0], plain[:, 0], 1e-6)
    assert np.abs(changed[:, 1] - plain[:, 1]).max() > 1e-3


def test_the_backbone_itself_takes_what_it_always_took(tmp_path):
    backbone, batch = tiny(), token_batch([5, 3])
    before = to_numpy(backbone(batch))
    backbone.with_attention_mask()
    assert set(backbone.input) == {"token_ids", "segment_ids", "padding_mask"}
    for name, value in to_numpy(backbone(batch)).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("name", ["xlnet_base", "transformer_xl_standard"])
def test_recurrent_models_say_that_they_take_none(name):
    with pytest.raises(UserError, match="takes no attention mask: use an encoder of BERT's kind"):
        tiny(name).with_attention_mask()


@pytest.mark.parametrize("make", [MaskedLM, ReplacedTokenDetector, lambda backbone: TextClassifier(backbone, 3)])
def test_tasks_take_masks_too(make):
    task, batch = with_random_weights(make(tiny("electra_small"))), token_batch(LENGTHS)
    masked = task.with_attention_mask()
    assert {id(variable) for variable in masked.variables} == {id(variable) for variable in task.variables}
    plain = to_numpy(task(batch))["logits"]
    full = to_numpy(masked(under(np.ones((4, 1, 9, 9), bool), batch)))
    assert set(full) == {"logits"}
    np.testing.assert_array_equal(full["logits"], plain)
    heard = to_numpy(masked(under(left_to_right(batch), batch)))["logits"]
    assert np.abs(heard[0] - plain[0]).max() > 1e-3
