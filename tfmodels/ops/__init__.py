"""Pure functions on tensors: no weights, no state, any Keras backend."""

from tfmodels.ops.activations import activation
from tfmodels.ops.attention import attend
from tfmodels.ops.masks import causal, padding, prefix, segment, window
from tfmodels.ops.pooling import masked_max, masked_mean
from tfmodels.ops.products import project
from tfmodels.ops.relative import key_distances, skew, unskew

__all__ = [
    "activation",
    "attend",
    "causal",
    "key_distances",
    "masked_max",
    "masked_mean",
    "padding",
    "prefix",
    "project",
    "segment",
    "skew",
    "unskew",
    "window",
]
