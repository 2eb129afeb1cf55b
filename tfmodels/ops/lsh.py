"""Attention inside buckets of locality-sensitive hashing (Reformer, Kitaev et al., arXiv:2001.04451, section 2).

Vectors that point the same way are likely to fall into the same bucket, so that a query meets the keys that matter to
it among few. Tokens are sorted by bucket and cut into chunks of one size; a chunk sees itself and its neighbours.

The hash is angular (Andoni et al., arXiv:1509.02897): h(x) = argmax([x R; -x R]) for a random R. Several rounds, each
of its own R, are joined by their log-sum-exps (equation 9), without the paper's correction for keys that share more
than one round with a query: as in the released code such keys count once in each.

A causal query gets no value and no gradient of what stands behind it. Which of its past it sees is decided by where
chunks begin among the sorted tokens, though, and later tokens move that, in the paper as here: its outputs are not a
function of its past alone.

Cost: time O(B N R T (b + log T + (1 + L) C H)) for R rounds, b columns of a rotation, chunks of C and L neighbours;
memory O(B N R T ((1 + L) C + H)). Sorting is the only part that is more than linear in T.
"""

import numpy as np
from keras import ops

from tfmodels.errors import UserError
from tfmodels.ops.attention import attend, dot_products, join_attended
from tfmodels.ops.blocks import beside, stretch, to_blocks

# What a token's own logit is lowered by: far below any other's, far above those of forbidden keys. A power of two, so
# that multiples of it by positions are exact.
_OWN = 2.0**17
# The position of padding, so to speak: behind every real one.
_BEYOND = _OWN * 2.0**25


def bucket_factors(num_buckets):
    """The factors of a number of buckets: a hash is a digit for each.

    Args:
        num_buckets: An even number, or several, whose product is the number of buckets.

    Returns:
        A tuple of int.

    Raises:
        UserError: One of them is odd or below 2, or there is none.
    """
    factors = (num_buckets,) if isinstance(num_buckets, int) else tuple(num_buckets)
    if not factors or any(factor < 2 or factor % 2 for factor in factors):
        raise UserError(
            f"num_buckets={num_buckets}: a hash has a bucket for each direction and one for its opposite, so that "
            "numbers of buckets are even and at least 2, such as 64 or (16, 32)."
        )
    return factors


def rotation_columns(num_buckets):
    """b: the columns of the random rotation of one round."""
    return sum(bucket_factors(num_buckets)) // 2


