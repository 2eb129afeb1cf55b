"""Products with one matrix, at shapes that TensorFlow's own broadcasting gets wrong."""

import numpy as np

from tests.support import to_numpy
from tests.support.tensors import assert_close
from tfmodels.ops import project


def test_any_shape_gives_the_product_of_its_vectors():
    random = np.random.default_rng(0)
    for _ in range(200):
        # Axes of size 1 are where matmul of four axes with two corrupts memory.
        leading, width, units = random.integers(1, 6, random.integers(1, 4)), *random.integers(1, 8, 2)
        x, matrix = (random.normal(size=shape).astype("float32") for shape in ((*leading, width), (width, units)))
        assert_close(to_numpy(project(x, matrix)), x @ matrix, 1e-5)
