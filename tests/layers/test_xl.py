"""Relative attention with memory against the papers' equations, one number at a time."""

import keras
import numpy as np
import pytest

from tests.support import check_layer, gradients_of, to_numpy
from tests.support.oracles import named_weights, softmax
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import FeedForward, TransformerBlock
from tfmodels.layers.xl import Memory, RelativeBiases, RelativeSegments, RelativeSinusoids, XLAttention

D, N, H, M = 8, 2, 3, 4


def vectors(batch, length, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, D)).astype("float32")


def sinusoid(distance):
    """R of one distance (arXiv:1901.02860, section 3.3; the released code puts all sines first)."""
    angles = [distance / 10_000 ** (2 * i / D) for i in range(D // 2)]
    return np.array([*np.sin(angles), *np.cos(angles)])


def encodings(length, memory=0, past_only=False):
    last = 0 if past_only else 1 - length
    return np.stack([sinusoid(d) for d in range(memory + length - 1, last - 1, -1)])[None].astype("float32")


def make(dtype=None, segments=True):
    return XLAttention(
        N,
        D,
        head_dim=H,
        dropout=0.1,
        segments=RelativeSegments(N, H, dtype=dtype, name="segments") if segments else None,
        dtype=dtype,
    )


def arguments(batch, length, memory=M, past_only=False):
    random, source = np.random.default_rng(3), memory + length
    mask = (
        np.arange(source)[None] <= memory + np.arange(length)[:, None] if past_only else np.ones((length, source), bool)
    )
    mask = mask & (random.random((batch, 1, length, source)) < 0.8)
    mask[..., 0] = True
    return {
        "query": vectors(batch, length),
        "value": np.concatenate([vectors(batch, memory, 1), vectors(batch, length)], axis=1),
        "encodings": encodings(length, memory, past_only),
        "is_other_segment": random.random((batch, length, source)) < 0.5,
        "attention_mask": mask,
    }


def with_random_weights(layer, seed=9):
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) * 0.5 for weight in layer.weights])
    return layer


def oracle(layer, query, value, encodings, is_other_segment, attention_mask):
    """Equations of arXiv:1901.02860, section 3.3, and arXiv:1906.08237, section 2.5, pair by pair."""
    w = named_weights(layer)
    heads = {name: w[f"{name}/kernel"].reshape(D, N, H) for name in ("query", "key", "value", "relative")}
    (batch, length), source = query.shape[:2], value.shape[1]
    logits = np.zeros((batch, N, length, source))
    for b, n, i, j in np.ndindex(*logits.shape):
        q, k = query[b, i] @ heads["query"][:, n], value[b, j] @ heads["key"][:, n]
        r = sinusoid(source - length + i - j) @ heads["relative"][:, n]
        terms = q @ k + q @ r + w["biases/content"][n] @ k + w["biases/distance"][n] @ r
        if layer.segments is not None:
            terms += (q + w["segments/bias"][n]) @ w["segments/embeddings"][int(is_other_segment[b, i, j]), n]
        logits[b, n, i, j] = terms / np.sqrt(H)
    weights = softmax(np.where(attention_mask, logits, -np.inf))
    values = np.einsum("bsd,dnh->bsnh", value, heads["value"])
    attended = np.einsum("bnts,bsnh->btnh", weights, values).reshape(batch, length, N * H)
    return attended @ w["output_projection/kernel"], logits


@pytest.mark.parametrize("segments", [True, False])
def test_attention_keeps_to_the_layer_contract(segments):
    check_layer(lambda dtype=None: make(dtype, segments), arguments, lambda batch, length: (batch, length, D))


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("memory", [0, 1, 6])
@pytest.mark.parametrize("length", [1, 5])
def test_outputs_and_scores_are_those_of_the_equations(length, memory, segments):
    layer, inputs = make(segments=segments), arguments(2, length, memory)
    layer(**inputs)
    output, scores = to_numpy(with_random_weights(layer)(**inputs, return_scores=True))
    expected_output, expected_scores = oracle(layer, **inputs)
    assert_close(scores, expected_scores, 1e-5)
    assert_close(output, expected_output, 1e-5)


def test_encodings_of_the_past_alone_are_enough_for_causal_attention():
    layer, inputs = make(), arguments(2, 5, past_only=True)
    layer(**inputs)
    short = to_numpy(with_random_weights(layer)(**inputs))
    assert_close(short, to_numpy(layer(**{**inputs, "encodings": encodings(5, M)})), 1e-6)
    assert_close(short, oracle(layer, **inputs)[0], 1e-5)


