"""Activations by name: those of Keras, and those that Keras lacks."""

import keras


def gelu_new(x):
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): the approximation of arXiv:1606.08415, section 2."""
    return keras.activations.gelu(x, approximate=True)


_OURS = {"gelu_new": gelu_new}


def activation(name):
    """An elementwise function.

    Args:
        name: The name of a Keras activation, or "gelu_new"; None for the identity.

    Example:
    >>> activation("gelu_new").__name__
    'gelu_new'
    """
    return _OURS[name] if name in _OURS else keras.activations.get(name)
