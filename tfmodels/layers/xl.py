"""Attention by relative distance, over memory too: what Transformer-XL (arXiv:1901.02860) and XLNet share.

The logit of query i and key j has two terms by content and two by the distance i - j (Transformer-XL, section 3.3):
(a) q k, (b) q W_r R_{i-j}, (c) u k and (d) v W_r R_{i-j}, where R is a sinusoid and u, v are learned. XLNet
(arXiv:1906.08237, section 2.5) adds a term for whether i and j are of one segment. Keys and values may be more than
the queries: what stands before the first query is memory, so that key 0 is S - T tokens before it.

Cost: time O(B T S D + L D^2) and memory O(B N T L), where L = S for past keys alone and S + T - 1 for both sides:
products with R are formed once for every distance and skewed to the keys, never for every pair.
"""

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer, truncated_normal
from tfmodels.layers.positions import PositionScheme
from tfmodels.layers.projection import Projection
from tfmodels.ops import attend, key_distances, skew


class RelativeSinusoids(Layer):
    """R: sines and cosines of the distances from a query back to a key (Transformer-XL, section 3.3).

    Args:
        size: D, an even number: sines fill the first half, cosines the second.
        past_only: Whether distances below zero, to keys after the query, are left out.
        max_distance: Distances beyond it, in tokens and on either side, count as it; None for no bound.
        dropout: fraction dropped in training.

    Call arguments:
        query: float[B, T, D]; only its shape is used.
        memory: float[B, M, D], which stands before the queries, or None; only its shape is used.

    Returns:
        float[1, L, D], S = M + T, for the distances S - 1 down to 0 or, without `past_only`, down to 1 - T.

    Raises:
        UserError: `size` is odd.
    """

    def __init__(self, size, past_only=False, max_distance=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if size % 2:
            raise UserError(f"sinusoids come in pairs of sine and cosine: {size} is odd, choose an even size.")
        self.size = size
        self.past_only = past_only
        self.max_distance = max_distance
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="drop")

    def call(self, query, memory=None, training=None):
        length = ops.shape(query)[1]
        source = length if memory is None else length + ops.shape(memory)[1]
        last = 0 if self.past_only else 1 - length
        encodings = self.encode(source - 1 - ops.arange(source - last))[None]  # [1, L, D]
        return self.drop(encodings, training=training)

    def encode(self, distances):
        """float[L, D] of the distances int[L]."""
        distances = ops.cast(distances, "float32")
        if self.max_distance is not None:
            distances = ops.clip(distances, -self.max_distance, self.max_distance)
        frequencies = 10_000 ** (-ops.arange(0, self.size, 2, dtype="float32") / self.size)  # [D / 2]
        angles = distances[:, None] * frequencies[None]  # [L, D / 2]
        return ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1), self.compute_dtype)

    def compute_output_spec(self, query, memory=None, training=None):
        return keras.KerasTensor((1, None, self.size), dtype=self.compute_dtype)


