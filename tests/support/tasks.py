"""`check_task`: what every task keeps to, on any backbone."""

import keras
import numpy as np

from tests.support.backbones import (
    check_all_padding,
    check_bfloat16,
    check_intermediates,
    check_padding_invariance,
    check_round_trip,
)
from tests.support.tensors import to_numpy, token_batch


def check_task(make, directory, output_shapes, *, unused=(), bfloat16_tolerance=0.1):
    """All that every task keeps to.

    Args:
        make: `make(dtype=None)`, a new task on a tiny backbone whose vocabulary has at least 50 pieces.
        directory: A temporary directory.
        output_shapes: `output_shapes(batch, length)`, the shapes of its outputs by name.
        unused: Parts of the paths of weights that the task does not use, such as the pooler's.
        bfloat16_tolerance: The largest difference between bfloat16 and float32, relative to the largest output.
    """
    task = make()
    assert task.backbone.count_params() <= task.count_params()
    for lengths in ([1], [5, 7, 2]):
        outputs = task(token_batch(lengths))
        shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
        assert shapes == output_shapes(len(lengths), max(lengths))
    _predicts_in_float32(task, outputs)
    check_padding_invariance(task)
    check_all_padding(task, unused)
    check_intermediates(task)
    check_round_trip(task, directory)
    check_bfloat16(task, make, bfloat16_tolerance, unused)
    low = make(dtype="mixed_bfloat16")
    _predicts_in_float32(low, low(token_batch([4, 2])))


def _predicts_in_float32(task, outputs):
    predictions = task.predictions(outputs)
    assert set(predictions) >= set(outputs)
    for tensor in [*outputs.values(), *predictions.values()]:
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    for name, value in to_numpy(outputs).items():
        np.testing.assert_array_equal(to_numpy(predictions[name]), value)
