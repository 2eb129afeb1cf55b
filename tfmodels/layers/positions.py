"""Where a token stands: absolute vectors added to the embeddings, and the interface of relative schemes.

A relative scheme is a plug-in of `MultiHeadAttention` with four hooks, each of which may be left as it is; see
`PositionScheme`. Absolute positions are layers that return vectors to add.

The relative schemes of Shaw et al. (arXiv:1803.02155), Huang et al. (arXiv:2009.13658) and NEZHA (arXiv:1909.00204)
have a vector for every distance, shared by all heads. They score distances rather than pairs of positions: time
O(B N T (T + S) H) and memory O(B N T (T + S)) a layer; no vector for every pair is ever formed.
"""

import contextlib

import numpy as np
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.ops import key_distances, project, skew, unskew


class PositionScheme(Layer):
    """How attention logits depend on positions; the default hooks change nothing.

    Subclasses override `bias` (T5), `score` (Shaw, Transformer-XL, NEZHA), `rescale` (DA-Transformer) or `value_term`
    (Shaw, NEZHA).
    """

    def bias(self, query_length, key_length):
        """float, broadcastable to [B, N, T, S], added to the logits, or None."""
        return

    # Replaces the dot product when a subclass defines it: `score(query, key)` on scaled float[B, N, T, H] and
    # float[B, N, S, H], returning float[B, N, T, S].
    score = None

    # Changes the biased logits when a subclass defines it: `rescale(logits)` on float[B, N, T, S].
    rescale = None

    # Adds to the attended values when a subclass defines it: `value_term(weights)` on float[B, N, T, S], returning
    # float[B, N, T, H].
    value_term = None


def check_length(vectors, max_length):
    """Refuses [B, S, ...] with more than `max_length` places, where their number is known."""
    if isinstance(vectors.shape[1], int):
        _refuse_beyond(vectors.shape[1], max_length)


def _refuse_beyond(length, max_length):
    if length > max_length:
        raise UserError(
            f"{length} tokens are more than the {max_length} positions that there are: shorten the rows, or make a "
            f"model with max_sequence_length={length}."
        )


class LearnedPositions(Layer):
    """A learned vector for every position (BERT, arXiv:1810.04805).

    Args:
        max_length: The number of positions.

    Call arguments:
        embeddings: float[B, T, D], T <= max_length; only its shape is used.
        padding_mask: bool[B, T]; not used, padding has positions too.

    Returns:
        float[1, T, D].

    Raises:
        UserError: There are more tokens than positions, where their number is known.
    """

    def __init__(self, max_length, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.max_length, input_shape[-1]), initializer=truncated_normal()
        )
        self.built = True

    def call(self, embeddings, padding_mask=None):
        check_length(embeddings, self.max_length)
        length = ops.shape(embeddings)[1]
        return ops.cast(self.embeddings, self.compute_dtype)[None, :length]

    def compute_output_shape(self, input_shape):
        return (1, *input_shape[1:])


class CountedPositions(Layer):
    """A learned vector for the number of every real token, counted from past the padding's id (RoBERTa).

    Padding, at the end or anywhere else, is not counted: all of it stands at `padding_id`.

    Args:
        max_length: The number of tokens that can be counted.
        padding_id: The position of padding; the first token stands at `padding_id` + 1.

    Call arguments:
        embeddings: float[B, T, D]; only its shape is used.
        padding_mask: bool[B, T], True at the tokens that are counted, at most `max_length` a row; the default is all.

    Returns:
        float[B, T, D].

    Raises:
        UserError: There are more tokens than positions, where their number is known: outside of graphs.
    """

    def __init__(self, max_length, padding_id=1, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length
        self.padding_id = padding_id

    def build(self, input_shape):
        # Not autocast: in bfloat16 the few rows that are taken are cast, not the whole table.
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_length + self.padding_id + 1, input_shape[-1]),
            initializer=truncated_normal(),
            autocast=False,
        )
        self.built = True

    def call(self, embeddings, padding_mask=None):
        if padding_mask is None:
            padding_mask = ops.ones(ops.shape(embeddings)[:2], dtype="bool")
        is_counted = ops.cast(padding_mask, "int32")
        self._check_counts(is_counted)
        positions = ops.cumsum(is_counted, axis=1) * is_counted + self.padding_id  # [B, T]
        return ops.cast(ops.take(self.embeddings, positions, axis=0), self.compute_dtype)

    def _check_counts(self, is_counted):
        """Looks at how many tokens are counted where they can be too many, which costs nothing elsewhere."""
        length = is_counted.shape[1]
        if isinstance(length, int) and length > self.max_length:
            most = ops.max(ops.sum(is_counted, axis=1), initial=0)
            with contextlib.suppress(TypeError):  # In a graph it is no number.
                _refuse_beyond(int(most), self.max_length)

    def compute_output_shape(self, input_shape):
        return input_shape


