"""Batches by length: all rows, in an order that can be repeated, with little padding."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.tiny import tiny
from tests.support import to_numpy
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import SpanClassifier, TextClassifier, TokenClassifier
from tfmodels.training import Batches


def rows_of(count, seed=0, longest=15):
    """Ragged ids: row r begins with the id r, so that it is known again."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, count)
    return tf.ragged.constant(
        [[row, *random.integers(1, 50, length - 1)] for row, length in enumerate(lengths)], dtype=tf.int64
    )


def make(count=50, batch_size=8, **settings):
    return Batches(rows_of(count), {"labels": np.arange(count) * 10}, batch_size, **settings)


def order(dataset):
    """The numbers of the rows, batch by batch."""
    return [batch["token_ids"][:, 0].numpy().tolist() for batch, _ in dataset]


@pytest.mark.parametrize("count, batch_size", [(50, 8), (48, 8), (3, 8), (1, 1), (1100, 8)])
def test_every_row_comes_exactly_once_an_epoch(count, batch_size):
    batches = make(count, batch_size)
    assert len(batches) == -(-count // batch_size)
    for epoch in range(3):
        plan = batches.plan(epoch)
        assert len(plan) == len(batches)
        assert sorted(np.concatenate(plan)) == list(range(count))
        assert sorted(map(len, plan))[1:] == [batch_size] * (len(plan) - 1), "all batches but one are full"


def test_the_dataset_follows_the_plan_of_every_epoch():
    batches = make()
    planned = [rows.tolist() for epoch in (2, 3) for rows in batches.plan(epoch)]
    assert order(batches.dataset(first_epoch=2, epochs=4)) == planned


def test_the_order_depends_on_the_seed_and_the_epoch_alone():
    first, second = make(seed=3), make(seed=3)
    second.plan(0)
    assert order(first.dataset(1, 2)) == order(second.dataset(1, 2))
    assert order(first.dataset(0, 2))[len(first) :] == order(first.dataset(1, 2))
    assert order(first.dataset(0, 1)) != order(first.dataset(1, 2))
    assert order(first.dataset(0, 1)) != order(make(seed=4).dataset(0, 1))


def test_rows_and_their_targets_stay_together():
    batches = make()
    for inputs, targets in batches.dataset(0, 1):
        np.testing.assert_array_equal(targets["labels"], inputs["token_ids"][:, 0] * 10)
        for row, mask in zip(inputs["token_ids"].numpy(), inputs["padding_mask"].numpy()):
            original = batches.token_ids[row[0]].numpy()
            np.testing.assert_array_equal(row[mask], original)
            assert not row[~mask].any() and not mask[len(original) :].any()
        assert not inputs["segment_ids"].numpy().any()
        dtypes = {name: tensor.dtype for name, tensor in inputs.items()}
        assert dtypes == {"token_ids": tf.int32, "segment_ids": tf.int32, "padding_mask": tf.bool}


def padded_share(batches, plan):
    """The fraction of a plan's tokens that is padding."""
    total = sum(len(rows) * -(-batches.lengths[rows].max() // 8) * 8 for rows in plan)
    return 1 - batches.lengths.sum() / total


def test_batches_by_length_hold_little_padding():
    # The lengths of the movie reviews: 27 tokens in the mean, few above 47.
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(6, 4.5, 4000).astype(int), 3, 79)
    batches = Batches(tf.RaggedTensor.from_row_lengths(np.ones(lengths.sum(), "int32"), lengths), {}, 32)
    in_random_order = np.array_split(random.permutation(4000), 125)
    baseline = padded_share(batches, in_random_order)
    ours = np.mean([padded_share(batches, batches.plan(epoch)) for epoch in range(3)])
    seen = 1 - np.mean(np.concatenate([b["padding_mask"].numpy().ravel() for b, _ in batches.dataset(0, 1)]))
    assert seen == pytest.approx(padded_share(batches, batches.plan(0)))
    assert ours < 0.2 and ours < baseline / 2, f"{ours:.1%} padding, {baseline:.1%} in random order"


def test_batches_are_no_sorted_curriculum():
    batches = make(2000)
    longest = [batches.lengths[rows].max() for rows in batches.plan(0)]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


def test_lengths_are_the_first_bucket_that_fits():
    for inputs, _ in make(bucket_lengths=[4, 9, 20]).dataset(0, 1):
        longest = inputs["padding_mask"].numpy().sum(axis=1).max()
        assert inputs["token_ids"].shape[1] == (4 if longest <= 4 else 9 if longest <= 9 else 20)
    for inputs, _ in make().dataset(0, 1):
        longest = inputs["padding_mask"].numpy().sum(axis=1).max()
        assert inputs["token_ids"].shape[1] == -(-longest // 8) * 8


@pytest.mark.parametrize("longest", [8, 16])
def test_a_row_that_fills_a_bucket_is_not_padded(longest):
    batches = Batches(tf.ragged.constant([[1] * longest]), {}, 1)
    assert next(iter(batches.dataset()))[0]["token_ids"].shape == (1, longest)


def test_groups_stay_together():
    groups = np.repeat(np.arange(20), np.random.default_rng(0).integers(1, 4, 20))
    ragged = tf.ragged.constant([[4] * (1 + n % 9) for n in range(len(groups))])
    batches = Batches(ragged, {"group": groups, "row": np.arange(len(groups))}, 7, groups=groups, seed=3)
    for epoch in range(3):
        plan = batches.plan(epoch)
        assert len(plan) == len(batches) == 10 and max(map(len, plan)) <= 7
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(groups)))
        where = {}
        for number, rows in enumerate(plan):
            for group in groups[rows]:
                assert where.setdefault(group, number) == number
    in_order = [targets["row"].numpy() for _, targets in batches.in_order()]
    assert len(in_order) == 10 and np.concatenate(in_order).tolist() == list(range(len(groups)))
    assert all(groups[one[-1]] != groups[two[0]] for one, two in itertools.pairwise(in_order))
    again = batches.with_targets({"more": groups})
    np.testing.assert_array_equal(np.concatenate(again.plan(1)), np.concatenate(batches.plan(1)))


@pytest.mark.parametrize(
    ("groups", "message"),
    [([0, 1, 0], "sort the rows by their group"), ([2, 2, 2], "3 rows does not fit a batch of 2: raise batch_size")],
)
def test_groups_that_cannot_stay_together_are_refused(groups, message):
    with pytest.raises(UserError, match=message):
        Batches(tf.ragged.constant([[1]] * 3), {}, 2, groups=np.array(groups))


def test_what_makes_no_batches_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        Batches(tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64)), {}, 8)
    with pytest.raises(ValueError, match="15 tokens is longer than the last bucket, 12"):
        make(bucket_lengths=[4, 12])
    with pytest.raises(ValueError, match="'labels' has 49 rows, but there are 50"):
        Batches(rows_of(50), {"labels": np.arange(49)}, 8)
    with pytest.raises(ValueError, match="'more' has 51 rows, but there are 50"):
        make().with_targets({"more": np.arange(51)})


