"""Pure functions on tensors: no weights, no state, any Keras backend."""

from tfmodels.ops.attention import attend
from tfmodels.ops.masks import causal, padding, prefix, segment, window
from tfmodels.ops.pooling import masked_mean

__all__ = ["attend", "causal", "masked_mean", "padding", "prefix", "segment", "window"]
