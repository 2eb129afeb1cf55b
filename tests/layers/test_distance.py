"""Schemes of distances against the papers' equations, one pair of positions at a time."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.test_xl import sinusoid
from tests.support import check_layer, to_numpy
from tests.support.gradients import finite_differences, gradients_of, largest_tensor
from tests.support.oracles import softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import BucketedBias, DistanceRescaling, LinearBias, MultiHeadAttention
from tfmodels.layers.xl import XLAttention, XLPositions
from tfmodels.ops import attend, causal, padding

B, N, H = 2, 3, 4
SCHEMES = {
    "DA-Transformer": lambda dtype=None: DistanceRescaling(N, dtype=dtype, name="positions"),
    "T5": lambda dtype=None: BucketedBias(N, 8, 5, dtype=dtype, name="positions"),
    "T5, causal": lambda dtype=None: BucketedBias(N, 5, 4, is_causal=True, dtype=dtype, name="positions"),
    "ALiBi": lambda dtype=None: LinearBias(N, dtype=dtype, name="positions"),
    "Transformer-XL": lambda dtype=None: XLPositions(N, N * H, dtype=dtype, name="positions"),
    "Transformer-XL, bounded": lambda dtype=None: XLPositions(N, N * H, 2, dtype=dtype, name="positions"),
}


def arrays(length, source, seed=0):
    random = np.random.default_rng(seed)
    shapes = {"query": (B, length, N, H), "key": (B, source, N, H), "value": (B, source, N, H)}
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def built(scheme, deviation=1.0):
    scheme.build((None, None, N * H))
    random = np.random.default_rng(1)
    scheme.set_weights([deviation * random.normal(size=weight.shape) for weight in scheme.weights])
    return scheme


def attended(qkv, logits, mask=None):
    """softmax(logits) v, in float64."""
    weights = softmax(logits if mask is None else np.where(mask, logits, -np.inf))
    return np.einsum("bnts,bsnh->btnh", weights, qkv["value"])


def products(qkv):
    """Yields indices and the product of a query with a key, float64, unscaled."""
    query, key = (qkv[name].astype("float64") for name in ("query", "key"))
    for b, n, t, s in np.ndindex(len(query), N, query.shape[1], key.shape[1]):
        yield (b, n, t, s), query[b, t, n] @ key[b, s, n]


def rescaled(qkv, distance_weights, offsets):
    """arXiv:2010.06925, equations 5 and 6, as they stand."""
    logits = np.zeros((B, N, qkv["query"].shape[1], qkv["key"].shape[1]))
    for (b, n, t, s), product in products(qkv):
        real = distance_weights[n] * abs(t - s)
        factor = (1 + math.exp(offsets[n])) / (1 + math.exp(offsets[n] - real))
        logits[b, n, t, s] = max(product, 0.0) * factor / math.sqrt(H)
    return logits


@pytest.mark.parametrize("length, source", [(1, 1), (5, 5), (3, 6), (7, 2)])
def test_logits_are_rescaled_by_a_sigmoid_of_the_distance(length, source):
    scheme, qkv = built(DistanceRescaling(N)), arrays(length, source)
    output, logits = to_numpy(attend(*qkv.values(), rescale=scheme.rescale, return_scores=True))
    expected = rescaled(qkv, *(weight.astype("float64") for weight in scheme.get_weights()))
    assert_close(logits, expected, 1e-5)
    assert_close(output, attended(qkv, expected), 1e-5)


def test_gradients_of_the_rescaling_are_those_of_the_equations():
    """Of queries, keys and values, of the weights of distances and the sigmoids' offsets."""
    scheme, qkv = built(DistanceRescaling(N)), arrays(4, 5)
    mask = np.array([True, True, False, True, True])
    cotangent = np.random.default_rng(5).normal(size=(B, 4, N, H)).astype("float32")
    variables = [keras.Variable(array, name=name) for name, array in qkv.items()] + scheme.trainable_variables
    values = {variable.name: to_numpy(variable.value).astype("float64") for variable in variables}
    assert set(values) == {"query", "key", "value", "distance_weights", "offsets"}

    def function():
        tensors = [ops.convert_to_tensor(variable) for variable in variables[:3]]
        return ops.sum(attend(*tensors, mask=mask[None, None, None], rescale=scheme.rescale) * cotangent)

    for variable, gradient in zip(variables, gradients_of(function, variables)[1]):

        def loss(array, name=variable.name):
            changed = {**values, name: array}
            logits = rescaled(changed, changed["distance_weights"], changed["offsets"])
            return float((attended(changed, logits, mask) * cotangent).sum())

        assert gradient.any()
        assert_close(gradient, finite_differences(loss, values[variable.name]), 1e-5, variable.name)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_rescaling_is_stable_at_any_distance(dtype):
    """exp(v - R) would overflow at R = -88 already."""
    scheme = DistanceRescaling(6, dtype=dtype)
    scheme.build()
    weights, offsets = np.array([1.0, -1.0, 40.0, -40.0, 0.0, 0.001]), np.array([-1.0, 1.0, 80.0, -80.0, 3.0, 0.0])
    scheme.set_weights([weights, offsets])
    logits = ops.ones((1, 6, 1, 700))
    factors = to_numpy(scheme.rescale(logits))[0, :, 0]
    assert_close(factors[:, 0], np.ones(6), 1e-6)
    assert_close(factors[:, -1], [1 + math.exp(-1), 0, 1 + math.exp(80), 0, 1, 2 / (1 + math.exp(-0.699))], 1e-5)
    steps = np.diff(factors)
    assert (steps[[0, 2, 5]] >= 0).all() and (steps[[1, 3]] <= 0).all() and not steps[4].any()
    # float32, whatever the policy: even near distances that are far away are told apart.
    assert (steps[5] > 0).all()
    _, gradients = gradients_of(lambda: ops.sum(scheme.rescale(logits[:, :, :, :90]) / 700), scheme.trainable_variables)
    assert all(np.isfinite(gradient[[0, 1, 3, 4, 5]]).all() for gradient in gradients)


