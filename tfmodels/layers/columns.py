"""The columns of a table beside a text: numbers on one scale, categories as vectors.

Cost: O(B (N + C E)) for N numbers and C categories a row, of E components each.
"""

import keras
import numpy as np
from keras import ops

from tfmodels.layers.base import Layer


class Columns(Layer):
    """Standardises numbers and embeds categories into one vector a row.

    It computes in float32, since raw numbers such as years do not survive the cast to half precision.

    Args:
        means: N numbers: each column's mean over the training rows.
        deviations: N numbers: each column's standard deviation; 0 counts as 1.
        sizes: C integers: how many ids each column of categories has; 0 is by custom the id of what is unknown.
        embedding_dim: E, the components of a category's vector.

    Call arguments:
        features: A dict that holds "numbers" float[B, N], where NaN is missing and counts as the mean, if N > 0; and
            "categories" int[B, C], from 0 to each column's size, if C > 0.

    Returns:
        float32[B, N + C E].

    Raises:
        ValueError: There are no columns, or not as many deviations as means.

    Example:
    >>> columns = Columns.of(numbers=[[1990.0], [2010.0]])
    >>> columns({"numbers": np.array([[2010.0], [np.nan]])}).numpy().tolist()
    [[1.0], [0.0]]
    """

    def __init__(self, means=(), deviations=(), sizes=(), embedding_dim=8, **kwargs):
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.means, self.deviations = [float(x) for x in means], [float(x) for x in deviations]
        self.sizes = [int(size) for size in sizes]
        self.embedding_dim = embedding_dim
        if len(self.means) != len(self.deviations):
            raise ValueError(f"there are {len(self.means)} means and {len(self.deviations)} deviations.")
        if not self.width:
            raise ValueError("there are no columns: give numbers, categories or both.")
        self.tables = [
            keras.layers.Embedding(size, embedding_dim, dtype="float32", name=f"category_{index}")
            for index, size in enumerate(self.sizes)
        ]

    @classmethod
    def of(cls, numbers=None, categories=None, embedding_dim=8) -> "Columns":
        """The layer for a table's training rows.

        Args:
            numbers: float[rows, N], NaN where missing.
            categories: int[rows, C].
            embedding_dim: E.
        """
        means, deviations, sizes = (), (), ()
        if numbers is not None:
            numbers = np.asarray(numbers, "float64")
            means, deviations = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
        if categories is not None:
            sizes = np.asarray(categories).max(axis=0) + 1
        return cls(means, deviations, sizes, embedding_dim)

    @property
    def width(self) -> int:
        """N + C E."""
        return len(self.means) + len(self.sizes) * self.embedding_dim

    def inputs(self) -> dict:
        """The `keras.Input`s that the layer reads."""
        inputs = {}
        if self.means:
            inputs["numbers"] = keras.Input((len(self.means),), dtype="float32", name="numbers")
        if self.sizes:
            inputs["categories"] = keras.Input((len(self.sizes),), dtype="int32", name="categories")
        return inputs

    def build(self, features_shape):
        for table in self.tables:
            table.build((None,))
        self.built = True

    def call(self, features):
        parts = []
        if self.means:
            scale = np.array([deviation or 1.0 for deviation in self.deviations], "float32")
            numbers = (ops.cast(features["numbers"], "float32") - np.array(self.means, "float32")) / scale  # [B, N]
            parts.append(ops.where(ops.isnan(numbers), 0.0, numbers))
        parts += [table(features["categories"][:, index]) for index, table in enumerate(self.tables)]  # C of [B, E]
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, features_shape):
        return (next(iter(features_shape.values()))[0], self.width)
