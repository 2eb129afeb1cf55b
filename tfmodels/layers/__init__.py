"""Keras layers, one idea each. Composite layers are handed instances of their parts."""

from tfmodels.layers.attention import MultiHeadAttention
from tfmodels.layers.block import TransformerBlock
from tfmodels.layers.columns import Columns
from tfmodels.layers.embeddings import TextEmbedding, WordVectors
from tfmodels.layers.feedforward import FeedForward
from tfmodels.layers.normalization import LayerNorm
from tfmodels.layers.pooling import (
    AttentionPooling,
    ConcatPooling,
    DenseFirstToken,
    DenseLastToken,
    FirstTokenPooling,
    LastTokenPooling,
    MeanPooling,
)
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
from tfmodels.layers.recurrent import RecurrentPooling, WeightDropLSTM, WordDropout
from tfmodels.layers.targeted_dropout import TargetedDropout, TargetedUnitDropout, TargetedWeightDropout, prune

__all__ = [
    "AttentionPooling",
    "Columns",
    "ConcatPooling",
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
    "RecurrentPooling",
    "RelativeKeys",
    "RelativeKeysAndQueries",
    "RelativeKeysAndValues",
    "SinusoidKeysAndValues",
    "SinusoidPositions",
    "TargetedDropout",
    "TargetedUnitDropout",
    "TargetedWeightDropout",
    "TextEmbedding",
    "TransformerBlock",
    "WeightDropLSTM",
    "WordDropout",
    "WordVectors",
    "prune",
]
