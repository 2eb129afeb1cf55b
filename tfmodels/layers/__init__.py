"""Keras layers, one idea each. Composite layers are handed instances of their parts."""

from tfmodels.layers.attention import MultiHeadAttention
from tfmodels.layers.axial import AxialPositions
from tfmodels.layers.bigbird import BlockSparseAttention
from tfmodels.layers.binary_partition import BinaryPartitionAttention
from tfmodels.layers.block import TransformerBlock
from tfmodels.layers.columns import Columns
from tfmodels.layers.distance import BucketedBias, DistanceRescaling, LinearBias
from tfmodels.layers.embeddings import TextEmbedding, WordVectors
from tfmodels.layers.entities import Aggregator, EntityEmbedding
from tfmodels.layers.etc import GlobalLocalAttention
from tfmodels.layers.external import ExternalAttention
from tfmodels.layers.feedforward import ChunkedFeedForward, FeedForward
from tfmodels.layers.length_feedforward import LengthFeedForward
from tfmodels.layers.linformer import LengthProjection, LinformerAttention
from tfmodels.layers.low_rank import LowRankAttention
from tfmodels.layers.lsh import LocalSelfAttention, LSHSelfAttention
from tfmodels.layers.multi_scale import MultiScaleAttention
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
from tfmodels.layers.reversible import ReversibleBlock, ReversibleStack
from tfmodels.layers.routing import Centroids, RoutingAttention
from tfmodels.layers.sets import InducedAttention, PoolingByMultiHeadAttention
from tfmodels.layers.star import RingAttention, StarAttention, StarBlock
from tfmodels.layers.targeted_dropout import TargetedDropout, TargetedUnitDropout, TargetedWeightDropout, prune

__all__ = [
    "Aggregator",
    "AttentionPooling",
    "AxialPositions",
    "BinaryPartitionAttention",
    "BlockSparseAttention",
    "BucketedBias",
    "Centroids",
    "ChunkedFeedForward",
    "Columns",
    "ConcatPooling",
    "CountedPositions",
    "DenseFirstToken",
    "DenseLastToken",
    "DistanceRescaling",
    "EntityEmbedding",
    "ExternalAttention",
    "FeedForward",
    "FirstTokenPooling",
    "GlobalLocalAttention",
    "InducedAttention",
    "LSHSelfAttention",
    "LastTokenPooling",
    "LayerNorm",
    "LearnedPositions",
    "LengthFeedForward",
    "LengthProjection",
    "LinearBias",
    "LinformerAttention",
    "LocalSelfAttention",
    "LowRankAttention",
    "MeanPooling",
    "MultiHeadAttention",
    "MultiScaleAttention",
    "PoolingByMultiHeadAttention",
    "PositionScheme",
    "Projection",
    "RecurrentPooling",
    "RelativeKeys",
    "RelativeKeysAndQueries",
    "RelativeKeysAndValues",
    "ReversibleBlock",
    "ReversibleStack",
    "RingAttention",
    "RoutingAttention",
    "SinusoidKeysAndValues",
    "SinusoidPositions",
    "StarAttention",
    "StarBlock",
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