@pytest.mark.parametrize(
    "rows, told",
    [
        ([[1, 2], [3, 51]], "row 1 holds the token 51, but bert_tiny knows those from 0 to 50: use the tokeniser"),
        ([[], [1], [2, -1, 3]], "row 2 holds the token -1"),
        ([[1], [2] * 17, [3]], "row 1 has 17 tokens, but bert_tiny takes at most 16: cut the rows"),
    ],
)
def test_rows_that_a_backbone_cannot_read_are_named(rows, told):
    batches = Batches(tf.ragged.constant(rows, dtype=tf.int32), {}, 2)
    with pytest.raises(UserError, match=told):
        batches.check(tiny())


def test_rows_that_fill_a_backbones_bounds_are_read():
    batches = Batches(tf.ragged.constant([[0, 50], [1] * 16]), {}, 2)
    batches.check(tiny())
    Batches(tf.ragged.constant([[1] * 99]), {}, 1).check(tiny("nezha_base"))


def test_ragged_targets_are_padded_with_zeros_to_the_batch():
    batches = make()
    vectors = tf.ragged.map_flat_values(lambda ids: tf.stack([ids, ids + 1], axis=-1), batches.token_ids)
    batches = batches.with_targets({"twice": batches.token_ids * 2, "vectors": vectors})
    for inputs, targets in batches.dataset(0, 1):
        assert set(targets) == {"labels", "twice", "vectors"}
        ids, mask = inputs["token_ids"].numpy(), inputs["padding_mask"].numpy()
        np.testing.assert_array_equal(targets["twice"], 2 * ids)
        np.testing.assert_array_equal(targets["vectors"], np.stack([ids, ids + 1], axis=-1) * mask[..., None])


