"""Attention on sets, whose elements have no order: Set Transformer (Lee et al., arXiv:1810.00825, section 3).

Its blocks are made of parts that are there already. MAB(X, Y), equation 6, is a `TransformerBlock` of full attention
that is called on X with Y as `context`; SAB(X), equation 8, is the same block called on X alone. ISAB, equations 9 and
10, is a `TransformerBlock` with `InducedAttention`, and PMA, equation 11, is `PoolingByMultiHeadAttention`. In the
authors' code a block's residual branch is the projected query and there is no output projection; the paper, and we,
have X itself and the usual attention.

Sets of unequal size are rows with padding, which no element sees. A set of nothing, be it of padding or of no length at
all, has one answer: elements are followed by a place for nothing, a vector of zeros that is seen where there is no
element.

Cost, with m points or seeds: time O(B T m D + B T D^2) and memory O(B N T m), where SAB has T for m.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.ops import padding, real_keys


class _LearnedQueries(Layer):
    """What asks a set: learned vectors through a block, MAB(vectors, set)."""

    def __init__(self, block, count, what, **kwargs):
        super().__init__(**kwargs)
        self.block = block
        if count < 1:
            raise UserError(f"a set cannot be asked by {count} {what}: take at least one.")
        self._count = count

    def _build_queries(self, name, size):
        self.queries = self.add_weight(name=name, shape=(self._count, size), initializer=truncated_normal())
        self._build_parts((None, self._count, size), self.block)

    def _build_parts(self, shape, *parts):
        for part in parts:
            if not part.built:
                part.build(shape)

    def _ask(self, elements, is_real, training):
        """float[B, m, D] of float[B, S, D] and bool[B, S]."""
        batch = ops.shape(elements)[0]
        queries = ops.broadcast_to(ops.cast(self.queries, self.compute_dtype)[None], (batch, *self.queries.shape))
        return self.block(queries, attention_mask=padding(is_real), context=elements, training=training)


def _elements(x, mask):
    """Elements with zeros at padding and behind them, float[B, S + 1, D], and which are real, bool[B, S + 1]."""
    is_real = real_keys(mask, x)
    x = ops.where(is_real[..., None], x, ops.zeros((), dtype=x.dtype))
    return ops.pad(x, [(0, 0), (0, 1), (0, 0)]), ops.pad(is_real, [(0, 0), (0, 1)])


class InducedAttention(_LearnedQueries):
    """Elements ask m learned points that have asked the set: Multihead(X, H) with H = MAB(I, X) (equations 9 and 10).

    Args:
        num_points: m; there may be more of them than elements.
        block: A `TransformerBlock` of full attention, through which the points ask.
        attention: A `MultiHeadAttention`, by which the elements ask the points.

    Call arguments:
        query: float[B, T, D].
        value: float[B, S, D], the set that the points ask; the default is `query`.
        attention_mask: bool[1 or B, 1, 1, S], True at elements.

    Returns:
        float[B, T, D].

    Raises:
        UserError: There is no point.
    """

    has_scores = False
    is_causal = False

    def __init__(self, num_points, block, attention, **kwargs):
        super().__init__(block, num_points, "induced points", **kwargs)
        self.num_points = num_points
        self.attention = attention

    def build(self, query_shape, value_shape=None):
        self._build_queries("points", (value_shape or query_shape)[-1])
        self._build_parts(query_shape, self.attention)
        self.built = True

    def call(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        elements, is_real = _elements(query if value is None else value, attention_mask)
        return self.attention(query, self._ask(elements, is_real, training), training=training)

    def compute_output_spec(self, query, value=None, attention_mask=None, return_scores=False, training=None):
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype)


class PoolingByMultiHeadAttention(_LearnedQueries):
    """k learned seeds ask a set: PMA(Z) = MAB(S, rFF(Z)) (equation 11).

    Args:
        num_seeds: k.
        block: A `TransformerBlock` of full attention.
        feed_forward: A layer from float[B, S, D] to float[B, S, D], rFF.

    Call arguments:
        inputs: float[B, S, D].
        attention_mask: bool[1 or B, 1, 1, S], True at elements.

    Returns:
        float[B, k, D].

    Raises:
        UserError: There is no seed.
    """

    def __init__(self, num_seeds, block, feed_forward, **kwargs):
        super().__init__(block, num_seeds, "seeds", **kwargs)
        self.num_seeds = num_seeds
        self.feed_forward = feed_forward

    def build(self, inputs_shape, attention_mask_shape=None):
        self._build_parts(inputs_shape, self.feed_forward)
        self._build_queries("seeds", inputs_shape[-1])
        self.built = True

    def call(self, inputs, attention_mask=None, training=None):
        elements, is_real = _elements(inputs, attention_mask)
        return self._ask(self.feed_forward(elements, training=training), is_real, training)

    def compute_output_spec(self, inputs, attention_mask=None, training=None):
        return keras.KerasTensor((inputs.shape[0], self.num_seeds, inputs.shape[-1]), dtype=self.compute_dtype)
