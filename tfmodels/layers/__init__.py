"""Keras layers, one idea each. Composite layers are handed instances of their parts."""

from tfmodels.layers.attention import MultiHeadAttention
from tfmodels.layers.block import TransformerBlock
from tfmodels.layers.embeddings import TextEmbedding
from tfmodels.layers.feedforward import FeedForward
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.pooling import FirstTokenPooling, MeanPooling
from tfmodels.layers.positions import LearnedPositions, PositionScheme, SinusoidPositions
from tfmodels.layers.projection import Projection

__all__ = [
    "FeedForward",
    "FirstTokenPooling",
    "LayerNorm",
    "LearnedPositions",
    "MeanPooling",
    "MultiHeadAttention",
    "PositionScheme",
    "Projection",
    "SinusoidPositions",
    "TextEmbedding",
    "TransformerBlock",
]