class SinusoidPositions(Layer):
    """Sines and cosines of geometrically spaced wavelengths (arXiv:1706.03762, section 3.5).

    Args:
        max_length: The number of positions.

    Call arguments:
        embeddings: float[B, T, D], T <= max_length; only its shape is used.
        padding_mask: bool[B, T]; not used, padding has positions too.

    Returns:
        float[1, T, D]: sines in the even components, cosines in the odd ones.

    Raises:
        UserError: There are more tokens than positions, where their number is known.
    """

    def __init__(self, max_length, **kwargs):
        super().__init__(**kwargs)
        self.max_length = max_length

    def build(self, input_shape):
        self._table = sinusoids(self.max_length, input_shape[-1])
        self.built = True

    def call(self, embeddings, padding_mask=None):
        check_length(embeddings, self.max_length)
        length = ops.shape(embeddings)[1]
        return ops.cast(self._table, self.compute_dtype)[None, :length]

    def compute_output_shape(self, input_shape):
        return (1, *input_shape[1:])


def sinusoids(length, size):
    """float32[length, size]: sines in the even components, cosines in the odd ones (arXiv:1706.03762, section 3.5)."""
    angles = np.arange(length)[:, None] / 10_000 ** (2 * (np.arange(size) // 2) / size)[None]
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return angles.astype("float32")


class _ByDistance(PositionScheme):
    """A vector for every distance up to `max_distance`, and the last one for all that are farther.

    Subclasses make `self.vectors`, float[2 * max_distance + 1, H]; row `max_distance + d` is for a key that stands d
    positions behind its query. (The papers count distances the other way round, which only turns the table over.)

    Args:
        max_distance: k, in positions.
    """

    def __init__(self, max_distance, **kwargs):
        super().__init__(**kwargs)
        self.max_distance = max_distance

    def score(self, query, key):
        """The logits q (k + a)^T (arXiv:1803.02155, equation 5), on queries that are scaled already."""
        return ops.matmul(query, ops.swapaxes(key, -1, -2)) + self._by_distance(query, self.vectors, ops.shape(key)[2])

    def _rows(self, vectors, query_length, key_length):
        """float[T + S - 1, H]: the vectors along the axis that `skew` reads."""
        rows = ops.clip(key_distances(query_length, key_length), -self.max_distance, self.max_distance)
        return ops.take(ops.cast(vectors, self.compute_dtype), rows + self.max_distance, axis=0)

    def _by_distance(self, query, vectors, key_length):
        """float[B, N, T, S]: each query's product with the vector of its distance to each key."""
        rows = self._rows(vectors, ops.shape(query)[2], key_length)
        return skew(project(query, ops.transpose(rows)), key_length)

    def _attended(self, weights, vectors):
        """float[B, N, T, H]: the vectors of the distances to the keys, weighted."""
        return project(unskew(weights), self._rows(vectors, *ops.shape(weights)[2:]))


class RelativeKeys(_ByDistance):
    """Learned vectors of distances, added to the keys (Shaw et al., arXiv:1803.02155, without its a^V).

    transformers calls it "relative_key".

    Args:
        max_distance: k, in positions; farther keys share the last vectors.
        head_dim: H.
    """

    def __init__(self, max_distance, head_dim, **kwargs):
        super().__init__(max_distance, **kwargs)
        self.head_dim = head_dim

    def build(self, input_shape):
        self.vectors = self._add_vectors("keys")
        self.built = True

    def _add_vectors(self, name):
        return self.add_weight(
            name=name, shape=(2 * self.max_distance + 1, self.head_dim), initializer=truncated_normal()
        )


class RelativeKeysAndQueries(RelativeKeys):
    """Learned vectors of distances, multiplied with the queries and with the keys (arXiv:2009.13658, method 4).

    transformers calls it "relative_key_query".
    """

    def score(self, query, key):
        """The logits (q k^T + q a^T + k a^T) / sqrt(H), on queries that are scaled already."""
        rows = self._rows(self.vectors, ops.shape(query)[2], ops.shape(key)[2])
        # Seen from the key the distances run the other way.
        rows = ops.transpose(ops.flip(rows, axis=0))  # [H, S + T - 1]
        by_key = skew(project(key * ops.cast(self.head_dim**-0.5, key.dtype), rows), ops.shape(query)[2])
        return super().score(query, key) + ops.swapaxes(by_key, -1, -2)  # [B, N, T, S]


class RelativeKeysAndValues(RelativeKeys):
    """Learned vectors of distances, added to the keys and others to the values (Shaw et al., arXiv:1803.02155)."""

    def build(self, input_shape):
        self.value_vectors = self._add_vectors("values")
        super().build(input_shape)

    def value_term(self, weights):
        """The sum over s of alpha_s a^V_s (arXiv:1803.02155, equation 3)."""
        return self._attended(weights, self.value_vectors)


class SinusoidKeysAndValues(_ByDistance):
    """Sinusoids of distances, added to the keys and to the values (NEZHA, arXiv:1909.00204, equations 2 to 4).

    Args:
        max_distance: k, in positions; farther keys share the last vectors.
        head_dim: H.
    """

    def __init__(self, max_distance, head_dim, **kwargs):
        super().__init__(max_distance, **kwargs)
        self.head_dim = head_dim

    def build(self, input_shape):
        # NEZHA counts from the key that is farthest behind.
        self.vectors = sinusoids(2 * self.max_distance + 1, self.head_dim)[::-1].copy()
        self.built = True

    def value_term(self, weights):
        """The sum over s of alpha_s a_s (equation 3)."""
        return self._attended(weights, self.vectors)
