"""BigBird's attention beside full attention under the mask of its blocks, and the blocks themselves."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import check_layer, gradients_of, to_numpy
from tests.support.oracles import multi_head_attention, named_weights
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import BlockSparseAttention, MultiHeadAttention
from tfmodels.models import BigBirdAttention, BigBirdBackbone, BigBirdConfig
from tfmodels.ops import attend, block_pattern, distinct, random_numbers

N, D = 3, 12
# Rows that end within blocks and at their ends, short ones, one of padding alone; then holes.
LENGTHS = (31, 28, 22, 13, 1, 0, 31)
CASES = {
    "blocks of 3, two random": {"block_size": 3, "num_random_blocks": 2, "seed": 5},
    "blocks of 2, none random": {"block_size": 2, "num_random_blocks": 0},
    "blocks of one token": {"block_size": 1, "num_random_blocks": 3},
    "as transformers": {"block_size": 3, "num_random_blocks": 2, "as_transformers": True},
}


def rows(length=31, lengths=LENGTHS, seed=0):
    """float[B, T, D] and bool[B, T], the last row with holes."""
    x = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), D)).astype("float32")
    x = np.pad(x, [(0, 0), (0, length - x.shape[1]), (0, 0)], constant_values=3.0)
    real = np.arange(length)[None] < np.asarray(lengths)[:, None]
    real[-1, 7:8] = real[-1, lengths[-1] - 2 : lengths[-1] - 1] = False
    return x, real


def times_seen(layer, real, training):
    """int[B, N, T, T]: how often a query counts a key, from the paper's words and the layer's random blocks."""
    size, (batch, length) = layer.block_size, real.shape
    blocks = -(-length // size)
    counts = np.full(batch, blocks)
    if not layer.as_transformers:
        counts = np.array([max([0, *np.flatnonzero(row)]) // size + 1 for row in real])
    pattern = layer.pattern(ops.convert_to_tensor(counts.astype("int32")), blocks, training)
    drawn, is_drawn = to_numpy(pattern.indices)[..., 5:], to_numpy(pattern.is_used)[..., 5:]
    times = np.zeros((batch, N, length, length), int)
    for b in range(batch):
        last = counts[b] - 1
        for n in range(N):
            for t in range(length):
                block = t // size
                seen = {0, last, *(j for j in (block - 1, block, block + 1) if 0 <= j <= last)}
                listed = [int(j) for j, used in zip(drawn[b, n, block], is_drawn[b, n, block]) if used]
                if layer.as_transformers and not training:
                    listed = [0] * layer.num_random_blocks
                if block in (0, last):
                    seen, listed = set(range(blocks)), []
                for j in [*seen, *listed]:
                    times[b, n, t, j * size : (j + 1) * size] += 1
    return times * real[:, None, None]


def with_weights_of(layer, query_length=31):
    """Full attention with a layer's weights."""
    full = MultiHeadAttention(N, D)
    full.build((None, query_length, D))
    full.set_weights(layer.get_weights())
    return full


def made(settings):
    layer = BlockSparseAttention(N, D, **settings)
    layer.build((None, None, D))
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(size=w.shape, scale=0.4).astype("float32") for w in layer.weights])
    return layer


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_it_equals_full_attention_under_its_mask_outputs_and_gradients(settings, training):
    layer, (x, real) = made(settings), rows()
    full, times = with_weights_of(layer), times_seen(layer, real, training)
    factors = np.random.default_rng(1).normal(size=x.shape).astype("float32") * real[..., None]
    mask, more = times > 0, np.log(np.maximum(times, 1)).astype("float32")

    def dense(query, key, value, **others):
        return attend(query, key, value, mask=mask, bias=more)

    full.attend = dense
    assert x.shape[1] > layer.full_length and not mask[0, 0].all()
    expected = to_numpy(full(x))
    assert_close(to_numpy(layer(x, attention_mask=real[:, None, None], training=training))[real], expected[real], 1e-5)

    variable = keras.Variable(x)
    _, ours = gradients_of(
        lambda: ops.sum(layer(ops.convert_to_tensor(variable), None, real[:, None, None], training=training) * factors),
        [variable, *layer.trainable_variables],
    )
    _, theirs = gradients_of(
        lambda: ops.sum(full(ops.convert_to_tensor(variable)) * factors), [variable, *full.trainable_variables]
    )
    for name, gradient, reference in zip(["inputs", *(v.path for v in layer.weights)], ours, theirs):
        assert_close(gradient, reference, 1e-5, f"gradient of {name}")


def test_it_equals_the_equations():
    layer, (x, real) = made(CASES["blocks of 3, two random"]), rows()
    expected, _ = multi_head_attention(named_weights(layer), x, x, N, times_seen(layer, real, False) > 0)
    assert_close(to_numpy(layer(x, attention_mask=real[:, None, None]))[real], expected[real], 1e-5)


def test_rows_of_few_blocks_attend_fully_beside_long_ones():
    layer, size = made(CASES["blocks of 3, two random"]), 3
    x, real = rows(lengths=(6 * size, 6 * size - 2, 40, 5, 40), length=40)
    ours = to_numpy(layer(x, attention_mask=real[:, None, None]))
    full = to_numpy(with_weights_of(layer)(x, attention_mask=real[:, None, None]))
    for row in (0, 1, 3):
        assert_close(ours[row][real[row]], full[row][real[row]], 1e-5)
    assert np.abs(ours[2] - full[2]).max() > 0.01


