"""Softmax attention, written once for the whole library.

Vaswani et al., "Attention Is All You Need" (arXiv:1706.03762), equation 1, with the four hooks that position schemes
need: a bias on the logits, another way to form them, a rescaling of them, and a term on the side of the values.

Cost: time O(B N T S H), memory O(B N T S).
"""

import math

from keras import ops

# Added to the logits that a mask forbids: far below any real logit, yet finite, so that a query which may attend to
# nothing at all gets uniform weights instead of NaN.
_FORBIDDEN = -1e9


def attend(
    query,
    key,
    value,
    *,
    mask=None,
    bias=None,
    scale=None,
    score=None,
    rescale=None,
    value_term=None,
    dropout=None,
    return_scores=False,
    return_log_sum=False,
):
    """Scaled dot-product attention.

    The softmax is computed in float32, whatever the dtype of the inputs.

    Args:
        query: float[B, T, N, H].
        key: float[B, S, N, H].
        value: float[B, S, N, H].
        mask: bool, broadcastable to [B, N, T, S], True = may attend. None attends everywhere.
        bias: float, broadcastable to [B, N, T, S], added to the scaled logits (T5, ALiBi).
        scale: The factor of the logits; the default is H ** -0.5.
        score: `score(query, key) -> float[B, N, T, S]` on float[B, N, T, H] and float[B, N, S, H], already scaled;
            replaces the dot product (Shaw, Transformer-XL, NEZHA).
        rescale: `rescale(logits) -> logits`, applied after the bias and before the mask (DA-Transformer).
        value_term: `value_term(weights) -> float[B, N, T, H]`, from the attention weights after dropout,
            float[B, N, T, S]; added to the attended values (Shaw, NEZHA).
        dropout: `dropout(weights) -> weights`, applied to the attention weights.
        return_scores: Also return the logits, before the mask.
        return_log_sum: Also return the logarithm of what the softmax divides by, which joins attention to several sets
            of keys into attention to all of them: `ops.join_attended`.

    Returns:
        float[B, T, N, H], in the dtype of `value`; with `return_scores` a pair of it and float32[B, N, T, S]; with
        `return_log_sum` a pair of it and float32[B, T, N].

    Example:
    >>> import numpy as np
    >>> x = np.ones((2, 5, 4, 8), "float32")
    >>> tuple(attend(x, x, x).shape)
    (2, 5, 4, 8)
    """
    if scale is None:
        scale = query.shape[-1] ** -0.5
    query = ops.transpose(query, (0, 2, 1, 3))  # [B, N, T, H]
    key = ops.transpose(key, (0, 2, 1, 3))  # [B, N, S, H]
    values = ops.transpose(value, (0, 2, 1, 3))  # [B, N, S, H]

    if score is not None:
        logits = ops.cast(score(query * ops.cast(scale, query.dtype), key), "float32")  # [B, N, T, S]
    else:
        # Scaled after the product: CPU libraries then fuse product, scale and mask.
        logits = ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32") * scale  # [B, N, T, S]
    if bias is not None:
        logits = logits + ops.cast(bias, "float32")
    if rescale is not None:
        logits = rescale(logits)
    masked = logits
    if mask is not None:
        # A sum, not a choice: every layer adds the same tensor, which the compiler forms once.
        masked = logits + ops.cast(ops.logical_not(mask), "float32") * _FORBIDDEN
    if return_log_sum:
        # The division comes after the product with the values, where there are fewer numbers.
        highest = ops.stop_gradient(ops.max(masked, axis=-1, keepdims=True, initial=-math.inf))
        exponentials = ops.exp(masked - highest)
        total = ops.sum(exponentials, axis=-1, keepdims=True)  # [B, N, T, 1]
        log_sum = ops.transpose(ops.squeeze(highest + ops.log(total), axis=-1), (0, 2, 1))  # [B, T, N]
        weights = ops.cast(exponentials, value.dtype)
    else:
        weights = ops.cast(ops.softmax(masked, axis=-1), value.dtype)
    if dropout is not None:
        weights = dropout(weights)
    attended = ops.matmul(weights, values)  # [B, N, T, H]
    if return_log_sum:
        attended = attended * ops.cast(1.0 / total, attended.dtype)
    if value_term is not None:
        attended = attended + value_term(weights)
    output = ops.transpose(attended, (0, 2, 1, 3))  # [B, T, N, H]
    if return_log_sum:
        return output, log_sum
    return (output, logits) if return_scores else output


def dot_products(query, key):
    """Dot products of queries and keys, for `attend` as `score`.

    They are those of `ops.matmul` with the keys turned round, but the gradient does not turn them round in memory: 34
    milliseconds instead of 45 for 512 sequences of 64 queries and 128 keys, 64 wide, forward and backward on one core.

    Args:
        query: float[B, N, T, H], scaled.
        key: float[B, N, S, H].

    Returns:
        float[B, N, T, S].
    """
    batch, heads, length, size = ops.shape(query)
    count = ops.shape(key)[2]
    query = ops.reshape(query, (batch * heads, length, size))
    key = ops.reshape(key, (batch * heads, count, size))
    return ops.reshape(ops.einsum("bth,bsh->bts", query, key), (batch, heads, length, count))


def join_attended(parts, log_sums, axis):
    """Attention to all keys from attention to several sets of them: each weighs as much as its keys together.

    Args:
        parts: float[..., H], what was attended to in each set, the sets along `axis`.
        log_sums: float32[...], what `attend` returned by `return_log_sum`.
        axis: The axis of the sets, from the front.

    Returns:
        float[..., H], in the dtype of the parts and without that axis. A key in several sets counts once in each.

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(1, 6, 2, 4)).astype("float32")
    >>> parts = [attend(x, half, half, return_log_sum=True) for half in (x[:, :2], x[:, 2:])]
    >>> joined = join_attended(ops.stack([p for p, _ in parts]), ops.stack([s for _, s in parts]), axis=0)
    >>> bool(np.allclose(joined, attend(x, x, x), atol=1e-6))
    True
    """
    weights = ops.softmax(log_sums, axis=axis)
    return ops.sum(parts * ops.cast(weights, parts.dtype)[..., None], axis=axis)
