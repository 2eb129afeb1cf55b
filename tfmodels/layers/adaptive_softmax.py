"""Embeddings and softmax that spend on a word by its rank (Grave et al., arXiv:1609.04309; Baevski, arXiv:1809.10853).

Token ids are ranks: the most frequent word is 0. Cutoffs part them into clusters; rare clusters have short vectors.

Cost: O(B T D E) for the embeddings; O(B T sum of V_c E_c) for the probabilities of all words. The paper computes a rare
cluster for those positions alone whose label lies in it; shapes that depend on data do not compile on accelerators, so
that here every cluster is computed everywhere: what is saved is the short vectors.
"""

from itertools import pairwise

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal


class AdaptiveEmbedding(Layer):
    """Token vectors, shorter for rarer clusters, widened to D and multiplied by sqrt(D).

    Args:
        vocabulary_size: V.
        hidden_dim: D.
        embedding_dim: E, the size of the first cluster's vectors; the default is `hidden_dim`.
        cutoffs: The first id of every cluster but the first, in rising order.
        shrinkage: A cluster's vectors are so many times shorter than the last one's; at 1 all are of one size in one
            table, and there is no widening where E = D.

    Call arguments:
        token_ids: int[B, T].
        segment_ids: int[B, T]; not used, these embeddings know no segments.

    Returns:
        float[B, T, D].

    Raises:
        UserError: The cutoffs do not rise between 0 and V, or leave vectors of no component.
    """

    def __init__(self, vocabulary_size, hidden_dim, embedding_dim=None, cutoffs=(), shrinkage=1, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.embedding_dim = embedding_dim or hidden_dim
        self.cutoffs = tuple(cutoffs)
        self.shrinkage = shrinkage
        ends = (0, *self.cutoffs, vocabulary_size)
        if any(first >= last for first, last in pairwise(ends)):
            raise UserError(f"cutoffs {list(cutoffs)} must rise between 0 and vocabulary_size={vocabulary_size}.")
        if shrinkage ** len(self.cutoffs) > self.embedding_dim:
            raise UserError(
                f"embedding_dim={self.embedding_dim} divided {len(self.cutoffs)} times by shrinkage={shrinkage} leaves "
                "nothing: choose fewer cutoffs or a lower shrinkage."
            )
        # With one size of vectors there is one table, and clusters matter to the softmax alone.
        self.table_ends = (0, vocabulary_size) if shrinkage == 1 else ends
        self.is_widened = shrinkage != 1 or self.embedding_dim != hidden_dim

    def build(self, token_ids_shape=None, segment_ids_shape=None):
        self.tables, self.projections = [], []
        for index, (first, last) in enumerate(pairwise(self.table_ends)):
            size = self.embedding_dim // self.shrinkage**index
            self.tables.append(
                self.add_weight(
                    name=f"table_{index}", shape=(last - first, size), initializer=truncated_normal(), autocast=False
                )
            )
            if self.is_widened:
                shape = (self.hidden_dim, size)
                self.projections.append(
                    self.add_weight(name=f"projection_{index}", shape=shape, initializer=truncated_normal())
                )
        self.built = True

    def call(self, token_ids, segment_ids=None):
        total = 0.0
        for index, (first, last) in enumerate(pairwise(self.table_ends)):
            rows = ops.clip(token_ids - first, 0, last - first - 1)
            vectors = ops.cast(ops.take(self.tables[index], rows, axis=0), self.compute_dtype)  # [B, T, E_c]
            if self.is_widened:
                vectors = ops.matmul(vectors, ops.transpose(self.projections[index]))  # [B, T, D]
            if len(self.tables) > 1:
                is_here = ops.logical_and(token_ids >= first, token_ids < last)[..., None]
                vectors = ops.where(is_here, vectors, ops.zeros_like(vectors))
            total = total + vectors
        return total * self.hidden_dim**0.5

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None):
        return (*token_ids_shape, self.hidden_dim)


class AdaptiveSoftmax(Layer):
    """Log-probabilities of all words: of a frequent word directly, of others by their cluster and within it.

    Its tables are the embedding's; so are its projections, but for the first cluster's.

    Args:
        embedding: An `AdaptiveEmbedding`, whose cutoffs it has.
        tie_projections: Whether the later clusters' projections are the embedding's.

    Call arguments:
        inputs: float[B, T, D].

    Returns:
        float32[B, T, V], in nats.
    """

    def __init__(self, embedding, tie_projections=True, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.cutoffs = embedding.cutoffs
        self.tie_projections = tie_projections

    def build(self, input_shape):
        embedding, clusters = self.embedding, len(self.cutoffs)
        if not embedding.built:
            embedding.build()
        if clusters:
            self.cluster_kernel = self.add_weight(
                name="cluster_kernel", shape=(clusters, embedding.embedding_dim), initializer=truncated_normal()
            )
            self.cluster_bias = self.add_weight(name="cluster_bias", shape=(clusters,), initializer="zeros")
        self.biases = [
            self.add_weight(name=f"bias_{index}", shape=(table.shape[0],), initializer="zeros")
            for index, table in enumerate(embedding.tables)
        ]
        # One for every cluster even where the tables are one, as the reference has it.
        self.projections = []
        for index in range(clusters + 1 if embedding.is_widened else 0):
            of_embedding = embedding.projections[min(index, len(embedding.projections) - 1)]
            is_own = index == 0 or not self.tie_projections
            self.projections.append(
                self.add_weight(name=f"projection_{index}", shape=of_embedding.shape, initializer=truncated_normal())
                if is_own
                else of_embedding
            )
        self.built = True

    def call(self, inputs):
        head = ops.log_softmax(self._logits(inputs, 0), axis=-1)  # [B, T, V_0 + clusters]
        shortlist = head.shape[-1] - len(self.cutoffs)
        parts = [head[..., :shortlist]]
        for index in range(1, len(self.cutoffs) + 1):
            within = ops.log_softmax(self._logits(inputs, index), axis=-1)  # [B, T, V_c]
            parts.append(head[..., shortlist + index - 1, None] + within)
        return ops.concatenate(parts, axis=-1)

    def _logits(self, inputs, index):
        """float32[B, T, V_c]; for the first cluster the logits of the other clusters follow."""
        kernel, bias = self._cluster(index)
        if index == 0 and self.cutoffs:
            kernel = ops.concatenate([kernel, ops.cast(self.cluster_kernel, kernel.dtype)], axis=0)
            bias = ops.concatenate([bias, self.cluster_bias], axis=0)
        x = ops.cast(inputs, self.compute_dtype)
        if self.projections:
            x = ops.matmul(x, ops.cast(self.projections[index], x.dtype))  # [B, T, E_c]
        return ops.cast(ops.matmul(x, ops.transpose(kernel)), "float32") + ops.cast(bias, "float32")

    def _cluster(self, index):
        """The table and bias of one cluster: [V_c, E_c] and [V_c]."""
        tables = self.embedding.tables
        if len(tables) > 1:
            return ops.cast(tables[index], self.compute_dtype), self.biases[index]
        ends = (0, *self.cutoffs, self.embedding.vocabulary_size)
        rows = slice(ends[index], ends[index + 1])
        return ops.cast(tables[0], self.compute_dtype)[rows], self.biases[0][rows]

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs.shape[:-1], self.embedding.vocabulary_size), dtype="float32")