@pytest.mark.parametrize("length", [18, 19, 31], ids="up to {} tokens".format)
def test_how_far_a_batch_is_padded_changes_nothing(length):
    # 18 tokens attend fully, 19 do not.
    layer, lengths = made(CASES["blocks of 3, two random"]), [min(each, length) for each in LENGTHS]
    (x, real), (longer, longer_real) = rows(length, lengths), rows(50, lengths)
    plain = to_numpy(layer(x, attention_mask=real[:, None, None]))
    padded = to_numpy(layer(longer, attention_mask=longer_real[:, None, None]))[:, :length]
    assert_close(padded[real], plain[real], 1e-5)
    assert np.isfinite(padded).all()


@pytest.mark.parametrize("settings", [CASES["blocks of 3, two random"], CASES["as transformers"]])
def test_a_graph_of_any_length_equals_fixed_ones(settings):
    layer = made(settings)
    inputs = keras.Input((None, D)), keras.Input((1, 1, None), dtype="bool")
    model = keras.Model(inputs, layer(inputs[0], attention_mask=inputs[1]))
    # One block; where full attention ends, and one token more; more blocks.
    for length in (1, 3, layer.full_length, layer.full_length + 1, 40):
        x, real = rows(length, lengths=(length, length // 2 + 1))
        real[-1] = np.arange(length) < length // 2 + 1
        fixed = to_numpy(layer(x, attention_mask=real[:, None, None]))
        assert_close(model.predict_on_batch([x, real[:, None, None]]), fixed, 1e-5)


def test_it_keeps_to_the_contract_of_layers():
    check_layer(
        lambda dtype=None: BlockSparseAttention(2, 8, 0.0, 1, 1, dtype=dtype),
        lambda batch, length: {"query": np.random.default_rng(0).normal(size=(batch, length, 8)).astype("float32")},
        lambda batch, length: (batch, length, 8),
        lengths=(1, 4, 7, 15),
    )


def test_dropout_drops_weights_in_training_alone():
    layer, (x, real) = made({**CASES["blocks of 3, two random"], "dropout": 0.5}), rows()
    plain = to_numpy(layer(x, attention_mask=real[:, None, None], training=False))
    assert_close(plain, to_numpy(layer(x, attention_mask=real[:, None, None], training=False)), 1e-6)
    assert np.abs(to_numpy(layer(x, attention_mask=real[:, None, None], training=True)) - plain).max() > 0.01


def test_no_block_is_listed_twice_and_random_ones_are_what_is_left():
    counts = np.array([1, 2, 3, 5, 7, 12], "int32")
    pattern = block_pattern(random_numbers(1, (N, 4, 3)), ops.convert_to_tensor(counts), 12)
    indices, is_used = to_numpy(pattern.indices), to_numpy(pattern.is_used)
    assert indices.shape == is_used.shape == (6, N, 12, 8)
    for row, count in enumerate(counts):
        for head in range(N):
            for block in range(12):
                listed = indices[row, head, block][is_used[row, head, block]].tolist()
                fixed = {0, count - 1} | {j for j in (block - 1, block, block + 1) if 0 <= j < count}
                left = set(range(count)) - fixed
                assert len(listed) == len(set(listed)) == len(fixed) + min(3, len(left))
                assert fixed <= set(listed) <= fixed | left


def test_all_sets_of_blocks_are_alike_likely():
    drawn = to_numpy(distinct(random_numbers(0, (6000, 2)), np.full(6000, 4, "int32")))
    sets, times = np.unique(drawn, axis=0, return_counts=True)
    assert sets.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    # Six alike of 6,000: 29 either way are one deviation.
    assert np.abs(times - 1000).max() < 120


def test_blocks_differ_by_head_layer_and_seed_and_are_the_same_when_made_again():
    def drawn(seed, index):
        kind = BigBirdAttention(block_size=1, seed=seed)
        layer = kind.make(BigBirdConfig(num_heads=2, hidden_dim=4), index, None)
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        counts = ops.convert_to_tensor(np.array([40], "int32"))
        plans = [to_numpy(each.pattern(counts, 40).indices)[0, :, :, 5:] for each in (layer, twin)]
        np.testing.assert_array_equal(*plans)
        return plans[0]

    first = drawn(0, 0)
    assert (first[0] != first[1]).any()
    assert (first != drawn(0, 1)).any() and (first != drawn(1, 0)).any()
    np.testing.assert_array_equal(drawn(0, 1), drawn(1, 0))
    # Written down: another version of a library must not change what a saved model sees.
    assert first[0, 10].tolist() == [18, 20, 30]


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"block_size": 0}, "block_size=0 is no whole number from 1"),
        ({"block_size": 2.5}, "block_size=2.5 is no whole number"),
        ({"num_random_blocks": -1}, "num_random_blocks=-1 is no whole number from 0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        tiny("bigbird_base", attention=BigBirdAttention(**settings))


def test_masks_that_tell_queries_apart_and_relative_positions_are_refused():
    layer, (x, _) = made(CASES["blocks of 3, two random"]), rows()
    with pytest.raises(UserError, match="mask of padding alone"):
        layer(x, attention_mask=np.ones((7, 1, 31, 31), bool))
    with pytest.raises(UserError, match="does not know positions"):
        BigBirdConfig(positions="relative_key")


@pytest.mark.parametrize("settings", [{"block_size": 4096}, {"num_random_blocks": 100}], ids=str)
def test_blocks_beyond_the_text_are_full_attention(settings):
    sparse = tiny("bigbird_base", attention=BigBirdAttention(**settings))
    full = BigBirdBackbone(sparse.config.replace(attention=None))
    full.set_weights(sparse.get_weights())
    batch = {
        "token_ids": np.ones((2, 16), "int32"),
        "segment_ids": np.zeros((2, 16), "int32"),
        "padding_mask": np.arange(16)[None] < [[16], [0]],
    }
    for name, value in to_numpy(sparse(batch)).items():
        assert_close(value, to_numpy(full(batch))[name], 1e-6)
