"""BP-Transformer's attention: tokens see near tokens and ever larger spans beyond (Ye et al., arXiv:1911.04070).

The nodes are the tokens and the spans of the binary partition (`ops.Partition`). A token attends to itself and to k
nodes on either side of every level, from fine to coarse; a span attends to all of its own tokens. Keys of a token's
attention carry a vector that tells the side, the level and the number of the node among the k: the paper's position in
the tree, one table a layer, shared by all heads. Two layers suffice for every token to hear of every other one.

What differs: the paper also has a vector for the edges from tokens to their span; all tokens of a span have the same
one, which adds the same number to all logits of a softmax, so that it changes nothing and is left out. Projections have
biases, as everywhere here. Where a span holds padding alone there is no such node.

Cost: time O(B T (k log(T / k) + log T) D + B T D^2) and memory O(B N T k log(T / k)) a layer.
"""

from keras import ops

from tfmodels.layers.attention import HeadedAttention, refuse_another
from tfmodels.layers.base import check_whole, truncated_normal
from tfmodels.ops import Partition, attend, dot_products, from_blocks, real_keys, to_blocks
from tfmodels.ops.partition import parts

# Fewer tokens in a block than this make more gathering than they save.
_SMALLEST_BLOCK = 64
# Levels whose spans attend to their tokens in one product.
_LEVELS_AT_ONCE = 5