def test_the_rescaling_does_not_tell_before_from_after():
    layer, random = MultiHeadAttention(N, N * H, positions=DistanceRescaling(N)), np.random.default_rng(2)
    x = random.normal(size=(B, 6, N * H)).astype("float32")
    layer(x)
    layer.set_weights([random.normal(size=weight.shape) * 0.5 for weight in layer.weights])
    assert_close(to_numpy(layer(x[:, ::-1]))[:, ::-1], to_numpy(layer(x)), 1e-5)
    order = [1, 0, 2, 3, 4, 5]
    assert np.abs(to_numpy(layer(x[:, order]))[:, order] - to_numpy(layer(x))).max() > 1e-2


def test_heads_begin_with_different_preferences():
    scheme = DistanceRescaling(64)
    scheme.build()
    weights, offsets = scheme.get_weights()
    assert weights.min() < -0.3 and weights.max() > 0.3 and np.abs(weights).max() <= 1 and not offsets.any()


def bucket(distance, num_buckets, max_distance, is_causal):
    """arXiv:1910.10683, section 2.1: half of a side's buckets are exact, then logarithmic up to `max_distance`."""
    first = 0
    if not is_causal:
        num_buckets //= 2
        first = num_buckets if distance < 0 else 0
        distance = abs(distance)
    distance, exact = max(distance, 0), num_buckets // 2
    if distance < exact:
        return first + distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    return first + min(num_buckets - 1, exact + math.floor(share * (num_buckets - exact) + 1e-9))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (8, 5), (4, 2), (6, 700), (33, 57)])
def test_buckets_grow_with_the_distance(num_buckets, max_distance, is_causal):
    scheme = BucketedBias(N, num_buckets, max(max_distance, num_buckets), is_causal=is_causal)
    distances = np.arange(-800, 801, dtype="int32")
    expected = [bucket(int(d), num_buckets, scheme.max_distance, is_causal) for d in distances]
    np.testing.assert_array_equal(to_numpy(scheme.buckets(ops.convert_to_tensor(distances))), expected)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length, source", [(1, 1), (6, 6), (3, 8), (8, 2)])
