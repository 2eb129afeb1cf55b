"""Routing Transformer's attention against dense matrices, and its centroids against a moving average."""

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_layer, to_numpy, token_batch
from tests.support.attention_oracles import check_dense_oracle, holed_rows, with_random_weights
from tests.support.oracles import named_weights, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import Centroids, RoutingAttention
from tfmodels.models import BertConfig, Routing
from tfmodels.ops import standardise

HEADS, SIZE = 3, 4


def vectors(batch, length, size=HEADS * SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, size)).astype("float32")


def routing(num_clusters, cluster_size=None, window=2, is_causal=False, dtype=None, **settings):
    return RoutingAttention(
        HEADS, HEADS * SIZE, num_clusters, cluster_size, window, is_causal=is_causal, dtype=dtype, **settings
    )


def normal(x):
    """A vector less its mean, over its standard deviation."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def attended(query, key, value, sees):
    """softmax(q k^T / sqrt(H)) v over what is seen, zeros where nothing is."""
    weights = softmax(np.where(sees, query @ key.T / np.sqrt(SIZE), -1e30)) * sees.any(-1, keepdims=True)
    return weights @ value


def joined_by_cluster(query, key, value, means, is_real, cluster_size):
    """Every cluster's best queries with its best keys; the mean over the clusters that a query is in."""
    query, key = normal(query), normal(key)
    real = np.flatnonzero(is_real)
    size = -(-len(real) // len(means)) if cluster_size is None else min(cluster_size, len(real))
    total, times = np.zeros_like(value), np.zeros(len(value))
    for mean in means:
        members, keys = (sorted(real, key=lambda t, x=x: -(x[t] @ mean))[:size] for x in (query, key))
        sees = np.isin(np.arange(len(value)), keys)[None] & np.ones((len(members), 1), bool)
        total[members] += attended(query[members], key, value, sees)
        times[members] += 1
    return total / np.maximum(times, 1)[:, None]


def last_of_cluster(query, value, means, is_real, cluster_size):
    """The nearest centroid's last real members, the token itself among them."""
    query = normal(query)
    nearest = np.argmax(query @ means.T, axis=1)
    sees = np.zeros((len(value), len(value)), bool)
    for t in range(len(value)):
        members = [s for s in range(t + 1) if is_real[s] and nearest[s] == nearest[t]]
        sees[t, members[-cluster_size:]] = True
    return attended(query, query, value, sees)


def oracle_of(layer):
    def oracle(weights, x, is_real):
        names = ("query", "query" if layer.is_causal else "key", "value")
        query, key, value = (x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"] for name in names)
        joined, distance = np.zeros_like(value), np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])[None]
        near = (distance <= layer.window) & (distance >= (0 if layer.is_causal else -layer.window))
        for row in range(len(x)):
            for head in range(HEADS):
                part = slice(SIZE * head, SIZE * (head + 1))
                q, k, v = query[row, :, part], key[row, :, part], value[row, :, part]
                if head < layer.local_heads:
                    joined[row, :, part] = attended(q, k, v, near & is_real[row])
                    continue
                means = weights["centroids/means"][head - layer.local_heads]
                joined[row, :, part] = (
                    last_of_cluster(q, v, means, is_real[row], layer.cluster_size)
                    if layer.is_causal
                    else joined_by_cluster(q, k, v, means, is_real[row], layer.cluster_size)
                )
        return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]

    return oracle


@pytest.mark.parametrize(
    ("length", "settings"),
    [
        (1, {"num_clusters": 3}),
        (11, {"num_clusters": 3}),
        (11, {"num_clusters": 4, "cluster_size": 2, "window": 0, "num_local_heads": 1}),
        (5, {"num_clusters": 8, "num_local_heads": 0}),
        (5, {"num_clusters": 2, "cluster_size": 50, "window": 50}),
        (1, {"num_clusters": 3, "cluster_size": 1, "is_causal": True}),
        (11, {"num_clusters": 2, "cluster_size": 3, "is_causal": True}),
        (5, {"num_clusters": 9, "cluster_size": 50, "window": 50, "is_causal": True}),
        (37, {"num_clusters": 2, "cluster_size": 4, "num_local_heads": 1, "is_causal": True}),
    ],
)
def test_outputs_and_gradients_are_those_of_the_clusters(length, settings):
    layer, batch = routing(**settings), 1 if length > 20 else 3
    check_dense_oracle(layer, oracle_of(layer), vectors(batch, length), holed_rows(batch, length))


