"""Keras layers, one idea each. Composite layers are handed instances of their parts."""

from tfmodels.layers.attention import MultiHeadAttention
from tfmodels.layers.block import TransformerBlock
from tfmodels.layers.embeddings import TextEmbedding
from tfmodels.layers.feedforward import FeedForward
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.pooling import DenseFirstToken, DenseLastToken, FirstTokenPooling, LastTokenPooling, MeanPooling
from tfmodels.layers.positions import (
    CountedPositions,
    LearnedPositions,
    PositionScheme,
    RelativeKeys,
    RelativeKeysAndQueries,
    RelativeKeysAndValues,
    SinusoidKeysAndValues,
    SinusoidPositions,
)
from tfmodels.layers.projection import Projection

__all__ = [
    "CountedPositions",
    "DenseFirstToken",
    "DenseLastToken",
    "FeedForward",
    "FirstTokenPooling",
    "LastTokenPooling",
    "LayerNorm",
    "LearnedPositions",
    "MeanPooling",
    "MultiHeadAttention",
    "PositionScheme",
    "Projection",
    "RelativeKeys",
    "RelativeKeysAndQueries",
    "RelativeKeysAndValues",
    "SinusoidKeysAndValues",
    "SinusoidPositions",
    "TextEmbedding",
    "TransformerBlock",
]
