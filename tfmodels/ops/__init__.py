"""Pure functions on tensors: no weights, no state, any Keras backend."""

from tfmodels.ops.activations import activation
from tfmodels.ops.attention import attend, dot_products, join_attended
from tfmodels.ops.block_sparse import BlockPattern, block_pattern, distinct, random_numbers, take_blocks
from tfmodels.ops.blocks import beside, from_blocks, stretch, to_blocks
from tfmodels.ops.chunks import chunk_attend
from tfmodels.ops.external import double_normalised
from tfmodels.ops.labels import belongs, by_clipped_distance
from tfmodels.ops.local import local_attend
from tfmodels.ops.lsh import bucket_factors, draw_rotations, lsh_attend, lsh_buckets
from tfmodels.ops.masks import causal, padding, prefix, real_keys, segment, window
from tfmodels.ops.partition import Partition
from tfmodels.ops.pooling import masked_max, masked_mean
from tfmodels.ops.products import project
from tfmodels.ops.relative import key_distances, skew, toeplitz, unskew
from tfmodels.ops.routing import cluster_attend, cluster_members, routed_attend, standardise

__all__ = [
    "BlockPattern",
    "Partition",
    "activation",
    "attend",
    "belongs",
    "beside",
    "block_pattern",
    "bucket_factors",
    "by_clipped_distance",
    "causal",
    "chunk_attend",
    "cluster_attend",
    "cluster_members",
    "distinct",
    "dot_products",
    "double_normalised",
    "draw_rotations",
    "from_blocks",
    "join_attended",
    "key_distances",
    "local_attend",
    "lsh_attend",
    "lsh_buckets",
    "masked_max",
    "masked_mean",
    "padding",
    "prefix",
    "project",
    "random_numbers",
    "real_keys",
    "routed_attend",
    "segment",
    "skew",
    "standardise",
    "stretch",
    "take_blocks",
    "to_blocks",
    "toeplitz",
    "unskew",
    "window",
]
