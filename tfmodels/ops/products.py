"""Products of many vectors with one matrix."""

from keras import ops


def project(x, matrix):
    """`x W` on the last axis, as one product of two matrices whatever the leading axes are.

    Never `matmul(x, matrix)` with more than three axes: TensorFlow 2.16 to 2.21 multiply such operands by a oneDNN
    kernel that writes out of bounds where an axis has size 1 (one head, one token).

    Args:
        x: float[..., K].
        matrix: float[K, M].

    Returns:
        float[..., M].

    Example:
    >>> import numpy as np
    >>> tuple(project(np.ones((2, 1, 3, 4), "float32"), np.ones((4, 5), "float32")).shape)
    (2, 1, 3, 5)
    """
    size, units = ops.shape(matrix)
    rows = ops.matmul(ops.reshape(x, (-1, size)), matrix)
    return ops.reshape(rows, (*ops.shape(x)[:-1], units))  # [..., M]
