"""The binary partition of a sequence, and which spans a token sees (BP-Transformer, arXiv:1911.04070, section 3.1).

Nodes are laid out level by level: the T tokens, level 0, then the spans of 2, of 4 ... up to the root, so that node m
of level l covers the tokens from m 2^l on. A token sees, to its right, the k tokens behind it, then the next k spans of
2, the next k of 4 and so on. Where the tokens of a level end in the middle of a span of the next, the half that was not
seen stands in place of that span: every token to the right lies in exactly one of the nodes. To the left it is the
mirror's image.

For the token at i the nodes of level l begin at k + floor((i + 1 - k) / 2^l), so that tokens with the same quotient see
the same ones. Tokens are therefore taken in blocks of C >= k: within a block the nodes of levels up to log2 C lie in a
window, whose pattern is the same in every block, and there are two choices of k nodes on each level above.

Cost: O(T / C (C + k log(T / k))) indices of nodes, O(C (C + k log(T / k))) numbers of the pattern.
"""

import functools

import numpy as np
from keras import ops

from tfmodels.ops.blocks import stretch

# 2 ** 30 is the largest power that an int32 holds.
_LEVELS = 31


class Partition:
    """The levels of the binary partition of a sequence.

    Where T is a number, as it is outside of graphs of unknown length, so are all sizes here; otherwise they are scalar
    tensors.

    Args:
        length: T, tokens.

    Attributes:
        length: T.
        height: The level of the root: the least h with 2^h >= T.
        counts: int32[31], the number of nodes of every level, 0 above the root.
        starts: int32[31], the place of each level's first node.
        size: L, the number of all nodes.

    Example:
    >>> partition = Partition(5)
    >>> partition.height, partition.size, [int(count) for count in partition.counts[:5]]
    (3, 11, [5, 3, 2, 1, 0])
    """

    def __init__(self, length):
        self.length = length
        self.is_static = isinstance(length, int)
        self.numpy = np if self.is_static else ops
        powers = 2 ** np.arange(_LEVELS, dtype="int32")
        if self.is_static:
            self.height = max(length - 1, 0).bit_length()
        else:
            self.height = ops.sum(ops.cast(powers < length, "int32"))
        exists = self.numpy.arange(_LEVELS) <= self.height
        self.counts = self.numpy.where(exists, (length - 1) // powers + 1, 0)
        self.starts = self.numpy.cumsum(self.counts) - self.counts
        self.size = self.starts[-1] + self.counts[-1]
        if self.is_static:
            self.size = int(self.size)

    def count(self, level):
        """The number of nodes of a level."""
        return int(self.counts[level]) if self.is_static else self.counts[level]

    def split(self, nodes):
        """The nodes of each level: a list of [B, count, ...] of [B, L, ...], the tokens first."""
        return parts(nodes, [self.length, *(self.count(level) for level in self.levels)])

    @property
    def levels(self):
        """The levels of spans, from 1: all there are, or in a graph of unknown length as many as 2^20 tokens have."""
        return range(1, (self.height if self.is_static else 20) + 1)

    def root(self, is_real):
        """The smallest span from the first token on that holds all real tokens of a row.

        Args:
            is_real: bool[B, T].

        Returns:
            int32[B], places of nodes; a token's where a row has no more than one.
        """
        last = ops.max(ops.where(is_real, ops.arange(self.length, dtype="int32"), 0), axis=1, initial=0)  # [B]
        level = ops.sum(ops.cast(2 ** np.arange(_LEVELS, dtype="int32") <= last[:, None], "int32"), axis=1)
        return ops.take(ops.convert_to_tensor(self.starts, "int32"), level)

    def context(self, density, block, is_causal, levels):
        """What the tokens of every block see.

        Args:
            density: k, nodes of a level on either side.
            block: C, tokens in a block: a power of two, at least k.
            is_causal: Whether tokens see what is to their left alone.
            levels: The number of levels that relations tell apart; what is above counts as the last one.

        Returns:
            A triple of the places of nodes, int32[M, S] for M = ceil(T / C) blocks, bool[M, S], whether there is such a
            node, and the relations to them, int32[C, S]: 0 for the token itself, 1 + (side levels + level) k + s for
            the s-th node of a level, to the left where side is 0 and to the right where it is 1, -1 for none.
        """
        xp = self.numpy
        count = (self.length + block - 1) // block
        blocks = xp.arange(count)[:, None]  # [M, 1]
        level, offset, relation = _near(density, block, is_causal, levels)
        node = blocks * (block >> level) + offset  # [M, S']
        columns, relation_of = _far(density, block, is_causal, levels)
        # A level is seen by someone as long as (k - 1) 2^l < T.
        reach = (2 ** np.arange(_LEVELS)) * max(density - 1, 1) < self.length
        first = block.bit_length()  # log2 C + 1
        highest = xp.sum(reach) if self.is_static else ops.sum(ops.cast(reach, "int32"))
        number = max(int(highest) - first, 0) if self.is_static else ops.maximum(highest - first, 0)
        above = xp.arange(number)[:, None]  # [A, 1], levels from log2 C + 1 on
        sign, quotient, slot = columns  # [F] each
        multiple = sign * blocks[:, :, None] + quotient  # [M, 1, F]
        span = density + multiple // 2 ** (above + 1)  # [M, A, F]
        is_half = (slot == 0) & (multiple // 2**above % 2 == 1)
        far = xp.where(is_half, 2 * span + 1, span + slot)
        far = xp.where(sign < 0, -1 - far, far)
        levels_of = first + above - xp.where(is_half, 1, 0)  # [M, A, F]
        width = number * len(slot)
        level = xp.broadcast_to(level, (count, len(level)))
        node = xp.concatenate([node, xp.reshape(far, (count, width))], axis=1)  # [M, S]
        level = xp.concatenate([level, xp.reshape(levels_of, (count, width))], axis=1)
        exists = (node >= 0) & (node < xp.take(self.counts, level, axis=0))
        place = xp.where(exists, node + xp.take(self.starts, level, axis=0), 0)
        # relation_of is that of level 0; a level adds k.
        further = density * xp.minimum(first + above, levels - 1)
        further = xp.where(relation_of[:, None] < 0, -1, relation_of[:, None] + further)  # [C, A, F]
        relation = xp.concatenate([relation, xp.reshape(further, (block, width))], axis=1)  # [C, S]
        return place, exists, relation

    def group(self, level):
        """Tokens that the largest spans up to a level cover, at most those of the root: G."""
        return 2 ** min(level, self.height) if self.is_static else ops.minimum(2**level, 2**self.height)

    def grouped(self, nodes, groups, number):
        """Nodes of a level by the group of tokens that they lie in, filled up with zeros.

        Args:
            nodes: [B, count, ...].
            groups: M.
            number: Nodes in a group.

        Returns:
            [B, M, number, ...].
        """
        batch, count, *rest = ops.shape(nodes)
        missing = ops.zeros((batch, groups * number - count, *rest), dtype=nodes.dtype)
        return ops.reshape(ops.concatenate([nodes, missing], axis=1), (batch, groups, number, *rest))


def parts(x, sizes):
    """Consecutive parts of a tensor, all of it together.

    Each is cut off what the one before left: where sizes halve, as those of levels do, the gradient of every cut is
    half as large as the one before, where that of a slice of the whole is as large as the whole.

    Args:
        x: [B, L, ...].
        sizes: Numbers that sum up to L.

    Returns:
        A list of [B, size, ...].
    """
    found = []
    for size in sizes[:-1]:
        found.append(stretch(x, 0, size))
        x = stretch(x, size, ops.shape(x)[1] - size)
    return [*found, x]


@functools.lru_cache(maxsize=32)
def _near(density, block, is_causal, levels):
    """What tokens of a block see of levels up to log2 C.

    Returns:
        int32[S'] levels, int32[S'] nodes, counted from the block's first one of the level, and int32[C, S'] relations.
    """
    highest = block.bit_length() - 1
    edges = {}  # (level, node): {token: relation}
    for token in range(block):
        edges.setdefault((0, token), {})[token] = 0
        for side in range(1 if is_causal else 2):
            position = token if side else ~token  # The mirror's image: to the left as to the right.
            shifted = position + 1 - density
            for level in range(highest + 1):
                start = density + (shifted >> level)
                for slot in range(density + 1):
                    below, bit = level and shifted >> level - 1 & 1, shifted >> level & 1
                    if (slot == 0 and below) or (slot == density and (level == highest or not bit)):
                        continue  # Half of that span was seen already; or the span itself is the next level's.
                    known, rank = (level + 1, 0) if slot == density else (level, slot)
                    node = start + slot if side else ~(start + slot)
                    relation = 1 + (side * levels + min(known, levels - 1)) * density + rank
                    edges.setdefault((level, node), {})[token] = relation
    columns = sorted(edges)
    relations = [[edges[column].get(token, -1) for column in columns] for token in range(block)]
    level, node = np.array(columns, "int32").T
    return level, node, np.array(relations, "int32")


@functools.lru_cache(maxsize=32)
def _far(density, block, is_causal, levels):
    """What tokens of a block see of each level above log2 C.

    Returns:
        A triple of int32[F]: the side, 1 or -1, which multiple of C the shifted position is in, beside the block's own,
        and the number of the node; and int32[C, F], the relations as they would be on level 0.
    """
    columns, relations = [], []
    for side in range(1 if is_causal else 2):
        positions = [token if side else ~token for token in range(block)]
        quotients = [(position + 1 - density) // block for position in positions]
        for quotient in sorted(set(quotients)):
            for slot in range(density):
                columns.append((1 if side else -1, quotient, slot))
                own = 1 + side * levels * density + slot
                relations.append([own if other == quotient else -1 for other in quotients])
    return np.array(columns, "int32").T, np.array(relations, "int32").T
