"""From the vectors of a sequence to one vector."""

from tfmodels.layers.base import Layer
from tfmodels.ops import masked_mean


class FirstTokenPooling(Layer):
    """The first token's vector, [CLS] in BERT.

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def call(self, features):
        return features["sequence_output"][:, 0]


class MeanPooling(Layer):
    """The mean of the real tokens' vectors, as sentence embedders take it (arXiv:1908.10084).

    Call arguments:
        features: A backbone's outputs and inputs in one dict.

    Returns:
        float[B, D].
    """

    def call(self, features):
        return masked_mean(features["sequence_output"], features["padding_mask"])
