"""ETC's attention beside a dense one with labels and masks, and what it may and may not see."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import gradients_of, to_numpy
from tests.support.oracles import attention, named_weights, part
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import GlobalLocalAttention, MultiHeadAttention, RelativeKeys
from tfmodels.models import ETCAttention, ETCConfig
from tfmodels.models.etc import GlobalTokens
from tfmodels.ops import by_clipped_distance

N, D, H = 2, 6, 3
CASES = {
    "separate projections": {"radius": 3, "tokens_per_global": 4, "max_distance": 2},
    "shared projections, stretches alone": {
        "radius": 2,
        "tokens_per_global": 5,
        "max_distance": 3,
        "is_shared": True,
        "hard_global_to_long": True,
    },
    "a radius of one, labels of the sign": {"radius": 1, "tokens_per_global": 1, "max_distance": 1},
    "one label of distance, a radius beyond the text": {"radius": 40, "tokens_per_global": 7, "max_distance": 0},
}
LENGTHS = (13, 9, 1, 0, 13)


def made(settings, **further):
    layer = GlobalLocalAttention(N, D, **settings, **further)
    layer.build((None, None, D))
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(size=w.shape, scale=0.6).astype("float32") for w in layer.weights])
    return layer


def rows(layer, length=13, lengths=LENGTHS):
    """float[B, G + T, D], bool[B, G + T] and G; the last row has a hole."""
    real = np.arange(length)[None] < np.asarray(lengths)[:, None]
    real[-1, 4] = False
    count = -(-length // layer.tokens_per_global)
    above = np.stack(
        [real[:, g * layer.tokens_per_global : (g + 1) * layer.tokens_per_global].any(axis=1) for g in range(count)],
        axis=1,
    )
    x = np.random.default_rng(0).normal(size=(len(lengths), count + length, D)).astype("float32")
    return x, np.concatenate([above, real], axis=1), count


def label(layer, i, j, count):
    """The label of the key at j for the query at i: a clipped distance from 0 to 2 k, then other and own stretch."""
    k = layer.max_distance
    if (i < count) == (j < count):
        return max(-k, min(k, j - i)) + k
    above, token = min(i, j), max(i, j) - count
    return 2 * k + (2 if token // layer.tokens_per_global == above else 1)


def sees(layer, i, j, count):
    """Whether the query at i may see the key at j, padding apart."""
    if i >= count and j >= count:
        return abs(i - j) <= layer.radius
    if i < count <= j and layer.hard_global_to_long:
        return (j - count) // layer.tokens_per_global == i
    return True


def dense(layer, real, count):
    """int[L, L] labels and bool[B, L, L]."""
    places = range(real.shape[1])
    labels = np.array([[label(layer, i, j, count) for j in places] for i in places])
    seen = np.array([[sees(layer, i, j, count) for j in places] for i in places])
    return labels, seen & real[:, None]


def names(layer, piece):
    """The weights of a piece: its query, key, value and output."""
    if layer.is_shared or piece == "l2l":
        return "query", "key", "value", "output_projection"
    if piece[0] == "l":
        return "query", f"key_{piece}", f"value_{piece}", "output_projection"
    return "global_query", f"key_{piece}", f"value_{piece}", "global_output"


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_it_equals_the_equations(settings):
    layer = made(settings)
    x, real, count = rows(layer)
    labels, seen = dense(layer, real, count)
    weights = named_weights(layer)

    def projected(name, values):
        kernel = part(weights, name)
        return values @ kernel["kernel"] + kernel["bias"]

    expected = np.zeros(x.shape)
    for queries, letter in ((range(count), "g"), (range(count, x.shape[1]), "l")):
        table = weights["global_labels" if letter == "g" else "labels"]
        query, _, _, output = names(layer, f"{letter}2g")
        keys, values = (
            np.concatenate(
                [
                    projected(names(layer, f"{letter}2g")[kind], x[:, :count]),
                    projected(names(layer, f"{letter}2l")[kind], x[:, count:]),
                ],
                axis=1,
            )
            for kind in (1, 2)
        )
        attended = []
        for n in range(N):
            head = slice(n * H, (n + 1) * H)
            attended.append(
                attention(
                    projected(query, x[:, queries])[:, :, None, head],
                    keys[:, :, None, head],
                    values[:, :, None, head],
                    mask=seen[:, None, queries],
                    score=lambda q, k, t, s: q @ (k + table[n, :, labels[queries[t], s]]),  # noqa: B023
                )[0][:, :, 0]
            )
        expected[:, queries] = projected(output, np.concatenate(attended, axis=-1))
    ours = to_numpy(layer(x, attention_mask=real[:, None, None]))
    assert_close(ours[real], expected[real], 1e-5)
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_gradients_equal_those_of_a_dense_version(settings):
    layer = made(settings)
    x, real, count = rows(layer)
    labels, seen = dense(layer, real, count)
    one_hot = np.eye(2 * layer.max_distance + 3, dtype="float32")[labels]  # [L, L, labels]
    factors = np.random.default_rng(1).normal(size=x.shape).astype("float32") * real[..., None]
    variable = keras.Variable(x)
    by_name = {v.path.split("/", 1)[1]: v for v in layer.weights}

    def projected(name, values):
        return ops.matmul(values, by_name[f"{name}/kernel"]) + by_name[f"{name}/bias"]

    def heads(values):
        return ops.reshape(values, (*values.shape[:2], N, H))

    def of_dense():
        inputs = ops.convert_to_tensor(variable)
        above, tokens = inputs[:, :count], inputs[:, count:]
        outputs = []
        for letter, source, chosen in (("g", above, slice(0, count)), ("l", tokens, slice(count, None))):
            to_globals, to_tokens = names(layer, f"{letter}2g"), names(layer, f"{letter}2l")
            query = heads(projected(to_globals[0], source))
            key, value = (
                heads(ops.concatenate([projected(to_globals[i], above), projected(to_tokens[i], tokens)], axis=1))
                for i in (1, 2)
            )
            table = by_name["global_labels" if letter == "g" else "labels"]
            logits = ops.einsum("btnh,bsnh->bnts", query, key)
            logits = (logits + ops.einsum("btnh,nhl,tsl->bnts", query, table, one_hot[chosen])) / H**0.5
            logits = ops.where(seen[:, None, chosen], logits, -1e9)
            attended = ops.einsum("bnts,bsnh->btnh", ops.softmax(logits), value)
            outputs.append(projected(to_globals[3], ops.reshape(attended, (*attended.shape[:2], D))))
        return ops.sum(ops.concatenate(outputs, axis=1) * factors)

    def of_ours():
        return ops.sum(layer(ops.convert_to_tensor(variable), attention_mask=real[:, None, None]) * factors)

    variables = [variable, *layer.trainable_variables]
    (value, ours), (reference, theirs) = gradients_of(of_ours, variables), gradients_of(of_dense, variables)
    assert_close(value, reference, 1e-5)
    for each, gradient, expected in zip(variables, ours, theirs):
        assert_close(gradient, expected, 1e-5, f"gradient of {each.path}")


def test_a_wide_radius_without_globals_is_full_attention_with_relative_keys():
    layer = made({"radius": 20, "tokens_per_global": 4, "max_distance": 3}, is_shared=True)
    x, real, count = rows(layer)
    real[:, :count] = False
    full = MultiHeadAttention(N, D, positions=RelativeKeys(3, H))
    full.build((None, None, D))
    labels = to_numpy(layer.labels)[:1]
    layer.labels.assign(np.repeat(labels, N, axis=0))
    for name in ("query", "key", "value", "output_projection"):
        getattr(full, name).set_weights(getattr(layer, name).get_weights())
    # That table begins with the keys that are farthest ahead.
    full.positions.set_weights([labels[0, :, 6::-1].T])
    ours = to_numpy(layer(x, attention_mask=real[:, None, None]))[:, count:]
    theirs = to_numpy(full(x[:, count:], attention_mask=real[:, None, None, count:]))
    assert_close(ours[real[:, count:]], theirs[real[:, count:]], 1e-5)


@pytest.mark.parametrize("hard", [False, True])
def test_a_token_is_heard_within_the_radius_and_by_the_globals(hard):
    layer = made(CASES["separate projections"], hard_global_to_long=hard)
    x, _, count = rows(layer, 21, (21, 21))
    before = to_numpy(layer(x))
    for token in (0, 7, 20):
        changed = x.copy()
        changed[:, count + token] += 1.0
        hears = np.abs(to_numpy(layer(changed)) - before).max(axis=(0, 2)) > 1e-6
        expected = [not hard or token // 4 == g for g in range(count)]
        expected += [abs(t - token) <= 3 for t in range(21)]
        assert hears.tolist() == expected


def test_a_graph_of_any_length_equals_fixed_ones():
    layer = made(CASES["separate projections"])
    inputs = keras.Input((None, D)), keras.Input((1, 1, None), dtype="bool")
    model = keras.Model(inputs, layer(inputs[0], attention_mask=inputs[1]))
    for length in (1, 3, 4, 5, 30):
        x, real, _ = rows(layer, length=max(length, 5), lengths=(max(length, 5), 2))
        x, real = x[:, : length + -(-length // 4)], real[:, : length + -(-length // 4)]
        fixed = to_numpy(layer(x, attention_mask=real[:, None, None]))
        assert_close(model.predict_on_batch([x, real[:, None, None]]), fixed, 1e-5)


def test_every_stretch_has_a_global_token_which_is_real_where_a_token_is():
    nodes = GlobalTokens(4)
    tokens = np.random.default_rng(0).normal(size=(2, 9, D)).astype("float32")
    is_real = np.ones((2, 9), bool)
    is_real[0, :4] = is_real[1, 8] = is_real[1, 1] = False
    made_nodes = nodes(tokens, is_real)
    assert made_nodes["nodes"].shape == (2, 3 + 9, D)
    assert to_numpy(made_nodes["is_real"])[:, :3].tolist() == [[False, True, True], [True, True, False]]
    np.testing.assert_array_equal(to_numpy(made_nodes["is_real"])[:, 3:], is_real)
    np.testing.assert_array_equal(to_numpy(nodes.tokens(made_nodes["nodes"], 9)), tokens)
    summary = nodes.summary(np.arange(2.0 * 12 * D).reshape(2, 12, D).astype("float32"), is_real)
    np.testing.assert_allclose(to_numpy(summary)[0], np.arange(12 * D).reshape(12, D)[[1, 2]].mean(axis=0))


def test_scores_of_distances_are_spread_over_keys():
    scores = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    for keys, before in ((1, 0), (4, 0), (12, 4), (9, 8)):
        spread = to_numpy(by_clipped_distance(scores, keys, before))
        assert spread.shape == (2, 3, 4, keys)
        for t in range(4):
            for s in range(keys):
                distance = max(-2, min(2, s - before - t))
                np.testing.assert_array_equal(spread[:, :, t, s], scores[:, :, t, distance + 2])


def test_the_layer_is_restored_and_computes_in_bfloat16():
    layer = made(CASES["separate projections"])
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    low = GlobalLocalAttention(N, D, **CASES["separate projections"], dtype="mixed_bfloat16")
    x, real, _ = rows(layer)
    expected = to_numpy(layer(x, attention_mask=real[:, None, None]))
    for other, tolerance in ((twin, 0), (low, 0.05)):
        if not other.built:
            other.build((None, None, D))
        other.set_weights(layer.get_weights())
        actual = to_numpy(other(x, attention_mask=real[:, None, None]))
        assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()
    assert keras.backend.standardize_dtype(low(x).dtype) == "bfloat16"


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"radius": 0}, "radius=0 is no whole number from 1"),
        ({"tokens_per_global": 0}, "tokens_per_global=0 is no whole number from 1"),
        ({"max_distance": -1}, "max_distance=-1 is no whole number from 0"),
        ({"radius": 1.5}, "radius=1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        tiny("etc_base", attention=ETCAttention(**settings))


def test_masks_that_tell_queries_apart_and_relative_positions_are_refused():
    layer = made(CASES["separate projections"])
    x, _, _ = rows(layer)
    with pytest.raises(UserError, match="mask of padding alone"):
        layer(x, attention_mask=np.ones((5, 1, x.shape[1], x.shape[1]), bool))
    with pytest.raises(UserError, match="does not know positions"):
        ETCConfig(positions="relative_key")


def test_any_encoder_of_berts_kind_takes_it():
    kind = ETCAttention(radius=2, tokens_per_global=3, max_distance=2)
    model = tiny("roberta_base", attention=kind.to_dict())
    assert model.config.attention == kind
    batch = {
        "token_ids": np.ones((2, 7), "int32"),
        "segment_ids": np.zeros((2, 7), "int32"),
        "padding_mask": np.arange(7)[None] < [[7], [2]],
    }
    assert to_numpy(model(batch))["sequence_output"].shape == (2, 7, 14)
