"""The binary partition's edges against a walk along the sequence, node by node."""

from itertools import pairwise

import numpy as np
import pytest

from tests.support import to_numpy
from tfmodels.ops.partition import Partition, parts

MANY = 40


def walked(length, density, causal=False):
    """What every token sees, found by walking away from it: {node: (side, level, number)}; the token itself is 0."""
    counts = [length]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    seen = []
    for token in range(length):
        nodes = {(0, token): 0}
        for side, step in ((0, -1),) if causal else ((0, -1), (1, 1)):
            node, half = token + step, None
            for level, count in enumerate(counts):
                for number in range(density):
                    place = (level - 1, half) if number == 0 and half is not None else (level, node)
                    if 0 <= place[1] < counts[place[0]]:
                        nodes[place] = (side, level, number)
                    node += step
                # The walk stands before a node that begins its span, or before the half that is left of one.
                begins = node % 2 == (0 if step > 0 else 1)
                node, half = node // 2, None if begins else node
                del count
        seen.append(nodes)
    return seen


def computed(length, density, block, causal=False):
    partition = Partition(length)
    place, exists, relation = partition.context(density, block, causal, MANY)
    names = {}
    for level, (start, count) in enumerate(zip(partition.starts, partition.counts)):
        names.update({int(start) + node: (level, node) for node in range(int(count))})
    seen = []
    for token in range(length):
        row, column = divmod(token, block)
        nodes = {}
        for at in np.flatnonzero((relation[column] >= 0) & exists[row]):
            number = int(relation[column, at])
            name = names[int(place[row, at])]
            assert name not in nodes, "a node is seen twice"
            side, rest = divmod(number - 1, MANY * density)
            nodes[name] = (side, *divmod(rest, density)) if number else 0
        seen.append(nodes)
    return seen


@pytest.mark.parametrize("density, block", [(1, 4), (2, 4), (3, 4), (4, 4), (5, 8), (7, 16)])
@pytest.mark.parametrize("causal", [False, True])
def test_tokens_see_what_a_walk_from_them_finds(density, block, causal):
    for length in (1, 2, 3, 5, 8, 13, 17, 40, 71):
        assert computed(length, density, block, causal) == walked(length, density, causal)


@pytest.mark.parametrize("density", [1, 2, 5])
def test_every_other_token_lies_in_exactly_one_of_the_nodes_that_a_token_sees(density):
    for length in (1, 6, 29, 64):
        for nodes in computed(length, density, 8):
            covered = np.zeros(length, int)
            for level, node in nodes:
                covered[node << level : (node + 1) << level] += 1
            assert (covered == 1).all()


def test_a_token_sees_so_many_nodes_as_the_logarithm_of_the_length():
    most = [max(map(len, computed(length, 4, 8))) for length in (64, 128, 256, 512)]
    assert [after - before for before, after in pairwise(most)] == [8, 8, 8]  # k on either side, a level


@pytest.mark.parametrize("length, counts", [(0, []), (1, [1]), (2, [2, 1]), (5, [5, 3, 2, 1]), (8, [8, 4, 2, 1])])
def test_levels_are_laid_out_one_after_the_other(length, counts):
    partition = Partition(length)
    assert [int(count) for count in partition.counts if count] == counts
    assert partition.size == sum(counts)
    levels = partition.split(np.arange(partition.size)[None])
    assert [[int(node) for node in level[0]] for level in levels if level.shape[1]] == [
        list(range(sum(counts[:index]), sum(counts[: index + 1]))) for index in range(len(counts))
    ]


def test_the_root_of_a_row_is_the_smallest_span_with_all_its_tokens():
    is_real = np.arange(11)[None] < np.array([0, 1, 2, 3, 4, 5, 11])[:, None]
    starts = Partition(11).starts
    assert [int(root) for root in Partition(11).root(is_real)] == [0, 0, *(int(starts[at]) for at in (1, 2, 2, 3, 4))]


def test_parts_are_consecutive():
    assert [part.shape[1] for part in parts(np.zeros((2, 9, 3)), [4, 0, 5])] == [4, 0, 5]


def test_no_tokens_have_a_root_where_they_would_begin():
    np.testing.assert_array_equal(to_numpy(Partition(0).root(np.zeros((2, 0), bool))), [0, 0])
