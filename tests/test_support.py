"""The checks that other tests rely on, seen to fail."""

import numpy as np
import pytest

from tests.support import check_parity


@pytest.mark.parametrize(
    ("reference", "off", "found"),
    [
        # All of a mean loss's gradients are small: half of one that is missing is seen.
        ([[2e-5, -4e-5], [1e-5, 0.0]], [[1e-5, -4e-5], [1e-5, 0.0]], True),
        ([[2e-5, -4e-5], [1e-5, 0.0]], [[2e-5, -4e-5], [1e-5, 1e-12]], False),
        # A gradient that is 0 but for rounding is held to what stands beside it.
        ([[5.0, 3.0], [0.0, 1e-9]], [[5.0, 3.0], [4e-7, 0.0]], False),
        ([[5.0, 3.0], [0.0, 1e-9]], [[5.0, 3.0], [6e-6, 0.0]], True),
        # Large numbers are held to a relative difference.
        ([[200.0, 1.0], [0.0, 0.0]], [[200.001, 1.0], [0.0, 0.0]], False),
        ([[200.0, 1.0], [0.0, 0.0]], [[200.01, 1.0], [0.0, 0.0]], True),
        # Where all is 0 there is nothing to compare with.
        ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 2e-5], [0.0, 0.0]], True),
        ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, np.nan]], True),
    ],
)
def test_parity_sees_what_differs(reference, off, found):
    ours, theirs = ({"first": np.array(rows[0]), "second": np.array(rows[1])} for rows in (off, reference))
    if found:
        with pytest.raises(AssertionError, match=r"differs from the reference|is not finite"):
            check_parity("planted", ours, theirs)
    else:
        check_parity("planted", ours, theirs)


@pytest.mark.parametrize(
    ("ours", "message"),
    [({"first": np.zeros(2)}, "on one side only"), ({"first": np.zeros(2), "second": np.zeros(3)}, "has shape")],
)
def test_parity_compares_the_same_things(ours, message):
    with pytest.raises(AssertionError, match=message):
        check_parity("planted", ours, {"first": np.zeros(2), "second": np.zeros(2)})
