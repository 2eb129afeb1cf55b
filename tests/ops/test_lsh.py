"""LSH attention against the paper's equations, one token at a time; chunks of neighbours against a mask."""

from itertools import pairwise

import numpy as np
import pytest
from keras import ops

from tests.support import to_numpy
from tests.support.gradients import finite_differences, gradients_with_respect_to
from tests.support.oracles import attention
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.ops import attend, beside, chunk_attend, draw_rotations, join_attended, lsh_attend, lsh_buckets

B, N, H = 2, 2, 3
CASES = {
    "one round": {"rounds": 1},
    "three rounds, causal": {"rounds": 3, "is_causal": True},
    "two rounds, two chunks before": {"rounds": 2, "chunks_before": 2},
    "two rounds, a chunk on either side": {"rounds": 2, "chunks_after": 1},
    "two rounds, alone, causal": {"rounds": 2, "chunks_before": 0, "is_causal": True},
    "three rounds in a ring, causal": {"rounds": 3, "is_causal": True, "is_circular": True},
    "two rounds in a ring": {"rounds": 2, "chunks_after": 1, "is_circular": True},
}


def hashed(vectors, rotations, num_buckets):
    """h(x) = argmax([x R; -x R]) of float[B, T, N, H], one vector at a time; several factors are digits."""
    factors = (num_buckets,) if isinstance(num_buckets, int) else num_buckets
    batch, length, heads, _ = vectors.shape
    rounds = rotations.shape[2]
    buckets = np.zeros((batch, heads, rounds, length), int)
    for b, n, r, t in np.ndindex(buckets.shape):
        rotated, first, scale = vectors[b, t, n] @ rotations[n, :, r], 0, 1
        for factor in factors:
            columns = rotated[first : first + factor // 2]
            buckets[b, n, r, t] += scale * np.argmax(np.concatenate([columns, -columns]))
            first, scale = first + factor // 2, scale * factor
    return buckets


def reach(buckets, is_real, chunk, before, after, is_circular):
    """How often the token t sees the key s, over all rounds of one head: int[T, T] of int[R, T]."""
    rounds, length = buckets.shape
    real = [t for t in range(length) if is_real[t]]
    chunks = -(-length // chunk)
    held = []  # the real tokens of every chunk, round after round
    for r in range(rounds):
        order = sorted(real, key=lambda t: (buckets[r, t], t))
        held.append([order[chunk * c : chunk * (c + 1)] for c in range(chunks)])
    counts = np.zeros((length, length), int)
    for r in range(rounds):
        for c in range(chunks):
            for t in held[r][c]:
                for step in range(-before, after + 1):
                    if is_circular:
                        ring, place = divmod((r * chunks + c + step) % (rounds * chunks), chunks)
                    elif 0 <= c + step < chunks:
                        ring, place = r, c + step
                    else:
                        continue
                    for s in held[ring][place]:
                        counts[t, s] += 1
    return counts


def oracle(query, value, buckets, is_real, chunk, chunks_before=1, chunks_after=0, is_causal=False, is_circular=False):
    """The paper's shared-QK attention (arXiv:2001.04451, section 2): keys are queries of length sqrt(H).

    A key that a query sees in several rounds counts in each, and its own only where it sees nothing else.
    """
    query, value = np.asarray(query, "float64"), np.asarray(value, "float64")
    output = np.zeros_like(value)
    for b, n in np.ndindex(B, N):
        counts = reach(buckets[b, n], is_real[b], chunk, chunks_before, chunks_after, is_circular)
        for t in np.flatnonzero(is_real[b]):
            seen = [s for s in range(query.shape[1]) if counts[t, s] and s != t and not (is_causal and s > t)]
            if not seen:
                output[b, t, n] = value[b, t, n]
                continue
            keys = {s: query[b, s, n] / np.sqrt(np.mean(query[b, s, n] ** 2) + 1e-6) for s in seen}
            weights = {s: counts[t, s] * np.exp(query[b, t, n] @ keys[s] / np.sqrt(H)) for s in seen}
            output[b, t, n] = sum(weights[s] * value[b, s, n] for s in seen) / sum(weights.values())
    return output


def drawn(length, rounds, num_buckets=4, seed=0):
    random = np.random.default_rng(seed)
    query, value = random.normal(size=(2, B, length, N, H)).astype("float32")
    is_real = np.ones((B, length), bool)
    is_real[0, length - length // 4 :] = is_real[1, 2:3] = False
    buckets = random.integers(0, num_buckets, (B, N, rounds, length)).astype("int32")
    return query, value, buckets, is_real


@pytest.mark.parametrize("length", (1, 3, 5, 12, 13))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_are_those_of_the_equations(case, length):
    settings = dict(case)
    query, value, buckets, is_real = drawn(length, settings.pop("rounds"))
    ours = to_numpy(lsh_attend(query, value, buckets, is_real, 3, **settings))
    assert np.isfinite(ours).all()
    assert_close(ours[is_real], oracle(query, value, buckets, is_real, 3, **settings)[is_real], 1e-5)


@pytest.mark.parametrize("name", ["three rounds, causal", "two rounds in a ring", "one round"])
def test_gradients_are_those_of_the_equations(name):
    settings = dict(CASES[name])
    query, value, buckets, is_real = drawn(7, settings.pop("rounds"))
    factors = np.random.default_rng(3).normal(size=query.shape) * is_real[..., None, None]
    ours = gradients_with_respect_to(
        lambda q, v: ops.sum(lsh_attend(q, v, buckets, is_real, 3, **settings) * factors.astype("float32")),
        query,
        value,
    )
    for index, gradient in enumerate(ours):

        def loss(array, index=index):
            given = [query, value]
            given[index] = array
            return np.sum(oracle(*given, buckets, is_real, 3, **settings) * factors)

        assert_close(gradient, finite_differences(loss, (query, value)[index]), 1e-5)


@pytest.mark.parametrize("num_buckets", (2, 6, (4, 2), (2, 6, 4)))
def test_buckets_are_those_of_the_angular_hash(num_buckets):
    query = np.random.default_rng(1).normal(size=(B, 11, N, H)).astype("float32")
    rotations = draw_rotations(5, N, H, 3, num_buckets)
    buckets = to_numpy(lsh_buckets(query, rotations, num_buckets))
    np.testing.assert_array_equal(buckets, hashed(query, rotations, num_buckets))
    assert buckets.dtype == "int32" and buckets.max() < np.prod(num_buckets) and len(np.unique(buckets)) > 1
    # The opposite direction is another bucket, a longer vector is the same one.
    np.testing.assert_array_equal(lsh_buckets(3 * query, rotations, num_buckets), buckets)
    assert (to_numpy(lsh_buckets(-query, rotations, num_buckets)) != buckets).all()


def full(query, value, is_causal=False):
    """Full shared-QK attention, by the oracle of softmax attention."""
    length = query.shape[1]
    key = query / np.sqrt(np.mean(query.astype("float64") ** 2, axis=-1, keepdims=True) + 1e-6)
    mask = np.tri(length, k=-1, dtype=bool) if is_causal else ~np.eye(length, dtype=bool)
    mask = mask | (np.eye(length, dtype=bool) & ~mask.any(axis=1)[:, None])
    return attention(query, key, value, mask=np.broadcast_to(mask, (B, N, length, length)))[0]


@pytest.mark.parametrize("is_causal", (False, True))
@pytest.mark.parametrize("rounds", (1, 3))
def test_one_chunk_is_full_attention(is_causal, rounds):
    query, value, buckets, _ = drawn(9, rounds)
    for chunk in (9, 16):
        ours = lsh_attend(query, value, buckets, np.ones((B, 9), bool), chunk, is_causal=is_causal)
        assert_close(ours, full(query, value, is_causal), 1e-5)


def test_one_bucket_and_enough_chunks_are_full_attention():
    query, value, buckets, _ = drawn(11, 2)
    ours = lsh_attend(query, value, 0 * buckets, np.ones((B, 11), bool), 3, chunks_before=3, chunks_after=3)
    assert_close(ours, full(query, value), 1e-5)


def test_the_error_to_full_attention_falls_with_the_rounds():
    random = np.random.default_rng(0)
    centres = random.normal(size=(N, 8, 16))
    tokens = centres[:, random.integers(0, 8, (B, 96))] + 0.5 * random.normal(size=(N, B, 96, 16))
    query = (3 * tokens.transpose(1, 2, 0, 3)).astype("float32")
    value = random.normal(size=query.shape).astype("float32")
    exact, errors = full(query, value), []
    for rounds in (1, 2, 4, 8, 16):
        buckets = lsh_buckets(query, draw_rotations(0, N, 16, rounds, 16), 16)
        ours = to_numpy(lsh_attend(query, value, buckets, np.ones((B, 96), bool), 8))
        errors.append(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
    assert all(later < earlier for earlier, later in pairwise(errors)), errors
    assert errors[-1] < errors[0] / 2


def test_with_its_buckets_a_causal_query_sees_nothing_behind_it():
    query, value, buckets, _ = drawn(13, 2)
    real = np.ones((B, 13), bool)
    before = to_numpy(lsh_attend(query, value, buckets, real, 3, is_causal=True))
    for position in range(13):
        changed, other = query.copy(), value.copy()
        changed[:, position] += 1
        other[:, position] -= 2
        after = to_numpy(lsh_attend(changed, other, buckets, real, 3, is_causal=True))
        np.testing.assert_array_equal(after[:, :position], before[:, :position])
        assert (after[:, position:] != before[:, position:]).any()


def test_no_gradient_leads_to_a_later_token():
    query, value, buckets, _ = drawn(13, 2)
    for position in range(13):
        gradients = gradients_with_respect_to(
            lambda q, v, t=position: ops.sum(
                lsh_attend(q, v, buckets, np.ones((B, 13), bool), 3, is_causal=True)[:, t] ** 2
            ),
            query,
            value,
        )
        assert all(not gradient[:, position + 1 :].any() for gradient in gradients)


def test_padding_alone_is_finite():
    query, value, buckets, _ = drawn(7, 2)
    for is_causal in (False, True):
        nothing = np.zeros((B, 7), bool)
        assert np.isfinite(to_numpy(lsh_attend(query, value, buckets, nothing, 3, is_causal=is_causal))).all()
        assert np.isfinite(to_numpy(chunk_attend(query, query, value, nothing, 3, is_causal=is_causal))).all()


@pytest.mark.parametrize("length", (1, 3, 5, 13))
@pytest.mark.parametrize("is_causal, before, after", [(False, 1, 1), (True, 1, 0), (True, 2, 0), (False, 0, 0)])
def test_chunks_are_full_attention_under_a_mask(length, is_causal, before, after):
    query, value, _, is_real = drawn(length, 1)
    key = query[:, ::-1].copy()
    ours = to_numpy(chunk_attend(query, key, value, is_real, 3, before, after, is_causal))
    chunk = np.arange(length) // 3
    steps = chunk[None, :] - chunk[:, None]
    mask = (steps >= -before) & (steps <= after)
    if is_causal:
        mask &= np.tri(length, dtype=bool)
    mask = np.broadcast_to(mask[None, None] & is_real[:, None, None], (B, N, length, length))
    expected, sees = attention(query, key, value, mask=mask)[0], mask.any(axis=-1).transpose(0, 2, 1)
    assert_close(ours[sees], expected[sees], 1e-5)


def test_parts_are_joined_to_the_whole():
    query, value, _, _ = drawn(9, 1)
    bias = np.random.default_rng(2).normal(size=(1, N, 9, 9)).astype("float32")
    parts = [
        attend(query, query[:, some], value[:, some], bias=bias[..., some], return_log_sum=True)
        for some in (slice(0, 2), slice(2, 3), slice(3, 9))
    ]
    joined = join_attended(ops.stack([a for a, _ in parts], axis=3), ops.stack([s for _, s in parts], axis=3), axis=3)
    assert_close(to_numpy(joined), to_numpy(attend(query, query, value, bias=bias)), 1e-6)


def test_blocks_of_a_ring_have_the_last_before_the_first():
    blocks = to_numpy(beside(np.arange(6).reshape(1, 3, 2), 1, 1, is_circular=True))[0].tolist()
    assert blocks == [[4, 5, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 0, 1]]


@pytest.mark.parametrize("num_buckets", (3, 0, -2, (), (4, 3), 1))
def test_odd_numbers_of_buckets_are_refused(num_buckets):
    with pytest.raises(UserError, match="even and at least 2"):
        draw_rotations(0, N, H, 1, num_buckets)
