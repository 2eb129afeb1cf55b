"""Reformer's attention: inside buckets of similar tokens, and inside chunks of neighbours (arXiv:2001.04451).

`LSHSelfAttention` is shared-QK attention: one projection makes queries and keys, a token does not attend to itself
where there is anything else, and hashing decides who meets (`ops.lsh`). `LocalSelfAttention` is what the released
models have in most layers (`ops.chunks`).

In training every call draws new rotations. At inference they depend on the layer's seed alone, so that a model that is
saved, loaded and served is one function.

Cost: that of `ops.lsh` and of `ops.chunks`.
"""

import keras

from tfmodels.errors import UserError
from tfmodels.layers.attention import HeadedAttention
from tfmodels.ops import chunk_attend, draw_rotations, lsh_attend, lsh_buckets, real_keys


def check_chunks(chunk_length, chunks_before, chunks_after, is_causal):
    """Looks at the settings of attention in chunks.

    Raises:
        UserError: A chunk is empty, a number of chunks is negative, or causal chunks look ahead.
    """
    if chunk_length < 1:
        raise UserError(f"chunk_length={chunk_length}: a chunk has at least one token.")
    if chunks_before < 0 or chunks_after < 0:
        raise UserError(
            f"chunks_before={chunks_before} and chunks_after={chunks_after} are numbers of chunks: choose 0 or more."
        )
    if is_causal and chunks_after:
        raise UserError(f"causal attention sees nothing of the chunks after its own: chunks_after={chunks_after} is 0.")


class LSHSelfAttention(HeadedAttention):
    """Attention of every token with those that hash alike, of a sequence with itself.

    Args:
        num_heads: N.
        hidden_dim: D.
        num_buckets: An even number, or several whose product is the number of buckets; about 2 T / C is right.
        num_hashes: R, rounds.
        chunk_length: C, tokens, in the order of the buckets.
        chunks_before: The number of chunks before its own that a query sees.
        chunks_after: And after.
        dropout: fraction of the attention weights dropped in training.
        is_causal: Whether a position sees itself and what came before it alone.
        head_dim: H; None for D / N.
        use_bias: Whether the projections have biases.
        is_circular: Whether the chunks of all rounds are a ring, as in the released code; see `ops.lsh_attend`. What a
            row is filled up with is part of the ring then: padding changes what its first tokens see.
        seed: What the rotations at inference depend on, and the first ones of training.

    Attributes:
        rotations: float32[N, H, R, b], R of inference; may be assigned.

    Raises:
        UserError: There is no round, a number of buckets is odd, or the chunks are none.
    """

    shares_keys = True
    is_of_itself = True
    attends_by_training = True
    # What the backward pass of a reversible layer must not compute again: activations that were computed back from
    # the outputs differ in their last bits, and a bucket in all.
    kept = ("buckets",)

    def __init__(
        self,
        num_heads,
        hidden_dim,
        num_buckets,
        num_hashes=1,
        chunk_length=64,
        chunks_before=1,
        chunks_after=0,
        dropout=0.0,
        is_causal=False,
        head_dim=None,
        use_bias=True,
        is_circular=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, head_dim, use_bias, **kwargs)
        check_chunks(chunk_length, chunks_before, chunks_after, is_causal)
        if num_hashes < 1:
            raise UserError(f"num_hashes={num_hashes}: hashing needs at least one round.")
        # JSON has lists.
        self.num_buckets = num_buckets if isinstance(num_buckets, int) else tuple(num_buckets)
        self.num_hashes = num_hashes
        self.chunk_length = chunk_length
        self.chunks_before = chunks_before
        self.chunks_after = chunks_after
        self.is_circular = is_circular
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rotations = draw_rotations(seed, num_heads, self._width // num_heads, num_hashes, self.num_buckets)

    def buckets(self, query, training=None):
        """int32[B, N, R, T] of float[B, T, N, H]."""
        rotations = self.rotations
        if training:
            rotations = keras.random.normal(rotations.shape, seed=self.seed_generator, dtype="float32")
        return lsh_buckets(query, rotations, self.num_buckets)

    def attend(self, query, key, value, *, mask, dropout, training=None):
        return lsh_attend(
            query,
            value,
            self.buckets(query, training),
            real_keys(mask, query),
            self.chunk_length,
            self.chunks_before,
            self.chunks_after,
            self.is_causal,
            self.is_circular,
            dropout,
        )


class LocalSelfAttention(HeadedAttention):
    """Attention inside chunks of neighbours, of a sequence with itself.

    Args:
        num_heads: N.
        hidden_dim: D.
        chunk_length: C, tokens.
        chunks_before: The number of chunks before its own that a query sees.
        chunks_after: And after.
        dropout: fraction of the attention weights dropped in training.
        is_causal: Whether a position sees itself and what came before it alone.
        head_dim: H; None for D / N.
        use_bias: Whether the projections have biases.
        is_circular: Whether the last chunk stands before the first one, as in the released code.

    Raises:
        UserError: The chunks are none, or causal ones look ahead.
    """

    is_of_itself = True

    def __init__(
        self,
        num_heads,
        hidden_dim,
        chunk_length=64,
        chunks_before=1,
        chunks_after=0,
        dropout=0.0,
        is_causal=False,
        head_dim=None,
        use_bias=True,
        is_circular=False,
        **kwargs,
    ):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, head_dim, use_bias, **kwargs)
        check_chunks(chunk_length, chunks_before, chunks_after, is_causal)
        self.chunk_length = chunk_length
        self.chunks_before = chunks_before
        self.chunks_after = chunks_after
        self.is_circular = is_circular

    def attend(self, query, key, value, *, mask, dropout):
        return chunk_attend(
            query,
            key,
            value,
            real_keys(mask, key),
            self.chunk_length,
            self.chunks_before,
            self.chunks_after,
            self.is_causal,
            self.is_circular,
            dropout,
        )