def test_segment_ids_go_with_their_rows():
    token_ids = rows_of(50)
    segments = tf.ragged.map_flat_values(lambda ids: ids % 2, token_ids)
    for inputs, _ in Batches(token_ids, {}, 8, segment_ids=segments).dataset(0, 1):
        np.testing.assert_array_equal(inputs["segment_ids"], inputs["token_ids"] % 2)


def test_in_order_keeps_the_order():
    batches = make()
    rows = order(batches.in_order())
    assert np.concatenate(rows).tolist() == list(range(50))
    assert [len(batch) for batch in rows] == [8] * 6 + [2]


@pytest.mark.parametrize(
    "make_model",
    [
        lambda: TextClassifier(tiny(), 3),
        lambda: TokenClassifier(tiny(), 3),
        lambda: SpanClassifier(tiny()),
        tiny,
    ],
)
def test_outputs_of_a_model_are_those_of_direct_calls_in_the_rows_order(make_model):
    model, batches = make_model(), make()
    outputs = batches.outputs_of(model)
    assert set(outputs) == set(model.output)
    for row in range(0, 50, 7):
        ids = batches.token_ids[row].numpy()[None]
        direct = to_numpy(
            model({"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids, bool)})
        )
        for name, value in direct.items():
            assert_close(np.asarray(outputs[name][row]), value[0], 1e-5, f"{name} of row {row}")


def test_outputs_of_a_model_may_be_kept_in_half_precision():
    outputs = make().outputs_of(tiny(), dtype="float16")
    assert outputs["sequence_output"].dtype == tf.float16 and outputs["pooled_output"].dtype == "float16"
    full = make().outputs_of(tiny())
    assert full["pooled_output"].dtype == "float32"


def test_outputs_of_a_model_have_no_dropout():
    model = tiny(dropout=0.5)
    first, second = (make().outputs_of(model)["pooled_output"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_outputs_with_two_length_axes_are_refused():
    full = tiny().with_intermediates()
    scores = keras.Model(full.input, {"attention_scores/0": full.output["attention_scores"][0]})
    with pytest.raises(ValueError, match="attention_scores/0"):
        make().outputs_of(scores)


def test_outputs_of_a_model_serve_as_targets_again():
    batches, model = make(), tiny()
    with_states = batches.with_targets(batches.outputs_of(model))
    for inputs, targets in with_states.dataset(0, 1):
        direct, mask = to_numpy(model(inputs)), inputs["padding_mask"].numpy()
        assert_close(targets["pooled_output"], direct["pooled_output"], 1e-5)
        assert_close(targets["sequence_output"].numpy()[mask], direct["sequence_output"][mask], 1e-5)


def test_no_thread_tunes_the_batches():
    """The end of an iterator would wait for its sleep."""
    for dataset in (make().dataset(), make().in_order()):
        assert dataset.options().autotune.enabled is False
