"""Axial positions: a table for the rows and one for the columns of positions laid out in a rectangle.

Reformer (arXiv:2001.04451, section 4); the position p = i A2 + j has what stands at i in the first table and at j in
the second, side by side or added. A1 + A2 vectors tell A1 A2 positions apart.

Cost: time and memory O(T D), parameters O((A1 + A2) D) where a plain table has O(T D).
"""

import math

import keras
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import Layer
from tfmodels.layers.positions import check_length


class AxialPositions(Layer):
    """A learned vector for every position, of two factors.

    Args:
        shape: (A1, A2): rows and columns; there are A1 A2 positions.
        dims: The sizes of the two vectors that are put side by side, D together; None for two of size D that are added.
        deviation: The standard deviation of the tables at the beginning.

    Call arguments:
        embeddings: float[B, T, D], T <= A1 A2; only its shape is used.
        padding_mask: bool[B, T]; not used, padding has positions too.

    Returns:
        float[1, T, D].

    Raises:
        UserError: There are not two numbers above 0, the sizes of the vectors are not D together, or there are more
            tokens than positions, where their number is known.
    """

    def __init__(self, shape, dims=None, deviation=1.0, **kwargs):
        super().__init__(**kwargs)
        for name, pair in (("shape", shape), ("dims", dims)):
            if pair is not None and (len(pair) != 2 or min(pair) < 1):
                raise UserError(f"axial positions need two numbers above 0, one for each factor: {name}={pair}.")
        # JSON has lists.
        self.shape = tuple(shape)
        self.dims = None if dims is None else tuple(dims)
        self.deviation = deviation

    @property
    def max_length(self):
        """The number of positions."""
        return math.prod(self.shape)

    def build(self, input_shape):
        size = input_shape[-1]
        if self.dims is not None and sum(self.dims) != size:
            raise UserError(
                f"the axial vectors of sizes {self.dims} are {sum(self.dims)} together, but the embeddings have "
                f"{size}: choose two sizes whose sum that is."
            )
        normal = keras.initializers.RandomNormal(stddev=self.deviation)
        self.tables = [
            self.add_weight(name=name, shape=(count, width), initializer=normal)
            for name, count, width in zip(("rows", "columns"), self.shape, self.dims or (size, size))
        ]
        self.built = True

    def call(self, embeddings, padding_mask=None):
        length = ops.shape(embeddings)[1]
        check_length(embeddings, self.max_length)
        columns = self.shape[1]
        rows = -(-length // columns)  # of the rectangle that T positions need
        first, second = (ops.cast(table, self.compute_dtype) for table in self.tables)
        # Not a slice: JAX cannot know of one with a symbolic end how long it is.
        first = ops.take(first, ops.arange(rows), axis=0)[:, None]
        first = ops.broadcast_to(first, (rows, columns, first.shape[-1]))
        second = ops.broadcast_to(second[None], (rows, columns, second.shape[-1]))
        vectors = first + second if self.dims is None else ops.concatenate([first, second], axis=-1)
        return ops.reshape(vectors, (rows * columns, vectors.shape[-1]))[None, :length]  # [1, T, D]

    def compute_output_shape(self, input_shape):
        return (1, *input_shape[1:])
