"""The papers' equations in plain NumPy and float64, written without looking at the implementation, slow and obvious."""

import math

import numpy as np


def softmax(logits):
    """exp(x) / sum(exp(x)) on the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def attention(query, key, value, *, mask=None, bias=None, scale=None, score=None, rescale=None, seen=None):
    """softmax(q k^T / sqrt(H)) v (arXiv:1706.03762, equation 1), one number at a time.

    Args:
        query: float[B, T, N, H].
        key: float[B, S, N, H].
        value: float[B, S, N, H].
        mask: bool[B, N, T, S]; a query that may attend to nothing attends to everything alike.
        bias: float[B, N, T, S].
        scale: The factor of the products.
        score: `score(q, k, t, s)`, a logit of two vectors and their positions, on the scaled query.
        rescale: `rescale(logit, t, s)`.
        seen: `seen(v, t, s)`, what the query at t sees of the value at s.

    Returns:
        float[B, T, N, H] and the logits, float[B, N, T, S].
    """
    query, key, value = (np.asarray(array, "float64") for array in (query, key, value))
    batch, length, heads, size = query.shape
    source = key.shape[1]
    scale = 1 / math.sqrt(size) if scale is None else scale
    output = np.zeros((batch, length, heads, size))
    logits = np.zeros((batch, heads, length, source))
    for b in range(batch):
        for n in range(heads):
            for t in range(length):
                for s in range(source):
                    q, k = query[b, t, n] * scale, key[b, s, n]
                    # NumPy 2 would take a Python float and a float32 to a float32.
                    logit = np.float64(q @ k if score is None else score(q, k, t, s))
                    if bias is not None:
                        logit += bias[b, n, t, s]
                    logits[b, n, t, s] = logit if rescale is None else rescale(logit, t, s)
                allowed = [s for s in range(source) if mask is None or mask[b, n, t, s]]
                if allowed:
                    highest = max(logits[b, n, t, s] for s in allowed)
                    weights = {s: math.exp(logits[b, n, t, s] - highest) for s in allowed}
                else:
                    weights = dict.fromkeys(range(source), 1.0)
                total = sum(weights.values())
                for s, weight in weights.items():
                    v = value[b, s, n]
                    output[b, t, n] += weight / total * (v if seen is None else seen(v, t, s))
    return output, logits


def gelu(x):
    """X Phi(x), exactly (arXiv:1606.08415, equation 1)."""
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def layer_norm(x, gamma, beta, epsilon):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta (arXiv:1607.06450, equation 4)."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def multi_head_attention(weights, query, value, num_heads, mask=None):
    """Concatenated heads (arXiv:1706.03762, section 3.2.2), on weights named as `MultiHeadAttention` names them."""

    def heads(x, name):
        projected = x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        return projected.reshape(*x.shape[:2], num_heads, -1)

    attended, logits = attention(heads(query, "query"), heads(value, "key"), heads(value, "value"), mask=mask)
    joined = attended.reshape(*query.shape[:2], -1)
    return joined @ weights["output_projection/kernel"] + weights["output_projection/bias"], logits


def feed_forward(weights, x, activation=gelu):
    """activation(x W1 + b1) W2 + b2 (arXiv:1706.03762, equation 2)."""
    hidden = activation(x @ weights["intermediate/kernel"] + weights["intermediate/bias"])
    return hidden @ weights["output_projection/kernel"] + weights["output_projection/bias"]


def part(weights, name):
    """The weights below a name."""
    return {key.removeprefix(f"{name}/"): value for key, value in weights.items() if key.startswith(f"{name}/")}


def named_weights(layer):
    """A layer's weights in float64, by their paths below the layer."""
    return {
        variable.path.split("/", 1)[1]: np.asarray(value, "float64")
        for variable, value in zip(layer.weights, layer.get_weights())
    }
