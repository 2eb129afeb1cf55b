"""Attention on any graph, in NumPy and float64 with dense masks: the oracle of kinds that see part of the nodes."""

import numpy as np
from keras import ops

from tests.support.gradients import finite_differences, gradients_of
from tests.support.oracles import named_weights, softmax
from tests.support.tensors import assert_close, to_numpy


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


def check_oracle(layer, call, oracle, keep, tolerance=2e-5, seed=0):
    """Outputs, and gradients of every weight, are those of the oracle.

    Args:
        layer: A built layer; it gets random weights.
        call: Takes nothing and returns the layer's output.
        oracle: `oracle(weights)` on float64 arrays by their paths below the layer.
        keep: bool, the shape of the output without its last axis, where it has a meaning.
        tolerance: As in `assert_close`.
        seed: Decides the weights.
    """
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) * 0.6 for weight in layer.weights])
    weights = named_weights(layer)
    expected = oracle(weights)
    assert_close(to_numpy(call())[keep], expected[keep], tolerance, "output")
    factors = random.normal(size=expected.shape) * keep[..., None]
    _, gradients = gradients_of(lambda: ops.sum(call() * factors.astype("float32")), layer.trainable_variables)
    for name, gradient in zip(named_weights(layer), gradients):

        def loss(array, name=name):
            return float((oracle({**weights, name: array}) * factors).sum())

        assert_close(gradient, finite_differences(loss, weights[name]), tolerance, f"gradient of {name}")
