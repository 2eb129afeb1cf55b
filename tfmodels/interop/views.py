"""Tensors of a checkpoint that are cut otherwise than our variables: each looks like a variable to an `Entry`."""

from __future__ import annotations

import numpy as np


class View:
    """One tensor over one or several variables.

    Attributes:
        variables: The Keras variables.
        shape: The tensor's shape, before the entry's transposition.
    """

    def __init__(self, *variables):
        self.variables = variables
        self.shape = self.of([np.empty(variable.shape, "bool") for variable in variables]).shape

    def of(self, arrays) -> np.ndarray:
        """The tensor over arrays in the shapes of the variables, such as their values or their gradients."""
        raise NotImplementedError

    def split(self, value, arrays) -> list:
        """The arrays with the tensor's values put in: `of`'s inverse."""
        raise NotImplementedError

    def assign(self, value):
        """Assigns the tensor's values to the variables."""
        arrays = self.split(value, [np.array(variable) for variable in self.variables])
        for variable, array in zip(self.variables, arrays):
            variable.assign(array)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.of([np.asarray(variable) for variable in self.variables]), dtype)


class Reshaped(View):
    """A variable's values in another shape."""

    def __init__(self, variable, *shape):
        self.target = shape
        super().__init__(variable)

    def of(self, arrays):
        return arrays[0].reshape(self.target)

    def split(self, value, arrays):
        return [value.reshape(arrays[0].shape)]


class Rows(View):
    """Some of a variable's rows, in a shape of their own."""

    def __init__(self, variable, first, last, *shape):
        self.rows, self.target = slice(first, last), shape or (-1, *variable.shape[1:])
        super().__init__(variable)

    def of(self, arrays):
        return arrays[0][self.rows].reshape(self.target)

    def split(self, value, arrays):
        whole = np.array(arrays[0])
        whole[self.rows] = value.reshape(-1, *whole.shape[1:])
        return [whole]


class Columns(View):
    """The kernels of several projections side by side, as one wide projection has them."""

    def of(self, arrays):
        return np.concatenate(arrays, axis=-1)

    def split(self, value, arrays):
        ends = np.cumsum([array.shape[-1] for array in arrays])[:-1]
        return np.split(value, ends, axis=-1)