class RelativeBiases(Layer):
    """u and v: what every query asks of contents and of distances alike (Transformer-XL, terms c and d).

    One instance may serve every layer of a model.

    Args:
        num_heads: N.
        head_dim: H.
    """

    def __init__(self, num_heads, head_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim

    def build(self, input_shape=None):
        shape = (self.num_heads, self.head_dim)
        self.content = self.add_weight(name="content", shape=shape, initializer=truncated_normal())
        self.distance = self.add_weight(name="distance", shape=shape, initializer=truncated_normal())
        self.built = True

    def score(self, query, key, relative, scale):
        """The terms a to d of the logits.

        Args:
            query: float[B, N, T, H], already scaled.
            key: float[B, N, S, H].
            relative: float[L, N, H], W_r R along the axis that `ops.skew` reads.
            scale: What `query` was scaled by.

        Returns:
            float[B, N, T, S].
        """
        content, distance = (ops.cast(b, query.dtype)[:, None] for b in (self.content, self.distance))  # [N, 1, H]
        by_content = ops.matmul(query + content * scale, ops.swapaxes(key, -1, -2))  # [B, N, T, S]
        # Not a product that broadcasts over the batch: where an axis has size 1, TensorFlow's oneDNN kernel for those
        # writes past its output.
        by_distance = ops.einsum("bnth,lnh->bntl", query + distance * scale, relative)  # [B, N, T, L]
        # Keys after the query that the encodings leave out score nothing; a causal mask forbids them.
        return by_content + skew(by_distance, ops.shape(key)[2])


class RelativeSegments(Layer):
    """Whether query and key are of one segment, never of which (XLNet, section 2.5): (q + b) s_same or (q + b) s_other.

    Args:
        num_heads: N.
        head_dim: H.
    """

    def __init__(self, num_heads, head_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim

    def build(self, input_shape=None):
        shape = (self.num_heads, self.head_dim)
        self.bias = self.add_weight(name="bias", shape=shape, initializer=truncated_normal())
        self.embeddings = self.add_weight(name="embeddings", shape=(2, *shape), initializer=truncated_normal())
        self.built = True

    def score(self, query, scale, is_other):
        """The term of the logits.

        Args:
            query: float[B, N, T, H], already scaled.
            scale: What `query` was scaled by.
            is_other: bool[B, T, S], True where query and key are of different segments.

        Returns:
            float[B, N, T, S].
        """
        asked = query + ops.cast(self.bias, query.dtype)[:, None] * scale  # [B, N, T, H]
        by_segment = ops.einsum("bnth,knh->bntk", asked, ops.cast(self.embeddings, query.dtype))
        return ops.where(is_other[:, None], by_segment[..., 1:], by_segment[..., :1])


class XLPositions(PositionScheme):
    """Transformer-XL's terms a to d as a scheme of any full attention, without memory.

    Args:
        num_heads: N.
        hidden_dim: D, an even number that N divides.
        max_distance: Distances beyond it, in tokens and on either side, count as it; None for no bound.

    Raises:
        UserError: `hidden_dim` is odd.
    """

    def __init__(self, num_heads, hidden_dim, max_distance=None, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.max_distance = max_distance
        policy, self.head_dim = self.dtype_policy, hidden_dim // num_heads
        self.encodings = RelativeSinusoids(hidden_dim, max_distance=max_distance, dtype=policy, name="encodings")
        self.relative = Projection(hidden_dim, use_bias=False, dtype=policy, name="relative")
        self.biases = RelativeBiases(num_heads, self.head_dim, dtype=policy, name="biases")

    def build(self, input_shape=None):
        self.relative.build((None, self.hidden_dim))
        self.biases.build()
        self.built = True

    def score(self, query, key):
        """The logits of a query at t and a key at s, t - s apart; the query is scaled already."""
        distances = key_distances(ops.shape(query)[2], ops.shape(key)[2])
        relative = self.relative(self.encodings.encode(distances))  # [L, D]
        relative = ops.reshape(relative, (-1, self.num_heads, self.head_dim))  # [L, N, H]
        return self.biases.score(query, key, relative, self.head_dim**-0.5)


class XLAttention(Layer):
    """Multi-head attention whose logits know distances, over memory too; no projection has a bias.

    Args:
        num_heads: N.
        hidden_dim: D, of the output.
        head_dim: H; the default is D / N.
        dropout: fraction of the attention weights dropped in training.
        biases: A `RelativeBiases`, which other layers may share.
        segments: A `RelativeSegments`, or None for logits that do not know segments.

    Call arguments:
        query: float[B, T, D].
        value: float[B, S, D], memory first; the keys are made from it too. The default is `query`.
        encodings: float[1, L, D] from `RelativeSinusoids`.
        is_other_segment: bool[B, T, S], for `segments`.
        target_mapping: float[B, P, T], one 1 in every row: `query` is then float[B, P, D] and query p stands where its
            row has the 1 (XLNet's partial prediction, section 2.3). The output is float[B, P, D].
        attention_mask: bool, broadcastable to [B, N, T, S], True = may attend.
        return_scores: Also return the logits before the mask.

    Returns:
        float[B, T, D]; with `return_scores` a pair of it and float32[B, N, T, S].

    Raises:
        UserError: `num_heads` does not divide `hidden_dim` and there is no `head_dim`.
    """

    def __init__(self, num_heads, hidden_dim, head_dim=None, dropout=0.0, biases=None, segments=None, **kwargs):
        super().__init__(**kwargs)
        if head_dim is None and hidden_dim % num_heads:
            raise UserError(
                f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}: choose a divisor or give head_dim."
            )
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.head_dim = head_dim or hidden_dim // num_heads
        self.dropout = dropout
        self.biases = biases or RelativeBiases(num_heads, self.head_dim, dtype=self.dtype_policy, name="biases")
        self.segments = segments
        policy, width = self.dtype_policy, num_heads * self.head_dim
        self.query = Projection(width, use_bias=False, dtype=policy, name="query")
        self.key = Projection(width, use_bias=False, dtype=policy, name="key")
        self.value = Projection(width, use_bias=False, dtype=policy, name="value")
        self.relative = Projection(width, use_bias=False, dtype=policy, name="relative")
        self.output_projection = Projection(hidden_dim, use_bias=False, dtype=policy, name="output_projection")
        self.drop = keras.layers.Dropout(dropout, dtype=policy, name="drop")

    def build(self, query_shape):
        for part in filter(None, (self.query, self.key, self.value, self.relative, self.biases, self.segments)):
            if not part.built:
                part.build(query_shape)
        self.output_projection.build((*query_shape[:-1], self.num_heads * self.head_dim))
        self.built = True

    def call(
        self,
        query,
        value=None,
        encodings=None,
        is_other_segment=None,
        target_mapping=None,
        attention_mask=None,
        return_scores=False,
        training=None,
    ):
        value = query if value is None else value
        queries = self._split(self.query(query))  # [B, T, N, H]
        # The query's place is where the skewing looks for it: scattered there, and gathered again below.
        if target_mapping is not None:
            target_mapping = ops.cast(target_mapping, queries.dtype)
            queries = ops.einsum("bpnh,bpt->btnh", queries, target_mapping)
        relative = self._split(self.relative(encodings))[0]  # [L, N, H]
        attended = attend(
            queries,
            self._split(self.key(value)),
            self._split(self.value(value)),
            mask=attention_mask,
            score=lambda q, k: self._score(q, k, relative, is_other_segment),
            dropout=(lambda weights: self.drop(weights, training=training)) if self.dropout else None,
            return_scores=return_scores,
        )
        attended, scores = attended if return_scores else (attended, None)
        if target_mapping is not None:
            attended = ops.einsum("btnh,bpt->bpnh", attended, target_mapping)
        joined = ops.reshape(attended, (*ops.shape(attended)[:2], self.num_heads * self.head_dim))  # [B, T, N H]
        output = self.output_projection(joined)
        return (output, scores) if return_scores else output

    def _score(self, query, key, relative, is_other_segment):
        """Terms a to d, and the segments': `attend`'s hook."""
        scale = self.head_dim**-0.5  # what `attend` has scaled the query by
        logits = self.biases.score(query, key, relative, scale)
        if self.segments is not None and is_other_segment is not None:
            logits = logits + self.segments.score(query, scale, is_other_segment)
        return logits

    def _split(self, projected):
        return ops.reshape(projected, (*ops.shape(projected)[:2], self.num_heads, self.head_dim))  # [B, T, N, H]

    def compute_output_spec(
        self,
        query,
        value=None,
        encodings=None,
        is_other_segment=None,
        target_mapping=None,
        attention_mask=None,
        return_scores=False,
        training=None,
    ):
        output = keras.KerasTensor((*query.shape[:-1], self.hidden_dim), dtype=self.compute_dtype)
        if not return_scores:
            return output
        source = query if value is None else value
        length = query.shape[1] if target_mapping is None else target_mapping.shape[2]
        return output, keras.KerasTensor((query.shape[0], self.num_heads, length, source.shape[1]), dtype="float32")


class Memory(Layer):
    """What a layer remembers for the next stretch of text: its latest inputs, through which no gradient flows.

    Args:
        length: M, tokens that are kept; None keeps all.
        reuse_length: Of the inputs only so many first tokens are remembered, where the next stretch overlaps this one
            (XLNet's pre-training); None remembers all.

    Call arguments:
        memory: float[B, M', D], what was remembered so far; M' may be 0.
        hidden: float[B, T, D], the layer's inputs.

    Returns:
        float[B, min(M, M' + T), D].
    """

    def __init__(self, length=None, reuse_length=None, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.reuse_length = reuse_length

    def call(self, memory, hidden):
        joined = ops.stop_gradient(ops.concatenate([memory, hidden[:, : self.reuse_length]], axis=1))
        return joined if self.length is None else joined[:, ops.maximum(ops.shape(joined)[1] - self.length, 0) :]

    def compute_output_spec(self, memory, hidden):
        return keras.KerasTensor((hidden.shape[0], None, hidden.shape[2]), dtype=self.compute_dtype)
