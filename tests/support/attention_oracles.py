"""A layer beside a naive version of its paper's equations, in NumPy and float64: outputs and gradients."""

import numpy as np
from keras import ops

from tests.support.gradients import finite_differences, gradients_of, gradients_with_respect_to
from tests.support.oracles import named_weights, softmax
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


def check_oracle(layer, call, oracle, keep, tolerance=2e-5, seed=9):
    """Outputs, and the gradients of their weighted sum by every weight, are those of the oracle.

    Args:
        layer: A built layer; it gets random weights.
        call: Takes nothing and returns the layer's output.
        oracle: `oracle(weights)` on float64 arrays by their paths below the layer.
        keep: bool, the shape of the output without its last axis: where it has a meaning.
        tolerance: The largest difference, see `assert_close`.
        seed: Decides the weights.

    Returns:
        The weights as the oracle takes them, and the factors of the weighted sum.
    """
    weights = named_weights(with_random_weights(layer, seed=seed))
    output, expected = to_numpy(call()), oracle(weights)
    assert np.isfinite(output).all()
    assert_close(output[keep], expected[keep], tolerance, "output")
    factors = np.random.default_rng(1).normal(size=expected.shape) * keep[..., None]
    _, gradients = gradients_of(lambda: ops.sum(call() * factors.astype("float32")), layer.trainable_variables)
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        name = variable.path.split("/", 1)[1]
        slopes = finite_differences(
            lambda value, name=name: (oracle({**weights, name: value}) * factors).sum(), weights[name]
        )
        assert_close(gradient, slopes, tolerance, f"gradient of {name}")
    return weights, factors


def check_dense_oracle(layer, oracle, inputs, is_real, tolerance=1e-5):
    """`check_oracle` at real tokens, and the gradient by the inputs.

    Args:
        layer: An attention layer, not built yet.
        oracle: `oracle(weights, x, is_real)`, float64[B, T, D] from weights by their paths below the layer.
        inputs: float32[B, T, D].
        is_real: bool[B, T].
        tolerance: The largest difference, see `assert_close`.
    """

    def call(x=inputs):
        return layer(x, attention_mask=is_real[:, None, None])

    call()
    x = inputs.astype("float64")
    weights, factors = check_oracle(layer, call, lambda weights: oracle(weights, x, is_real), is_real, tolerance)
    (gradient,) = gradients_with_respect_to(lambda x: ops.sum(call(x) * factors.astype("float32")), inputs)
    slopes = finite_differences(lambda x: (oracle(weights, x, is_real) * factors).sum(), inputs)
    assert_close(gradient, slopes, tolerance, "gradient of the inputs")


def graph_attention(weights, query, value, num_heads, sees, vectors=None):
    """Multi-head attention under a dense mask, on weights named as `HeadedAttention` names them.

    Args:
        weights: Arrays by name.
        query: float[B, T, D].
        value: float[B, S, D].
        num_heads: N.
        sees: bool, broadcastable to [B, N, T, S]; a query that sees nothing gets zeros.
        vectors: float[T, S, H], added to the keys for each query, or None.

    Returns:
        float[B, T, D].
    """

    def heads(x, name):
        projected = x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        return projected.reshape(*x.shape[:2], num_heads, -1).transpose(0, 2, 1, 3)

    q, k, v = heads(query, "query"), heads(value, "key"), heads(value, "value")
    logits = np.einsum("bnth,bnsh->bnts", q, k)
    if vectors is not None:
        logits = logits + np.einsum("bnth,tsh->bnts", q, vectors)
    sees = np.broadcast_to(sees, logits.shape)
    logits = np.where(sees, logits / np.sqrt(q.shape[-1]), -np.inf)
    seeing = sees.any(axis=-1, keepdims=True)
    attended = np.where(seeing, softmax(np.where(seeing, logits, 0.0)), 0.0) @ v
    joined = attended.transpose(0, 2, 1, 3).reshape(query.shape)
    return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"]
