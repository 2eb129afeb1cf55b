"""UniLM's masks against enumeration of who may see whom."""

import numpy as np
import pytest

from tests.support import to_numpy
from tfmodels.objectives import (
    bidirectional,
    left_to_right,
    right_to_left,
    sequence_to_sequence,
    unilm,
    within_documents,
)

REAL = np.array([[True] * 6, [True] * 4 + [False] * 2, [True, False, True, True, True, False]])
SOURCE = np.array([3, 2, 4])

RULES = {
    "left to right": (left_to_right, lambda row, query, key: key <= query),
    "right to left": (right_to_left, lambda row, query, key: key >= query),
    "bidirectional": (bidirectional, lambda row, query, key: True),
    "sequence to sequence": (
        lambda real: sequence_to_sequence(real, SOURCE),
        # The source sees the source; the target sees it too, and itself up to the query.
        lambda row, query, key: key < SOURCE[row] or (query >= SOURCE[row] and key <= query),
    ),
}


def enumerated(rule):
    mask = np.zeros((3, 1, 6, 6), bool)
    for row, query, key in np.ndindex(3, 6, 6):
        mask[row, 0, query, key] = rule(row, query, key) and REAL[row, key]
    return mask


@pytest.mark.parametrize("mask, rule", RULES.values(), ids=RULES)
def test_each_mask_is_its_rule(mask, rule):
    np.testing.assert_array_equal(to_numpy(mask(REAL)), enumerated(rule))


def test_documents_in_one_row_do_not_see_each_other():
    documents = np.array([[0, 0, 1, 1, 1, 2], [0, 1, 2, 3, 0, 0], [0, 0, 0, 1, 1, 1]])
    wanted = enumerated(lambda row, query, key: documents[row, query] == documents[row, key])
    np.testing.assert_array_equal(to_numpy(within_documents(documents, REAL)), wanted)


def test_every_row_has_one_of_unilms_masks_in_their_shares():
    order = ("bidirectional", "sequence to sequence", "left to right", "right to left")
    for row in range(3):
        for number, name in (
            (0.0, 0),
            (0.33, 0),
            (0.34, 1),
            (0.66, 1),
            (0.67, 2),
            (0.83, 2),
            (0.84, 3),
            (0.9999999, 3),
        ):
            numbers = np.full(3, 0.5, "float32")
            numbers[row] = number
            mask = to_numpy(unilm(REAL, SOURCE, numbers))
            np.testing.assert_array_equal(mask[row], enumerated(RULES[order[name]][1])[row])
    with pytest.raises(ValueError, match="UniLM has four masks"):
        unilm(REAL, SOURCE, np.zeros(3), shares=(0.5, 0.5, 0.5, 0.5))
