"""XLNet's own ways: who sees whom under every order of factorisation, relative positions and segments, memory."""

from itertools import permutations

import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import check_task, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.models import PermutationLM, SpanClassifier, TextClassifier, TokenClassifier

V, D = 51, 14

TASKS = {
    "language model": (PermutationLM, lambda batch, length: {"logits": (batch, length, V)}),
    "text classifier": (lambda backbone: TextClassifier(backbone, 3), lambda batch, length: {"logits": (batch, 3)}),
    "token classifier": (
        lambda backbone: TokenClassifier(backbone, 3),
        lambda batch, length: {"logits": (batch, length, 3)},
    ),
    "span classifier": (
        SpanClassifier,
        lambda batch, length: {"start_logits": (batch, length), "end_logits": (batch, length)},
    ),
}


def xlnet(dtype=None, **overrides):
    return tiny("xlnet_base", dtype, **overrides)


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.4 for weight in model.weights])
    return model


def tensors(batch, memory):
    return {**{name: ops.convert_to_tensor(value) for name, value in batch.items()}, "memory": memory}


@pytest.mark.parametrize("make, shapes", TASKS.values(), ids=TASKS)
def test_every_task_keeps_to_the_contract(make, shapes, tmp_path):
    check_task(lambda dtype=None: make(xlnet(dtype)), tmp_path, shapes)


@pytest.mark.parametrize("length", [4, 5])
def test_under_every_order_a_token_changes_exactly_the_predictions_after_it(length):
    """All orders of a short text at once: a row for each, a prediction for every token."""
    backbone = with_random_weights(xlnet(num_layers=2))
    model, orders = backbone.two_streams(), np.array(list(permutations(range(length))))
    place = np.argsort(orders, axis=1)  # [orders, T]: where in the order each token stands
    rows = len(orders)
    batch = {name: np.repeat(value, rows, axis=0) for name, value in token_batch([length]).items()}
    batch["permutation_mask"] = place[:, None, :] < place[:, :, None]
    batch["target_mapping"] = np.repeat(np.eye(length, dtype="float32")[None], rows, axis=0)
    memory = backbone.empty_memory(rows)
    before = to_numpy(model(tensors(batch, memory)))
    for changed in range(length):
        other = {**batch, "token_ids": batch["token_ids"].copy()}
        other["token_ids"][:, changed] = (other["token_ids"][:, changed] + 1) % 50
        after = to_numpy(model(tensors(other, memory)))
        queries, contents = (
            np.abs(after[name] - before[name]).max(axis=-1) for name in ("query_output", "sequence_output")
        )
        of_changed = place[:, changed][:, None]
        np.testing.assert_array_equal(queries > 1e-5, place > of_changed)
        np.testing.assert_array_equal(contents > 1e-5, place >= of_changed)
        # What a softmax gives to a forbidden key is zero, not merely little.
        assert queries[place <= of_changed].max() == 0


def test_a_prediction_depends_on_what_is_seen_and_where_not_on_the_order_among_it():
    """A layer at a time: with one layer, g depends on the set of tokens before it in the order."""
    backbone = with_random_weights(xlnet(num_layers=1))
    model, outputs = backbone.two_streams(), []
    for order in ((0, 1, 2, 3, 4), (2, 1, 0, 3, 4), (1, 0, 2, 3, 4), (4, 1, 2, 3, 0)):
        place = np.argsort(order)[None]
        batch = token_batch([5])
        batch["permutation_mask"] = place[:, None, :] < place[:, :, None]
        batch["target_mapping"] = np.eye(5, dtype="float32")[None, [3]]
        outputs.append(to_numpy(model(tensors(batch, backbone.empty_memory(1)))["query_output"]))
    assert_close(outputs[1], outputs[0], 1e-6)
    assert_close(outputs[2], outputs[0], 1e-6)
    assert np.abs(outputs[3] - outputs[0]).max() > 1e-3


def test_targets_may_be_any_and_in_any_order():
    lm = with_random_weights(PermutationLM(xlnet()))
    batch, model, memory = token_batch([5, 5]), lm.two_streams(), lm.backbone.empty_memory(2)
    place = np.array([[3, 0, 4, 1, 2], [0, 1, 2, 3, 4]])
    batch["permutation_mask"] = place[:, None, :] < place[:, :, None]
    batch["target_mapping"] = np.eye(5, dtype="float32")[np.array([[0, 1, 2, 3, 4]] * 2)]
    every = to_numpy(model(tensors(batch, memory)))["logits"]
    assert every.shape == (2, 5, V)
    chosen = np.array([[4, 0], [2, 3]])
    batch["target_mapping"] = np.eye(5, dtype="float32")[chosen]
    some = to_numpy(model(tensors(batch, memory)))["logits"]
    assert_close(some, np.take_along_axis(every, chosen[..., None], 1), 1e-5)