def test_every_bucket_adds_its_number_and_gets_its_gradient(length, source, is_causal):
    scheme = built(BucketedBias(N, 8, 5, is_causal=is_causal))
    cotangent = np.random.default_rng(3).normal(size=(N, length, source)).astype("float32")
    table, expected = scheme.get_weights()[0], np.zeros((N, length, source))
    gradient = np.zeros_like(table, "float64")
    for t, s in np.ndindex(length, source):
        row = bucket(t - s, 8, 5, is_causal)
        expected[:, t, s] = table[row]
        gradient[row] += cotangent[:, t, s]
    assert_close(to_numpy(scheme.bias(length, source))[0], expected, 1e-6)
    _, (actual,) = gradients_of(lambda: ops.sum(scheme.bias(length, source) * cotangent), scheme.trainable_variables)
    assert_close(actual, gradient, 1e-6)


@pytest.mark.parametrize("settings", [{"num_buckets": 2}, {"num_buckets": 1, "is_causal": True}, {"max_distance": 8}])
def test_buckets_without_ranges_are_refused(settings):
    with pytest.raises(UserError, match=r"leave no ranges: take at least \d buckets, and a max_distance above"):
        BucketedBias(N, **settings)


def test_layers_may_share_one_table_of_biases():
    shared = BucketedBias(N, name="positions")
    layers = [MultiHeadAttention(N, N * H, positions=shared) for _ in range(2)]
    for layer in layers:
        layer(np.ones((1, 2, N * H), "float32"))
    assert len({id(w) for layer in layers for w in layer.weights}) == 2 * len(layers[0].weights) - 1


@pytest.mark.parametrize(
    "num_heads, expected", [(1, [8]), (4, [2, 4, 6, 8]), (6, [2, 4, 6, 8, 1, 3]), (8, range(1, 9))]
)
def test_biases_fall_by_a_slope_for_every_head(num_heads, expected):
    slopes = 2.0 ** -np.array(expected)
    distances = np.abs(np.arange(5)[:, None] - np.arange(7))
    assert_close(to_numpy(LinearBias(num_heads).bias(5, 7))[0], -slopes[:, None, None] * distances, 1e-6)