def draw_rotations(seed, num_heads, head_dim, num_hashes, num_buckets):
    """R of every head and round, which depends on the seed alone.

    Args:
        seed: An integer, 0 or above.
        num_heads: N.
        head_dim: H.
        num_hashes: R, rounds.
        num_buckets: As in `bucket_factors`.

    Returns:
        A NumPy array, float32[N, H, R, b], standard normals.
    """
    shape = (num_heads, head_dim, num_hashes, rotation_columns(num_buckets))
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def lsh_buckets(vectors, rotations, num_buckets):
    """h(x) = argmax([x R; -x R]) (section 2, "locality sensitive hashing"); no gradient flows through it.

    With several factors a rotation's columns are shared out among them, and their hashes are the digits of one number,
    the first factor's the lowest.

    Args:
        vectors: float[B, T, N, H].
        rotations: float32[N, H, R, b].
        num_buckets: As in `bucket_factors`.

    Returns:
        int32[B, N, R, T], from 0 to the number of buckets - 1.
    """
    batch, length, heads, size = ops.shape(vectors)
    rounds, columns = rotations.shape[2:]
    rows = ops.transpose(ops.cast(ops.stop_gradient(vectors), "float32"), (2, 0, 1, 3))
    rows = ops.reshape(rows, (heads, batch * length, size))  # [N, B T, H]
    rotated = ops.matmul(rows, ops.reshape(rotations, (heads, size, rounds * columns)))  # [N, B T, R b]
    rotated = ops.reshape(rotated, (heads, batch, length, rounds, columns))
    buckets, first, scale = 0, 0, 1
    for factor in bucket_factors(num_buckets):
        own = rotated[..., first : first + factor // 2]
        # argmax([own; -own]) by half as many numbers: the longest column, and whether it points the other way.
        longest, digit = ops.top_k(ops.abs(own), 1)  # [N, B, T, R, 1]
        is_opposite = ops.max(own, axis=-1, keepdims=True, initial=0) < longest
        digit = ops.cast(digit, "int32") + ops.where(is_opposite, factor // 2, 0)
        buckets = buckets + ops.squeeze(digit, axis=-1) * scale  # [N, B, T, R]
        first, scale = first + factor // 2, scale * factor
    return ops.transpose(buckets, (1, 0, 3, 2))


def lsh_attend(
    query,
    value,
    buckets,
    is_real,
    chunk_length,
    chunks_before=1,
    chunks_after=0,
    is_causal=False,
    is_circular=False,
    dropout=None,
):
    """Attention of queries that are the keys too, normalised to length sqrt(H) (section 2, "shared-QK attention").

    A token attends to itself only where there is nothing else.

    Args:
        query: float[B, T, N, H].
        value: float[B, T, N, H].
        buckets: int32[B, N, R, T], from `lsh_buckets`.
        is_real: bool[B, T], True at keys that may be attended to.
        chunk_length: C, tokens.
        chunks_before: The number of chunks before its own that a query sees.
        chunks_after: And after.
        is_causal: Whether a query sees none of the keys behind it.
        is_circular: Whether the chunks of all rounds are a ring: the first chunk of a round has the last one of the
            round before it, and the very first one the very last, as its neighbour. The paper has nothing there.
        dropout: As in `attend`.

    Returns:
        float[B, T, N, H].
    """
    batch, length, heads, size = ops.shape(query)
    rounds = buckets.shape[2]
    # Whole chunks; what is filled in is padding.
    chunks = -(-length // chunk_length)  # M
    whole = chunks * chunk_length  # T from here on

    def filled(x):
        return ops.reshape(to_blocks(x, chunk_length), (batch, whole, *x.shape[2:]))

    query, value, is_real = filled(query), filled(value), filled(is_real)
    buckets = ops.transpose(filled(ops.transpose(buckets, (0, 3, 1, 2))), (0, 2, 3, 1))
    positions, to_sorted, to_tokens = _order(buckets, is_real)

    rings = (batch * heads, rounds * chunks) if is_circular else (batch * heads * rounds, chunks)
    chunks_seen = chunks_before + 1 + chunks_after  # 1 + L

    def chunked(x):
        """[rings, chunks of a ring, C, ...] of [B, N, R, T, ...]."""
        return ops.reshape(x, (*rings, chunk_length, *x.shape[4:]))

    def around(x, is_circular=is_circular):
        return beside(chunked(x), chunks_before, chunks_after, is_circular)

    def folded(x, count):
        """Chunks as rows of a batch, for `attend`: [rows, C or (1 + L) C, 1, H]."""
        return ops.reshape(x, (rings[0] * rings[1], count, 1, size))

    # Sorted, real tokens are first.
    count = ops.sum(ops.cast(is_real, "int32"), axis=1)  # [B]
    is_first = ops.arange(whole, dtype="int32") < count[:, None, None, None]
    is_first = ops.broadcast_to(is_first, (batch, heads, rounds, whole))
    bias = _bias(chunked(positions), around(positions), around(is_first), is_causal)  # [rings, chunks, C, (1 + L) C]
    bias = ops.reshape(bias, (rings[0] * rings[1], 1, *bias.shape[2:]))

    # Always a ring, so that every key stands in as many chunks: the bias forbids what is beyond the ends.
    to_seen = around(to_sorted, is_circular=True)  # [rings, chunks, (1 + L) C]
    places = ops.reshape(
        ops.arange(rings[0] * rings[1] * chunks_seen * chunk_length), (*rings, chunks_seen, chunk_length)
    )
    copies = [
        ops.roll(stretch(places, number, 1, axis=2), number - chunks_before, axis=1) for number in range(chunks_seen)
    ]
    copies = ops.reshape(ops.stack(copies, axis=-1), (-1, chunks_seen))  # [B N R T, 1 + L]
    copies = ops.reshape(_taken(copies, to_tokens), (batch, whole, heads, rounds * chunks_seen))

    attended, log_sums = attend(
        folded(_moved(query, to_sorted, to_tokens), chunk_length),
        folded(_moved(_normalised(query), to_seen, copies), chunks_seen * chunk_length),
        folded(_moved(value, to_seen, copies), chunks_seen * chunk_length),
        bias=bias,
        scale=1.0,
        score=dot_products,
        dropout=dropout,
        return_log_sum=True,
    )  # [rows, C, 1, H] and [rows, C, 1]
    shape = (batch, heads, rounds, whole)
    to_rounds = ops.expand_dims(to_sorted * rounds + ops.arange(rounds, dtype="int32")[:, None], axis=-1)
    attended = _moved(ops.reshape(attended, (*shape, size)), to_tokens, to_rounds)  # [B, T, N, R, H]
    if rounds == 1:
        return stretch(ops.squeeze(attended, axis=3), 0, length)
    log_sums = _moved(ops.reshape(log_sums, (*shape, 1)), to_tokens, to_rounds)[..., 0]  # [B, T, N, R]
    return stretch(join_attended(attended, log_sums, axis=3), 0, length)


def _normalised(x, epsilon=1e-6):
    """Vectors of length 1: those of length sqrt(H), with the scale of the logits."""
    values, size = ops.cast(x, "float32"), x.shape[-1]
    squared = ops.sum(ops.square(values), axis=-1, keepdims=True)
    return ops.cast(values * ops.rsqrt(squared + epsilon * size), x.dtype)


def _order(buckets, is_real):
    """Tokens sorted by bucket and position, padding last, from int32[B, N, R, T]; buckets of padding do not matter.

    Returns:
        int32[B, N, R, T], the tokens' positions in their new order; int32[B, N, R, T], where the vectors of that order
        lie among all rows of a float[B, T, N, H]; and int32[B, T, N, R], where those of the tokens' own order lie among
        all rows of a float[B, N, R, T, H].
    """
    batch, heads, rounds, length = ops.shape(buckets)
    buckets = ops.where(is_real[:, None, None], buckets, ops.max(buckets, initial=0) + 1)
    # Both backends sort stably: within a bucket the order is that of the positions.
    positions = ops.argsort(buckets, axis=-1)
    places = ops.cast(ops.argsort(positions, axis=-1), "int32")
    positions = ops.cast(positions, "int32")
    rows = ops.reshape(ops.arange(batch, dtype="int32"), (batch, 1, 1, 1)) * length + positions
    to_sorted = rows * heads + ops.arange(heads, dtype="int32")[:, None, None]
    firsts = ops.reshape(ops.arange(batch * heads * rounds, dtype="int32") * length, (batch, heads, rounds, 1))
    return positions, to_sorted, ops.transpose(places + firsts, (0, 3, 1, 2))


def _moved(x, rows, copies):
    """Vectors of the last axis elsewhere, or at several places.

    The gradient of taking rows is that they are taken back, which is faster than a sum over all of them.

    Args:
        x: float[..., H].
        rows: int32[...], for every vector of the result where it lies among all of `x`.
        copies: int32[..., copies], for every vector of `x` where it lies among all of the result.

    Returns:
        float[..., H].
    """

    @ops.custom_gradient
    def run(x):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            taken = _taken(upstream, copies)  # [..., copies, H]
            return ops.squeeze(taken, axis=-2) if copies.shape[-1] == 1 else ops.sum(taken, axis=-2)

        return _taken(x, rows), gradient

    return run(x)


def _taken(x, rows):
    """Vectors of the last axis by their place among all of them."""
    taken = ops.take(ops.reshape(x, (-1, x.shape[-1])), rows, axis=0)
    # JAX loses the shape of rows where there is nothing to take from.
    return ops.reshape(taken, (*ops.shape(rows), x.shape[-1]))


def _bias(queries, keys, is_real, is_causal):
    """What is added to the logits: nothing, or large negative numbers for a query's own key and for forbidden ones.

    Made of positions by few passes over memory, of which the logits are many times as many.

    Args:
        queries: int32[..., C], positions.
        keys: int32[..., S], positions.
        is_real: bool[..., S].
        is_causal: Whether keys behind the query are forbidden.

    Returns:
        float32[..., C, S].
    """
    queries = ops.cast(queries, "float32")[..., None] * _OWN  # [..., C, 1]
    keys = ops.cast(keys, "float32")[..., None, :] * _OWN  # [..., 1, S]
    is_real = is_real[..., None, :]
    if is_causal:
        # -1 for the own key, -2 and below for those behind it; padding is behind everything.
        return ops.minimum(queries - ops.where(is_real, keys + _OWN, _BEYOND), 0.0)
    own = ops.minimum(ops.abs(queries - keys) - _OWN, 0.0)
    return own - ops.where(is_real, 0.0, _BEYOND)