def test_memory_equals_a_longer_text_whose_beginning_sees_no_further():
    backbone = with_random_weights(xlnet())
    model, batch = backbone.two_streams(), token_batch([9, 9])
    # Memory is of segment 0, so that the beginning must be too.
    batch["segment_ids"] = np.array([[0] * 4 + [1] * 5, [0] * 9], "int32")
    random, seen = np.random.default_rng(0), np.ones((2, 9, 9), bool)
    seen[:, :4, 4:] = False
    seen[:, 4:, 4:] = random.random((2, 5, 5)) < 0.5
    mapping = np.eye(9, dtype="float32")[np.array([[5, 8, 4], [6, 4, 7]])]
    whole = to_numpy(
        model(tensors({**batch, "permutation_mask": seen, "target_mapping": mapping}, backbone.empty_memory(2)))
    )

    def piece(start, end):
        part = {name: value[:, start:end] for name, value in batch.items()}
        return part | {"permutation_mask": seen[:, start:end, start:end], "target_mapping": mapping[:, :, start:end]}

    memory = model(tensors(piece(0, 4), backbone.empty_memory(2)))["memory"]
    second = to_numpy(model(tensors(piece(4, 9), memory)))
    assert_close(second["sequence_output"], whole["sequence_output"][:, 4:], 1e-5)
    assert_close(second["query_output"], whole["query_output"], 1e-5)
    for layer, kept in enumerate(second["memory"]):
        assert_close(kept, whole["memory"][layer], 1e-5)


def test_masked_memory_is_no_memory():
    backbone, batch = with_random_weights(xlnet()), token_batch([9, 9])
    seen = np.random.default_rng(0).random((2, 4, 4)) < 0.5
    first, second = ({name: value[:, part] for name, value in batch.items()} for part in np.s_[:5, 5:])
    second |= {"permutation_mask": seen, "target_mapping": np.eye(4, dtype="float32")[np.array([[3, 0], [1, 2]])]}
    masked, plain = backbone.two_streams(masked=True), backbone.two_streams()
    memory = backbone.with_memory()(tensors(first, backbone.empty_memory(2)))["memory"]
    expected = to_numpy(plain(tensors(second, memory)))
    alone = to_numpy(plain(tensors(second, backbone.empty_memory(2))))
    # Three states of nothing stand before the memory; the second row has no memory at all.
    memory = tuple(ops.concatenate([100 * ops.ones_like(part[:, :3]), part], axis=1) for part in memory)
    mask = np.array([[False] * 3 + [True] * 5, [False] * 8])
    actual = to_numpy(masked(tensors({**second, "memory_mask": mask}, memory)))
    for name in ("query_output", "sequence_output"):
        assert_close(actual[name][0], expected[name][0], 1e-5)
        assert_close(actual[name][1], alone[name][1], 1e-5)
        assert np.abs(alone[name][0] - expected[name][0]).max() > 1e-2


def test_plain_and_two_streams_agree_where_everything_is_seen():
    backbone, batch = with_random_weights(xlnet()), token_batch([6, 6])
    free = {"permutation_mask": np.ones((2, 6, 6), bool), "target_mapping": np.eye(6, dtype="float32")[None, :2]}
    free["target_mapping"] = np.repeat(free["target_mapping"], 2, axis=0)
    expected = to_numpy(backbone(batch))["sequence_output"]
    streams = backbone.two_streams()(tensors({**batch, **free}, backbone.empty_memory(2)))
    assert_close(to_numpy(streams["sequence_output"]), expected, 1e-5)
    remembering = backbone.with_memory()(tensors(batch, backbone.empty_memory(2)))
    assert_close(to_numpy(remembering["sequence_output"]), expected, 1e-5)
    assert set(remembering) == {"sequence_output", "pooled_output", "memory"}


def test_only_whether_segments_differ_matters():
    backbone, batch = with_random_weights(xlnet()), token_batch([6, 6])
    plain = to_numpy(backbone(batch))["sequence_output"]
    swapped = to_numpy(backbone({**batch, "segment_ids": 1 - batch["segment_ids"]}))["sequence_output"]
    np.testing.assert_array_equal(swapped, plain)
    merged = to_numpy(backbone({**batch, "segment_ids": 0 * batch["segment_ids"]}))["sequence_output"]
    assert np.abs(merged - plain).max() > 1e-3


def test_padding_on_either_side_is_the_same_and_the_last_token_stands_for_the_text():
    backbone, batch = with_random_weights(xlnet()), token_batch([6], length=9)
    left = {name: np.roll(value, 3, axis=1) for name, value in batch.items()}
    right, left = to_numpy(backbone(batch)), to_numpy(backbone(left))
    assert_close(left["sequence_output"][:, 3:], right["sequence_output"][:, :6], 1e-5)
    np.testing.assert_array_equal(right["pooled_output"], right["sequence_output"][:, 5])
    np.testing.assert_array_equal(left["pooled_output"], left["sequence_output"][:, 8])


def test_order_matters_and_far_distances_may_count_as_one():
    batch = token_batch([6])
    turned = {**batch, "token_ids": np.flip(batch["token_ids"], 1).copy()}
    for bound, is_same in ((None, False), (0, True)):
        backbone = with_random_weights(xlnet(max_distance=bound))
        # Without positions a text is a set: turning it round turns its vectors round.
        same = {**batch, "segment_ids": 0 * batch["segment_ids"]}
        plain = to_numpy(backbone(same))["sequence_output"]
        other = to_numpy(backbone({**turned, "segment_ids": same["segment_ids"]}))["sequence_output"]
        assert (np.abs(np.flip(other, 1) - plain).max() < 1e-4) == is_same


def test_dropout_acts_in_training_only():
    backbone, batch = xlnet(dropout=0.5), token_batch([6, 3])
    still = to_numpy(backbone(batch))["sequence_output"]
    np.testing.assert_array_equal(to_numpy(backbone(batch, training=False))["sequence_output"], still)
    assert (to_numpy(backbone(batch, training=True))["sequence_output"] != still).any()
    calm = xlnet(dropout=0.0)
    np.testing.assert_array_equal(
        to_numpy(calm(batch, training=True))["sequence_output"], to_numpy(calm(batch))["sequence_output"]
    )
