"""UniLM's masks against enumeration of who may see whom."""

import numpy as np
import pytest

from tests.support import to_numpy
from tfmodels.objectives import (
    UNILM_SEGMENTS,
    UNILM_SHARES,
    bidirectional,
    by_document,
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


def test_every_row_has_the_mask_that_its_segments_name():
    order = ("bidirectional", "sequence to sequence", "left to right", "right to left")
    for row in range(3):
        for kind, name in enumerate(order):
            kinds = np.full(3, 1)
            kinds[row] = kind
            second = np.arange(6)[None] >= SOURCE[:, None]
            segments = np.array(UNILM_SEGMENTS)[kinds[:, None], second.astype(int)] * REAL
            mask = to_numpy(unilm({"padding_mask": REAL, "segment_ids": segments}))
            np.testing.assert_array_equal(mask[row], enumerated(RULES[name][1])[row], err_msg=f"row {row}, {name}")


def test_segments_tell_the_language_models_apart():
    assert len({first for first, _ in UNILM_SEGMENTS}) == 4
    assert UNILM_SEGMENTS[0] == (0, 1), "BERT's own"
    assert sum(UNILM_SHARES) == pytest.approx(1)


def test_a_batchs_documents_make_its_mask():
    documents = np.array([[0, 0, 1, 1, 1, 2]] * 3)
    mask = by_document({"document_ids": documents, "padding_mask": REAL, "token_ids": None})
    np.testing.assert_array_equal(to_numpy(mask), to_numpy(within_documents(documents, REAL)))
