"""Arrays in and out of models."""

import keras
import numpy as np


def to_numpy(value):
    """A tensor or a nest of tensors as NumPy arrays; bfloat16, which NumPy lacks, becomes float32."""
    return keras.tree.map_structure(lambda tensor: keras.ops.convert_to_numpy(_readable(tensor)), value)


def _readable(tensor):
    is_half = keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"
    return keras.ops.cast(tensor, "float32") if is_half else tensor


def token_batch(lengths, vocabulary_size=50, length=None, seed=0):
    """Random inputs of a backbone.

    Args:
        lengths: The number of real tokens of every row; what follows them is padding.
        vocabulary_size: Ids are below it, and at least 1: 0 stands at padding only.
        length: T; the default is the longest row.
        seed: Decides the ids. A row's ids depend on it and on the row's number, not on the padding.

    Returns:
        The dict of `token_ids`, `segment_ids` (the second half of a row is segment 1) and `padding_mask`.
    """
    length = max(lengths) if length is None else length
    token_ids = np.zeros((len(lengths), length), "int32")
    segment_ids = np.zeros((len(lengths), length), "int32")
    for row, real in enumerate(lengths):
        token_ids[row, :real] = np.random.default_rng((seed, row)).integers(1, vocabulary_size, real)
        segment_ids[row, (real + 1) // 2 : real] = 1
    padding_mask = np.arange(length)[None] < np.asarray(lengths)[:, None]
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


def assert_close(actual, expected, tolerance, message=""):
    """The largest difference is at most `tolerance`, times the largest magnitude expected where that is above 1."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    assert actual.shape == expected.shape, f"{message}: shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), f"{message}: not finite"
    difference = np.abs(actual - expected).max(initial=0)
    bound = tolerance * max(1.0, np.abs(expected).max(initial=0))
    assert difference <= bound, f"{message}: differs by {difference:.3g}, allowed {bound:.3g}"
