"""`check_parity`: our numbers beside a reference implementation's."""

import numpy as np

# The worst difference of every comparison, which the parity run prints at its end.
WORST: dict[str, float] = {}


def check_parity(name, ours, theirs, *, tolerance=1e-5):
    """Outputs and gradients equal a reference's.

    The difference of two arrays is measured against the largest magnitude of the reference; where that is small,
    against a tenth of the largest of all arrays that are compared, or against 1, whichever is less. So a logit of 20 is
    held to a relative 1e-5, the gradients of a mean loss are not all called 0, and one that is 0 but for rounding, as
    that of a key's bias, is held to what the others beside it are.

    Args:
        name: What is compared, for the report.
        ours: Arrays by name.
        theirs: The reference's arrays by the same names.
        tolerance: The largest difference.
    """
    assert set(ours) == set(theirs), f"{name}: {set(ours) ^ set(theirs)} are on one side only"
    assert ours, f"{name}: nothing to compare"
    failed = []
    largest = max(np.abs(np.asarray(value, "float64")).max(initial=0) for value in theirs.values())
    for key, value in ours.items():
        value, reference = np.asarray(value, "float64"), np.asarray(theirs[key], "float64")
        assert value.shape == reference.shape, f"{name}: {key} has shape {value.shape}, expected {reference.shape}"
        assert np.isfinite(value).all() and np.isfinite(reference).all(), f"{name}: {key} is not finite"
        scale = max(np.abs(reference).max(initial=0), min(1.0, 0.1 * largest)) or 1.0
        difference = np.abs(value - reference).max(initial=0) / scale
        WORST[name] = max(WORST.get(name, 0.0), float(difference))
        if difference > tolerance:
            failed.append(f"{key} by {difference:.3g}")
    assert not failed, f"{name} differs from the reference: {', '.join(failed)}"