class BinaryPartitionAttention(HeadedAttention):
    """Tokens to near tokens and far spans, spans to their tokens.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        dropout: fraction of the attention weights dropped in training.
        density: k, the nodes of a level that a token sees on either side.
        num_levels: Levels that have vectors of their own; what is above has those of the last one.
        is_causal: Whether a token sees what is to its left alone, itself included.

    Call arguments:
        query: float[B, L, D], all nodes, level by level; self-attention alone.
        attention_mask: bool[1 or B, 1, 1, L], True = real, or None.
        token_mask: bool[B, T], which tells the tokens among the nodes by its shape. Without it the query is tokens
            alone, T = L: spans are zeros, as before the first layer, and only the tokens come back.

    Returns:
        float[B, L, D].

    Raises:
        UserError: A setting is out of its range, the mask tells queries apart, or keys are of another sequence.
    """

    def __init__(self, num_heads, hidden_dim, dropout=0.0, density=4, num_levels=7, is_causal=False, **kwargs):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, **kwargs)
        check_whole(1, density=density, num_levels=num_levels)
        self.density = density
        self.num_levels = num_levels
        self._block = max(_SMALLEST_BLOCK, 1 << (density - 1).bit_length())

    def build(self, query_shape, value_shape=None):
        super().build(query_shape, value_shape)
        sides = 1 if self.is_causal else 2
        self.relations = self.add_weight(
            name="relations",
            shape=(1 + sides * self.num_levels * self.density, self.hidden_dim // self.num_heads),
            initializer=truncated_normal(),
        )

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None, token_mask=None):
        refuse_another(self, query, value)
        nodes, is_real = query, real_keys(attention_mask, query)
        partition = Partition(ops.shape(query if token_mask is None else token_mask)[1])
        if token_mask is None:
            nodes, is_real = with_spans(partition, query, is_real)
        output = super().call(nodes, attention_mask=(partition, is_real), training=training)
        return output if token_mask is not None else output[:, : partition.length]

    def attend(self, query, key, value, *, mask, dropout):
        partition, is_real = mask
        tokens, *spans = partition.split(query)
        attended = self._to_context(partition, tokens, key, value, is_real, dropout)
        own = (parts(x, [partition.length, partition.size - partition.length])[0] for x in (key, value, is_real))
        return ops.concatenate([attended, *self._to_own_tokens(partition, spans, *own, dropout)], axis=1)

    def _to_context(self, partition, query, key, value, is_real, dropout):
        """float[B, T, N, H]: the tokens' attention to the nodes around them."""
        place, exists, relation = partition.context(self.density, self._block, self.is_causal, self.num_levels)
        batch, heads, size = ops.shape(query)[0], *query.shape[2:]
        blocks, count = ops.shape(place)
        places = ops.reshape(place, (-1,))  # [M S]
        # Each head's rows lie together as they are taken: there is nothing to turn round afterwards.
        rows = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1)) * partition.size + place[:, None]
        rows = rows * heads + ops.arange(heads, dtype="int32")[:, None]  # [B, M, N, S]

        def seen(x):
            taken = ops.take(ops.reshape(x, (-1, size)), rows, axis=0)  # [B, M, N, S, H]
            return ops.transpose(ops.reshape(taken, (batch * blocks, heads, count, size)), (0, 2, 1, 3))

        def score(queries, keys):
            # The relations are those of all blocks: a product for every place in a block.
            by_place = ops.reshape(ops.transpose(queries, (2, 0, 1, 3)), (self._block, -1, size))  # [C, B M N, H]
            by_place = ops.einsum("crh,csh->crs", by_place, vectors)  # [C, B M N, S]
            by_place = ops.reshape(by_place, (self._block, -1, heads, count))
            return dot_products(queries, keys) + ops.transpose(by_place, (1, 2, 0, 3))  # [B M, N, C, S]

        queries = to_blocks(query, self._block)  # [B, M, C, N, H]
        queries = ops.reshape(queries, (batch * blocks, self._block, heads, size))
        is_seen = ops.reshape(ops.take(is_real, places, axis=1), (batch, blocks, count))
        is_seen = ops.reshape(ops.logical_and(is_seen, exists), (batch * blocks, 1, 1, count))
        is_seen = ops.logical_and(is_seen, relation >= 0)  # [B M, 1, C, S]
        vectors = ops.take(ops.cast(self.relations, self.compute_dtype), ops.maximum(relation, 0), axis=0)  # [C, S, H]
        attended = attend(queries, seen(key), seen(value), mask=is_seen, score=score, dropout=dropout)
        attended = ops.reshape(attended, (batch, blocks, self._block, heads, size))
        return from_blocks(attended, partition.length)

    def _to_own_tokens(self, partition, spans, key, value, is_real, dropout):
        """Float[B, count, N, H] for every level: the spans' attention to the tokens that they cover.

        A few levels at a time are one product: every group of as many tokens as the largest of their spans with all
        spans within it.
        """
        attended = []
        for first in range(0, len(partition.levels), _LEVELS_AT_ONCE):
            levels = partition.levels[first : first + _LEVELS_AT_ONCE]
            some = spans[first : first + _LEVELS_AT_ONCE]
            group = partition.group(levels[-1])
            keys, values, reals = (to_blocks(x, group) for x in (key, value, is_real))  # [B, M, G, ...]
            batch, groups, heads, size = *ops.shape(keys)[:2], *key.shape[2:]
            numbers = [group // 2**level for level in levels]
            some = [partition.grouped(nodes, groups, number) for nodes, number in zip(some, numbers)]
            some = ops.concatenate(some, axis=2)  # [B, M, Q, N, H]
            token = ops.arange(group)
            covers = [ops.equal(ops.arange(n)[:, None], token // 2**level) for n, level in zip(numbers, levels)]
            mask = ops.logical_and(
                ops.reshape(reals, (batch * groups, 1, 1, group)), ops.concatenate(covers)
            )  # [B M, 1, Q, G]
            output = attend(
                ops.reshape(some, (batch * groups, sum(numbers), heads, size)),
                ops.reshape(keys, (batch * groups, group, heads, size)),
                ops.reshape(values, (batch * groups, group, heads, size)),
                mask=mask,
                dropout=dropout,
            )
            for level, number, part in zip(levels, numbers, parts(output, numbers)):
                part = ops.reshape(part, (batch, groups * number, heads, size))  # [B, M number, N, H]
                attended.append(part[:, : partition.count(level)])
        return attended

    def compute_output_spec(
        self, query, value=None, attention_mask=None, return_scores=False, training=None, token_mask=None
    ):
        return super().compute_output_spec(query)


def with_spans(partition, tokens, is_real):
    """The nodes before the first layer: the tokens, and zeros for the spans.

    Args:
        partition: A `Partition` of T tokens.
        tokens: float[B, T, D].
        is_real: bool[B, T].

    Returns:
        float[B, L, D] and bool[B, L]: a span is real where any of its tokens is.
    """
    batch, size = ops.shape(tokens)[0], tokens.shape[-1]
    spans = ops.zeros((batch, partition.size - partition.length, size), dtype=tokens.dtype)
    level, reals = is_real, [is_real]
    for number in partition.levels:
        level = ops.any(to_blocks(level, 2), axis=2)
        reals.append(level[:, : partition.count(number)])
    return ops.concatenate([tokens, spans], axis=1), ops.concatenate(reals, axis=1)