@pytest.mark.parametrize("max_distance", [None, 2])
@pytest.mark.parametrize("length, source", [(1, 1), (5, 5), (3, 6), (7, 2)])
def test_transformer_xl_logits_are_those_of_the_equation(length, source, max_distance, monkeypatch):
    """arXiv:1901.02860, section 3.3, terms a to d."""
    monkeypatch.setattr("tests.layers.test_xl.D", N * H)
    scheme, qkv = built(XLPositions(N, N * H, max_distance)), arrays(length, source)
    weights = {weight.path.split("/", 1)[1]: to_numpy(weight.value).astype("float64") for weight in scheme.weights}
    relative = weights["relative/kernel"].reshape(N * H, N, H)
    expected = np.zeros((B, N, length, source))
    for (b, n, t, s), product in products(qkv):
        distance = t - s if max_distance is None else max(-max_distance, min(max_distance, t - s))
        r = sinusoid(distance) @ relative[:, n]
        q, k = (qkv[name].astype("float64")[b, i, n] for name, i in (("query", t), ("key", s)))
        by_head = weights["biases/content"][n], weights["biases/distance"][n]
        expected[b, n, t, s] = (product + q @ r + by_head[0] @ k + by_head[1] @ r) / math.sqrt(H)
    output, logits = to_numpy(attend(*qkv.values(), score=scheme.score, return_scores=True))
    assert_close(logits, expected, 1e-5)
    assert_close(output, attended(qkv, expected), 1e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_scheme_equals_transformer_xl_attention(is_causal):
    """Outputs, and the gradient of every weight that both have; `XLAttention` has no biases of projections."""
    length = 6
    plugged = MultiHeadAttention(N, N * H, positions=XLPositions(N, N * H, name="positions"), is_causal=is_causal)
    whole = XLAttention(N, N * H)
    x = np.random.default_rng(4).normal(size=(B, length, N * H)).astype("float32")
    mask = padding(np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool))
    encodings = plugged.positions.encodings(x)
    plugged(x)
    whole(x, encodings=encodings)
    random = np.random.default_rng(5)
    pairs = {
        weight.path.split("/", 1)[1].removeprefix("positions/"): weight
        for weight in plugged.weights
        if weight.name != "bias"
    }
    others = {weight.path.split("/", 1)[1]: weight for weight in whole.weights}
    assert set(pairs) == set(others) and len(pairs) == 7
    for name, weight in pairs.items():
        values = random.normal(size=weight.shape) * 0.5
        weight.assign(values)
        others[name].assign(values)
    both = ops.logical_and(mask, causal(length)) if is_causal else mask
    functions = {
        "plugged": (lambda: plugged(x, attention_mask=mask), pairs),
        "whole": (lambda: whole(x, encodings=encodings, attention_mask=both), others),
    }
    outputs, gradients = {}, {}
    cotangent = random.normal(size=x.shape).astype("float32")
    for key, (call, variables) in functions.items():
        outputs[key] = to_numpy(call())
        values = gradients_of(lambda call=call: ops.sum(call() * cotangent), list(variables.values()))[1]
        gradients[key] = dict(zip(variables, values))
    assert_close(outputs["plugged"], outputs["whole"], 1e-5)
    for name, gradient in gradients["whole"].items():
        assert gradient.any()
        assert_close(gradients["plugged"][name], gradient, 1e-5, name)


def test_the_scheme_needs_an_even_width():
    with pytest.raises(UserError, match="9 is odd"):
        XLPositions(3, 9)


@pytest.mark.parametrize("name", SCHEMES)
def test_attention_with_a_scheme_keeps_to_the_layer_contract(name):
    check_layer(
        lambda dtype=None: MultiHeadAttention(N, N * H, positions=SCHEMES[name](dtype), dtype=dtype),
        lambda batch, length: {"query": np.random.default_rng(0).normal(size=(batch, length, N * H)).astype("float32")},
        lambda batch, length: (batch, length, N * H),
    )


@pytest.mark.parametrize("name", SCHEMES)
def test_padding_changes_nothing_and_a_row_of_it_is_finite(name):
    layer = MultiHeadAttention(N, N * H, positions=built(SCHEMES[name]()))
    random = np.random.default_rng(6)
    x = random.normal(size=(3, 9, N * H)).astype("float32")
    noise = random.normal(size=x.shape).astype("float32")
    is_real = np.arange(9)[None] < np.array([5, 9, 0])[:, None]
    is_real[1, 4] = False
    outputs = [
        to_numpy(layer(np.where(is_real[..., None], x, other), attention_mask=padding(is_real))) for other in (x, noise)
    ]
    assert_close(outputs[0][is_real], outputs[1][is_real], 1e-6)
    assert_close(outputs[0][0, :5], to_numpy(layer(x[:1, :5]))[0], 1e-5)
    assert all(np.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize("name", SCHEMES)
def test_no_vector_is_formed_for_every_pair(name):
    """Nothing is larger than two sets of logits."""
    length, size = 32, 24
    scheme = {"DA-Transformer": DistanceRescaling(2), "ALiBi": LinearBias(2)}.get(name, BucketedBias(2))
    scheme = XLPositions(2, 2 * size) if name.startswith("Transformer-XL") else scheme
    scheme.build((None, None, 2 * size))
    x = np.ones((1, length, 2, size), "float32")
    hooks = {hook: getattr(scheme, hook) for hook in ("score", "rescale")}
    largest = largest_tensor(lambda *qkv: attend(*qkv, bias=scheme.bias(length, length), **hooks), x, x, x)
    logits = 2 * length * length
    assert logits <= largest <= 2 * logits + 2 * 2 * length < length * length * size
