"""The double normalisation of external attention (Guo et al., arXiv:2105.02358, equation 6), as logarithms."""

from keras import ops

# As in `ops.attend`: far below any real logit, yet finite, so that a row of padding alone has finite numbers.
_FORBIDDEN = -1e9


def double_normalised(logits, is_real):
    """Logits whose softmax over the memory is the double normalisation: over the tokens, then over the memory.

    Args:
        logits: float32[B, T, N, M], of every token with every place of memory.
        is_real: bool[B, T], False at padding, which is no token of the normalisation.

    Returns:
        float32[B, T, N, M].

    Example:
    >>> import numpy as np
    >>> logits = np.log(np.array([[[[1.0, 6.0]], [[3.0, 2.0]]]]))
    >>> weights = np.exp(double_normalised(logits, np.ones((1, 2), bool)))[0, :, 0]
    >>> [[round(float(weight), 2) for weight in token] for token in weights]
    [[0.25, 0.75], [0.75, 0.25]]
    """
    among = logits + ops.cast(ops.logical_not(is_real), logits.dtype)[:, :, None, None] * _FORBIDDEN
    return logits - ops.logsumexp(among, axis=1, keepdims=True)
