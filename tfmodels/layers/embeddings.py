"""From token ids to vectors: tokens, segments and positions, normalised."""

import keras
from keras import ops

from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.projection import Projection


class TextEmbedding(Layer):
    """The sum of token, segment and position vectors, normalised, then dropped out (BERT, arXiv:1810.04805).

    With `embedding_dim` below `hidden_dim` the vectors are small and a linear map widens them after the
    normalisation: the factorised embedding of ALBERT (arXiv:1909.11942, section 3.1), as ELECTRA lays it out.

    Args:
        vocabulary_size: V.
        hidden_dim: D.
        positions: A layer from float[B, T, E] and the padding mask to the position vectors, or None.
        embedding_dim: The size of the vectors, E; the default is `hidden_dim`.
        num_segments: The number of segment ids; 0 for none. With 1 every token lies in segment 0, whatever its id.
        dropout: fraction of the output dropped in training.
        layer_norm_epsilon: Added to the variance.
        widen: A layer from float[B, T, E] to float[B, T, D]; the default is a linear map where E is not D.

    Call arguments:
        token_ids: int[B, T].
        segment_ids: int[B, T]; the default is segment 0.
        padding_mask: bool[B, T], True at real tokens, for positions that count them; the default is all.
        added: float[1 or B, 1 or T, E], further vectors of the sum.

    Returns:
        float[B, T, D].
    """

    def __init__(
        self,
        vocabulary_size,
        hidden_dim,
        positions=None,
        embedding_dim=None,
        num_segments=2,
        dropout=0.0,
        layer_norm_epsilon=1e-12,
        widen=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.positions = positions
        self.embedding_dim = embedding_dim or hidden_dim
        self.num_segments = num_segments
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.norm = LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")
        if widen is None and self.embedding_dim != hidden_dim:
            widen = Projection(hidden_dim, dtype=self.dtype_policy, name="widen")
        self.widen = widen

    def build(self, token_ids_shape, segment_ids_shape=None, padding_mask_shape=None, added_shape=None):
        size = self.embedding_dim
        # Not autocast: in bfloat16 the few rows that are taken are cast, not the whole table.
        self.tokens = self.add_weight(
            name="tokens", shape=(self.vocabulary_size, size), initializer=truncated_normal(), autocast=False
        )
        if self.num_segments:
            self.segments = self.add_weight(
                name="segments", shape=(self.num_segments, size), initializer=truncated_normal(), autocast=False
            )
        vectors = (*token_ids_shape, size)
        for part in filter(None, (self.positions, self.norm, self.widen)):
            if not part.built:
                part.build(vectors)
        self.built = True

    def call(self, token_ids, segment_ids=None, padding_mask=None, added=None, training=None):
        vectors = ops.cast(ops.take(self.tokens, token_ids, axis=0), self.compute_dtype)  # [B, T, E]
        if self.num_segments:
            is_one = self.num_segments == 1 or segment_ids is None
            segments = self.segments[0] if is_one else ops.take(self.segments, segment_ids, axis=0)
            vectors = vectors + ops.cast(segments, self.compute_dtype)
        if self.positions is not None:
            vectors = vectors + self.positions(vectors, padding_mask)
        if added is not None:
            vectors = vectors + ops.cast(added, self.compute_dtype)
        vectors = self.drop(self.norm(vectors), training=training)
        return self.widen(vectors) if self.widen is not None else vectors

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None, padding_mask_shape=None, added_shape=None):
        return (*token_ids_shape, self.hidden_dim)


class WordVectors(Layer):
    """A vector for each token, and nothing else.

    Args:
        vocabulary_size: V.
        embedding_dim: E.

    Call arguments:
        token_ids: int[B, T].
        segment_ids: int[B, T], not used: a functional model needs all of its inputs.

    Returns:
        float[B, T, E].
    """

    def __init__(self, vocabulary_size, embedding_dim, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def build(self, token_ids_shape, segment_ids_shape=None):
        # Not autocast: in bfloat16 the few rows that are taken are cast, not the whole table.
        self.tokens = self.add_weight(
            name="tokens",
            shape=(self.vocabulary_size, self.embedding_dim),
            initializer=keras.initializers.RandomUniform(-0.05, 0.05),
            autocast=False,
        )
        self.built = True

    def call(self, token_ids, segment_ids=None):
        return ops.cast(ops.take(self.tokens, token_ids, axis=0), self.compute_dtype)  # [B, T, E]
