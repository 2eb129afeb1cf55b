"""Position schemes that know how far apart two tokens stand: DA-Transformer, T5's bias and ALiBi.

DA-Transformer (Wu et al., arXiv:2010.06925) multiplies what a query and a key have in common with a learned function
of their distance, for every head its own. T5 (Raffel et al., arXiv:1910.10683, section 2.1) adds a learned number for
every head and range of distances, ALiBi (Press et al., arXiv:2108.12409) a fixed one that falls with the distance.

Cost: time and memory O(N T (T + S)) a layer beside the logits' own, whatever the batch.
"""

import math

import keras
import numpy as np
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import truncated_normal
from tfmodels.layers.positions import PositionScheme
from tfmodels.ops import key_distances, toeplitz


class DistanceRescaling(PositionScheme):
    """Logits without their negative part, times a learned sigmoid of the distance (arXiv:2010.06925, equation 6).

        logits = ReLU(q k^T / sqrt(H)) f(R)        R = w |t - s|        f(R) = (1 + exp(v)) / (1 + exp(v - R))

    A head whose w is positive turns to what is far, one whose w is negative to what is near: f runs from 1 at the token
    itself to 1 + exp(v) or to 0. Before and after are alike.

    The weights begin where heads differ, w uniform between -1 and 1 and v = 0; where w is 0, v gets no gradient.

    Args:
        num_heads: N.
    """

    def __init__(self, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape=None):
        # Not autocast: bfloat16 does not tell distances beyond 256 apart.
        settings = {"shape": (self.num_heads,), "autocast": False}
        uniform = keras.initializers.RandomUniform(-1.0, 1.0)
        self.distance_weights = self.add_weight(name="distance_weights", initializer=uniform, **settings)
        self.offsets = self.add_weight(name="offsets", initializer="zeros", **settings)
        self.built = True

    def rescale(self, logits):
        """float32[B, N, T, S] of float32[B, N, T, S]."""
        length, source = ops.shape(logits)[2:]
        distances = ops.cast(ops.abs(key_distances(length, source)), "float32")  # [L]
        weighted = ops.convert_to_tensor(self.distance_weights)[:, None] * distances  # [N, L]
        return ops.relu(logits) * toeplitz(self.factors(weighted), length, source)

    def factors(self, weighted):
        """Equation 5, float32[N, L] of the weighted distances R, float32[N, L]."""
        offsets = ops.convert_to_tensor(self.offsets)[:, None]
        # log(1 + exp(x)) has no overflow, where exp(v - R) has one for a near head and a far key.
        return ops.exp(ops.softplus(offsets) - ops.softplus(offsets - weighted))


class BucketedBias(PositionScheme):
    """A learned number for every head and bucket of distances, added to the logits (arXiv:1910.10683, section 2.1).

    Half of a side's buckets hold one distance each, the others ranges that grow geometrically; the last one has all
    that is `max_distance` or farther. T5 has one table for all layers: hand one instance to all of them.

    Args:
        num_heads: N.
        num_buckets: Of both sides together.
        max_distance: In positions.
        is_causal: Whether all buckets are for keys before the query.

    Raises:
        UserError: There are too few buckets or distances.
    """

    def __init__(self, num_heads, num_buckets=32, max_distance=128, is_causal=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.is_causal = is_causal
        of_a_side = num_buckets if is_causal else num_buckets // 2
        if of_a_side < 2 or max_distance <= of_a_side // 2:
            raise UserError(
                f"num_buckets={num_buckets} and max_distance={max_distance} leave no ranges: take at least "
                f"{2 if is_causal else 4} buckets, and a max_distance above {max(1, of_a_side // 2)}."
            )
        self._starts = bucket_starts(of_a_side, max_distance)

    def build(self, input_shape=None):
        self.biases = self.add_weight(
            name="biases", shape=(self.num_buckets, self.num_heads), initializer=truncated_normal(), autocast=False
        )
        self.built = True

    def bias(self, query_length, key_length):
        """float32[1, N, T, S]."""
        rows = self.buckets(key_distances(query_length, key_length))  # [L]
        values = ops.transpose(ops.take(self.biases, rows, axis=0))  # [N, L]
        return toeplitz(values, query_length, key_length)

    def buckets(self, distances):
        """int32[L]: the buckets of distances int32[L], from the query back to the key."""
        sizes = ops.maximum(distances, 0) if self.is_causal else ops.abs(distances)
        reached = ops.sum(ops.cast(sizes[:, None] >= self._starts, "int32"), axis=1)
        if self.is_causal:
            return reached
        # The second half of the table is for keys after the query.
        return ops.where(distances < 0, reached + self.num_buckets // 2, reached)


def bucket_starts(count, max_distance):
    """The smallest distance of every bucket of one side but the first, int32[count - 1].

    Of `count` buckets the first half, E = count // 2, holds the distances below E. From there bucket E + k begins where
    (count - E) log(d / E) / log(max_distance / E) reaches k: in whole numbers, which no rounding can put aside.
    """
    exact = count // 2
    ranges = count - exact

    def begins(distance, k):
        return distance**ranges * exact**k >= max_distance**k * exact**ranges

    starts, distance = list(range(1, exact + 1)), exact
    for k in range(1, ranges):
        while not begins(distance, k):
            distance += 1
        starts.append(distance)
    return np.array(starts, "int32")


class LinearBias(PositionScheme):
    """A number that falls with the distance, by a fixed slope for every head (ALiBi, arXiv:2108.12409, section 3).

    The paper's models are causal; without a causal mask the numbers fall on both sides alike. No weights, no longest
    distance.

    Args:
        num_heads: N. The slopes are 2^(-8/N), 2^(-16/N) ... where N is a power of two; else those of the power of two
            below N, and then every second one of the power above it.
    """

    def __init__(self, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def bias(self, query_length, key_length):
        """float32[1, N, T, S]."""
        distances = ops.cast(ops.abs(key_distances(query_length, key_length)), "float32")  # [L]
        return toeplitz(-slopes(self.num_heads)[:, None] * distances, query_length, key_length)


def slopes(num_heads):
    """ALiBi's slopes, float32[N]."""

    def of(count):
        return [2.0 ** (-8 * (number + 1) / count) for number in range(count)]

    below = 2 ** int(math.log2(num_heads))
    return np.array(of(below) + of(2 * below)[::2][: num_heads - below], "float32")
