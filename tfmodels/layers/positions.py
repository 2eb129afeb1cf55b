"""Where a token stands: absolute vectors added to the embeddings, and the interface of relative schemes.

A relative scheme is a plug-in of `MultiHeadAttention` with three hooks, each of which may be left as it is; see
`PositionScheme`. Absolute positions are layers that return vectors to add.
"""

import numpy as np
from keras import ops

from tfmodels.layers.base import Layer, truncated_normal


class PositionScheme(Layer):
    """How attention logits depend on positions; the default hooks change nothing.

    Subclasses override `bias` (T5), `score` (Shaw, Transformer-XL, NEZHA) or `rescale` (DA-Transformer).
    """

    def bias(self, query_length, key_length):
        """float, broadcastable to [B, N, T, S], added to the logits, or None."""
        return

    # Replaces the dot product when a subclass defines it: `score(query, key)` on scaled float[B, N, T, H] and
    # float[B, N, S, H], returning float[B, N, T, S].
    score = None

    # Changes the biased logits when a subclass defines it: `rescale(logits)` on float[B, N, T, S].
    rescale = None


class LearnedPositions(Layer):
    """A learned vector for every position (BERT, arXiv:1810.04805).

    Args:
        max_length: The number of positions.

    Call arguments:
        embeddings: float[B, T, D], T <= max_length; only its shape is used.

    Returns:
        float[1, T, D].
    """

    def __init__(self, max_length, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.max_length, input_shape[-1]), initializer=truncated_normal()
        )
        self.built = True

    def call(self, embeddings):
        length = ops.shape(embeddings)[1]
        return ops.cast(self.embeddings, self.compute_dtype)[None, :length]

    def compute_output_shape(self, input_shape):
        return (1, *input_shape[1:])


class SinusoidPositions(Layer):
    """Sines and cosines of geometrically spaced wavelengths (arXiv:1706.03762, section 3.5).

    Args:
        max_length: The number of positions.

    Call arguments:
        embeddings: float[B, T, D], T <= max_length; only its shape is used.

    Returns:
        float[1, T, D]: sines in the even components, cosines in the odd ones.
    """

    def __init__(self, max_length, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length

    def build(self, input_shape):
        size = input_shape[-1]
        angles = np.arange(self.max_length)[:, None] / 10_000 ** (2 * (np.arange(size) // 2) / size)[None]
        angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
        self._table = angles.astype("float32")
        self.built = True

    def call(self, embeddings):
        length = ops.shape(embeddings)[1]
        return ops.cast(self._table, self.compute_dtype)[None, :length]

    def compute_output_shape(self, input_shape):
        return (1, *input_shape[1:])