def test_one_head_of_one_query_and_a_whole_batch():
    # The shapes at which TensorFlow's oneDNN kernel of broadcasting products corrupts memory.
    layer = XLAttention(1, D, head_dim=H)
    for batch, length in ((4, 1), (4, 9), (1, 1)):
        inputs = {"query": vectors(batch, length), "encodings": encodings(length)}
        first = to_numpy(layer(**inputs))
        for _ in range(20):
            np.testing.assert_array_equal(to_numpy(layer(**inputs)), first)


def test_predictions_stand_where_the_mapping_puts_them():
    layer, inputs = make(), arguments(2, 5)
    layer(**inputs)
    whole = to_numpy(with_random_weights(layer)(**inputs))
    chosen = np.array([[3, 0], [4, 2]])
    mapping = np.eye(5, dtype="float32")[chosen]
    query = np.take_along_axis(inputs["query"], chosen[..., None], 1)
    some = to_numpy(layer(**{**inputs, "query": query}, target_mapping=mapping))
    assert_close(some, np.take_along_axis(whole, chosen[..., None], 1), 1e-6)


def test_layers_may_share_their_biases():
    shared = RelativeBiases(N, D // N, name="biases")
    first, second = (XLAttention(N, D, biases=shared) for _ in range(2))
    for layer in (first, second):
        layer(vectors(1, 2), encodings=encodings(2))
    assert first.biases is second.biases is shared
    assert len({id(w) for w in first.weights + second.weights}) == len(first.weights) + len(second.weights) - 2


def test_heads_must_divide_the_width_unless_their_size_is_given():
    with pytest.raises(UserError, match="num_heads=3 does not divide hidden_dim=8"):
        XLAttention(3, 8)
    assert XLAttention(3, 8, head_dim=5).head_dim == 5


@pytest.mark.parametrize("past_only", [True, False])
@pytest.mark.parametrize("memory", [None, 3])
def test_sinusoids_of_every_distance(past_only, memory):
    layer = RelativeSinusoids(D, past_only=past_only, dropout=0.5)
    old = None if memory is None else vectors(2, memory)
    assert_close(to_numpy(layer(vectors(2, 4), old)), encodings(4, memory or 0, past_only), 1e-6)
    bounded = to_numpy(RelativeSinusoids(D, past_only=past_only, max_distance=2)(vectors(2, 4), old))[0]
    assert_close(bounded[0], sinusoid(2), 1e-6)
    assert_close(bounded[-1], sinusoid(0 if past_only else -2), 1e-6)


def test_sinusoids_keep_to_the_layer_contract():
    check_layer(
        lambda dtype=None: RelativeSinusoids(D, dtype=dtype),
        lambda batch, length: {"query": vectors(batch, length), "memory": vectors(batch, M)},
        lambda batch, length: (1, 2 * length + M - 1, D),
    )


def test_sinusoids_need_an_even_size():
    with pytest.raises(UserError, match="7 is odd"):
        RelativeSinusoids(7)


@pytest.mark.parametrize(
    "length, reuse, memory, kept",
    [(None, None, 0, 5), (None, None, 3, 8), (4, None, 3, 4), (20, None, 3, 8), (4, 2, 3, 4), (0, None, 3, 0)],
)
def test_memory_keeps_the_latest(length, reuse, memory, kept):
    old, new = vectors(2, memory, 1), vectors(2, 5)
    expected = np.concatenate([old, new[:, :reuse]], axis=1)
    expected = expected[:, expected.shape[1] - kept :]
    np.testing.assert_array_equal(to_numpy(Memory(length, reuse)(old, new)), expected)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_normalises_its_context_as_its_inputs(norm_first):
    block = TransformerBlock(make(segments=False), FeedForward(5), norm_first=norm_first)
    x, context = vectors(2, 3), vectors(2, 7, 1)
    inputs = {"attention_inputs": {"encodings": encodings(3, 4)}}
    block(x, context=context, **inputs)
    with_random_weights(block)
    value = to_numpy(block.attention_norm(context)) if norm_first else context
    query = to_numpy(block.attention_norm(x)) if norm_first else x
    attended = to_numpy(block.attention(query, value, **inputs["attention_inputs"])) + x
    middle = attended if norm_first else to_numpy(block.attention_norm(attended))
    fed = to_numpy(block.feed_forward(block.feed_forward_norm(middle) if norm_first else middle)) + middle
    expected = fed if norm_first else to_numpy(block.feed_forward_norm(fed))
    assert_close(to_numpy(block(x, context=context, **inputs)), expected, 1e-5)


def test_no_gradient_flows_into_memory():
    old, new = (keras.Variable(vectors(1, 2, seed)) for seed in (0, 1))
    remember = Memory(3)
    _, (of_old, of_new) = gradients_of(
        lambda: keras.ops.sum(remember(old.value, new.value)) + 0 * keras.ops.sum(old.value + new.value), [old, new]
    )
    assert not of_old.any() and not of_new.any()