@pytest.mark.parametrize("settings", [{}, {"cluster_size": 2, "is_causal": True}])
def test_it_keeps_to_the_layer_contract(settings):
    check_layer(
        lambda dtype=None: routing(3, dropout=0.1, dtype=dtype, **settings),
        lambda batch, length: {
            "query": vectors(batch, length),
            "attention_mask": holed_rows(batch, length)[:, None, None],
        },
        lambda batch, length: (batch, length, HEADS * SIZE),
        # A token at the border of two clusters may be on the other side of it in bfloat16.
        bfloat16_tolerance=0.3,
    )


@pytest.mark.parametrize("is_causal", [False, True])
def test_one_cluster_of_all_tokens_is_full_attention_of_standardised_vectors(is_causal):
    length, is_real = 9, holed_rows(2, 9)
    layer, x = routing(1, 9, is_causal=is_causal, num_local_heads=0), vectors(2, length)
    layer(x)
    weights = named_weights(with_random_weights(layer))
    query, key, value = (
        x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        for name in ("query", "query" if is_causal else "key", "value")
    )
    past = np.tril(np.ones((length, length), bool)) if is_causal else True
    joined = np.zeros_like(value)
    for row in range(2):
        for head in range(HEADS):
            part = slice(SIZE * head, SIZE * (head + 1))
            q, k = normal(query[row, :, part]), normal(key[row, :, part])
            joined[row, :, part] = attended(q, k, value[row, :, part], past & is_real[row])
    expected = joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]
    actual = to_numpy(layer(x, attention_mask=is_real[:, None, None]))
    assert_close(actual[is_real], expected[is_real], 1e-5)


def test_no_causal_query_hears_of_what_comes_after_it_nor_of_how_much_does():
    layer, x = routing(3, 4, is_causal=True), vectors(1, 23)
    layer(x)
    with_random_weights(layer)
    whole = to_numpy(layer(x))
    for place in range(1, 23):
        changed = x.copy()
        changed[0, place:] = vectors(1, 23 - place, seed=place)[0]
        assert_close(to_numpy(layer(changed))[0, :place], whole[0, :place], 1e-6, f"before {place}")
    for place in (1, 8, 22):
        assert_close(to_numpy(layer(x[:, :place])), whole[:, :place], 1e-6, f"alone up to {place}")


def followed(means, points, is_real, decay):
    """The centroids after one step: each moves to the mean of the real points that it is nearest to."""
    moved = means.copy()
    for head in range(len(means)):
        nearest = np.argmax(points[:, :, head] @ means[head].T, axis=-1)
        for cluster in range(means.shape[1]):
            members = points[:, :, head][(nearest == cluster) & is_real]
            if len(members):
                moved[head, cluster] = decay * means[head, cluster] + (1 - decay) * members.mean(axis=0)
    return moved


def test_centroids_follow_the_moving_average_in_training_alone():
    layer = Centroids(4, decay=0.7)
    points = [np.random.default_rng(step).normal(size=(2, 9, 3, 5)).astype("float32") for step in range(6)]
    is_real = holed_rows(2, 9)
    layer(points[0], is_real)
    expected = np.asarray(layer.get_weights()[0], "float64")
    for x in points:
        scores = to_numpy(layer(x, is_real, training=True))
        assert_close(scores, np.einsum("btnh,nkh->bnkt", x, expected), 1e-5, "scores are those before the step")
        expected = followed(expected, x.astype("float64"), is_real, 0.7)
        assert_close(layer.get_weights()[0], expected, 1e-5)
        to_numpy(layer(x, is_real, training=False))
        assert_close(layer.get_weights()[0], expected, 1e-5, "only in training")


def test_a_centroid_without_members_stays():
    layer, x = Centroids(2, decay=0.5), np.ones((1, 3, 1, 2), "float32")
    layer(x, np.ones((1, 3), bool))
    layer.set_weights([np.array([[[1.0, 1.0], [-1.0, -1.0]]])])
    layer(3 * x, np.ones((1, 3), bool), training=True)
    assert_close(layer.get_weights()[0], [[[2.0, 2.0], [-1.0, -1.0]]], 1e-6)
    layer(x, np.zeros((1, 3), bool), training=True)  # nothing but padding
    assert_close(layer.get_weights()[0], [[[2.0, 2.0], [-1.0, -1.0]]], 1e-6)


