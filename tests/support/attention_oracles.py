"""`check_dense_oracle`: an attention layer beside a naive dense version of its paper's equations, gradients too."""

import numpy as np
from keras import ops

from tests.support.gradients import finite_differences, gradients_of, gradients_with_respect_to
from tests.support.oracles import named_weights
from tests.support.tensors import assert_close, to_numpy


def with_random_weights(layer, scale=0.5, seed=9):
    """The layer, built, with normals for all its weights."""
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) * scale for weight in layer.weights])
    return layer


def holed_rows(batch, length, seed=3):
    """bool[B, T]: real tokens with holes among them, a full row first and, of several, one of padding alone last."""
    is_real = np.random.default_rng(seed).random((batch, length)) < 0.7
    is_real[:, length // 2] = True
    is_real[0] = True
    if batch > 1:
        is_real[-1] = False
    return is_real


def check_dense_oracle(layer, oracle, inputs, is_real, tolerance=1e-5):
    """Outputs at real tokens, and the gradients of their weighted sum by every weight and by the inputs.

    Args:
        layer: An attention layer, not built yet.
        oracle: `oracle(weights, x, is_real)`, float64[B, T, D] from weights by their paths below the layer.
        inputs: float32[B, T, D].
        is_real: bool[B, T].
        tolerance: The largest difference, see `assert_close`.
    """
    mask = is_real[:, None, None]
    layer(inputs, attention_mask=mask)
    weights = named_weights(with_random_weights(layer))
    output, real = to_numpy(layer(inputs, attention_mask=mask)), is_real[..., None]
    assert np.isfinite(output).all()
    assert_close(output * real, oracle(weights, inputs.astype("float64"), is_real) * real, tolerance, "output")

    factors = np.random.default_rng(1).normal(size=inputs.shape) * real

    def loss(x):
        return ops.sum(layer(x, attention_mask=mask) * factors.astype("float32"))

    def expected(changes, x):
        return (oracle({**weights, **changes}, x, is_real) * factors).sum()

    _, gradients = gradients_of(lambda: loss(inputs), layer.trainable_variables)
    for variable, gradient in zip(layer.trainable_variables, gradients):
        name = variable.path.split("/", 1)[1]
        _check_slopes(
            gradient, lambda value, name=name: expected({name: value}, inputs), weights[name], tolerance, name
        )
    (gradient,) = gradients_with_respect_to(loss, inputs)
    _check_slopes(gradient, lambda x: expected({}, x), inputs, tolerance, "the inputs")


def _check_slopes(gradient, function, array, tolerance, name):
    """The gradient along random directions, in which every number has a part, against the function's slopes."""
    scale = max(1.0, np.linalg.norm(gradient))
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=array.shape)
        direction /= np.linalg.norm(direction)
        slope = finite_differences(lambda step, d=direction: function(array + step * d), np.zeros(()))
        assert_close((gradient * direction).sum() / scale, slope / scale, tolerance, f"slope by {name}")
