"""Reductions over the tokens of a sequence."""

from keras import ops


def masked_mean(values, mask):
    """The mean over the tokens where `mask` is True; zeros where a row has none.

    Args:
        values: float[B, T, D].
        mask: bool[B, T].

    Returns:
        float[B, D], in the dtype of `values`, summed in float32.
    """
    weights = ops.cast(mask, "float32")[:, :, None]  # [B, T, 1]
    total = ops.sum(ops.cast(values, "float32") * weights, axis=1)  # [B, D]
    return ops.cast(total / ops.maximum(ops.sum(weights, axis=1), 1.0), values.dtype)


def masked_max(values, mask):
    """The largest number of each feature over the tokens where `mask` is True; zeros where a row has none.

    Args:
        values: float[B, T, D].
        mask: bool[B, T].

    Returns:
        float[B, D], in the dtype of `values`.
    """
    lowest = ops.cast(float("-inf"), values.dtype)
    largest = ops.max(ops.where(mask[:, :, None], values, lowest), axis=1)  # [B, D]
    return ops.where(ops.any(mask, axis=1, keepdims=True), largest, ops.zeros_like(largest))