@pytest.mark.parametrize("is_causal", [False, True])
def test_queries_and_keys_move_the_centroids_of_the_routed_heads(is_causal):
    layer, x, is_real = routing(2, 3, is_causal=is_causal, decay=0.6), vectors(2, 7), holed_rows(2, 7)
    layer(x)
    weights = named_weights(with_random_weights(layer))
    layer(x, attention_mask=is_real[:, None, None], training=True)
    names = ("query",) if is_causal else ("query", "key")
    points = [
        normal((x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]).reshape(2, 7, HEADS, SIZE)[:, :, 1:])
        for name in names
    ]
    expected = followed(
        weights["centroids/means"], np.concatenate(points, 1), np.concatenate([is_real] * len(names), 1), 0.6
    )
    assert_close(named_weights(layer)["centroids/means"], expected, 1e-5)
    assert not any("means" in variable.path for variable in layer.trainable_variables)


def means_of(model):
    return [np.asarray(to_numpy(v.value)) for v in model.non_trainable_variables if v.name == "means"]


def routed_encoder(**settings):
    return tiny("bert_tiny", attention=Routing(3, 3, window=2, causal=True, decay=0.8), **settings)


@pytest.mark.parametrize(("length", "clusters"), [(1, 1), (16, 4), (512, 23), (4096, 64), (16384, 128)])
def test_the_longest_row_has_as_many_clusters_as_a_cluster_has_tokens(length, clusters):
    config = BertConfig(max_sequence_length=length, attention=Routing())
    layer = config.attention.make(config, 0, "float32")
    assert layer.num_clusters == clusters and layer.cluster_size is None  # T / K tokens in each


def test_trained_centroids_survive_a_file(tmp_path):
    backbone, batch = routed_encoder(), token_batch([9, 4])
    before = means_of(backbone)
    for _ in range(3):
        backbone(batch, training=True)
    after = means_of(backbone)
    assert len(after) == 3 and all((a != b).any() for a, b in zip(before, after))
    backbone.save(tmp_path / "model.keras")
    for value, other in zip(means_of(keras.saving.load_model(tmp_path / "model.keras")), after):
        np.testing.assert_array_equal(value, other)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="training is TensorFlow's")
def test_training_moves_the_centroids_once_a_step_and_as_often_where_activations_are_computed_again():
    from tfmodels.models import TextClassifier
    from tfmodels.training.recomputation import recomputation

    batch, found = token_batch([9, 4]), []
    for again in (False, True):
        keras.utils.set_random_seed(0)
        encoder = routed_encoder(num_layers=1, dropout=0.0, attention_dropout=0.0)
        model = TextClassifier(encoder, 2, dropout=0.0)
        start = means_of(model)
        logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss={"logits": logits})
        with recomputation(model, again):
            for _ in range(2):
                model.train_on_batch(batch, {"logits": np.array([0, 1])})
        found.append((start, means_of(model), [np.array(v) for v in model.trainable_variables]))
    for values, others in zip(found[0], found[1]):
        for value, other in zip(values, others, strict=True):
            assert_close(value, other, 1e-5)
    assert all((a != b).any() for a, b in zip(*found[0][:2]))


def test_standardised_vectors_are_finite_where_nothing_varies():
    assert_close(to_numpy(standardise(np.full((1, 3), 4.0, "float32"))), np.zeros((1, 3)), 1e-6)
    assert_close(to_numpy(standardise(vectors(2, 5))), normal(vectors(2, 5)), 1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_clusters": 0}, "num_clusters=0: routing needs at least one cluster"),
        ({"num_clusters": 2, "cluster_size": 0}, "cluster_size=0: a cluster needs at least one member"),
        ({"num_clusters": 2, "window": -1}, "window=-1 is no number of tokens"),
        ({"num_clusters": 2, "num_local_heads": 5}, "num_local_heads=5 is not among 0 to num_heads=3"),
        ({"num_clusters": 2, "decay": 1.5}, "decay=1.5 is no fraction"),
        ({"num_clusters": 2, "is_causal": True}, "causal routing needs a cluster_size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        routing(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_clusters": 0}, "routing needs at least one cluster"),
        ({"cluster_size": 0}, "a cluster needs at least one member"),
        ({"window": -1}, "window=-1 is no number of tokens"),
        ({"num_local_heads": 3}, "num_local_heads=3 is not among 0 to num_heads=2"),
        ({"decay": -0.1}, "decay=-0.1 is no fraction"),
        ({"causal": True}, "causal routing needs a cluster_size"),
    ],
)
def test_a_model_of_such_a_configuration_is_refused_too(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny("bert_tiny", attention=Routing(**settings))
