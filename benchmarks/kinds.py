"""Every kind of attention at settings that compare: one table for the benchmarks. A new kind adds a line.

A token sees about a block on either side of it, wherever a paper has windows, chunks or blocks; the rest is the papers'
own, cut down to the width at hand. What papers let grow with the length, so that cost grows as its square, is kept from
doing so: ETC's global tokens are at most 256, the Multi-Scale Transformer's windows are of tokens, FeedForwardOnly's
units are four times the block instead of four times the length.
"""

from __future__ import annotations

from collections.abc import Callable

from tfmodels import models
from tfmodels.models import AttentionKind

# The kind's name -> the kind for sequences of up to so many tokens, in blocks of so many.
KINDS: dict[str, Callable[[int, int], AttentionKind]] = {
    "FullAttention": lambda length, block: models.FullAttention(),
    "LocalAttention": lambda length, block: models.LocalAttention(chunk_length=block),
    "LSHAttention": lambda length, block: models.LSHAttention(chunk_length=block),
    "Routing": lambda length, block: models.Routing(window=block),
    "BigBirdAttention": lambda length, block: models.BigBirdAttention(block_size=block),
    "ETCAttention": lambda length, block: models.ETCAttention(radius=block, tokens_per_global=max(16, length // 256)),
    "BinaryPartition": lambda length, block: models.BinaryPartition(density=max(2, block // 8)),
    "Star": lambda length, block: models.Star(),
    "MultiScale": lambda length, block: models.MultiScale(scales=(1, 3, block // 4, block)),
    "LowRank": lambda length, block: models.LowRank(window=block // 8),
    "Linformer": lambda length, block: models.Linformer(projected_length=2 * block),
    "InducedSetAttention": lambda length, block: models.InducedSetAttention(num_points=block // 2),
    "External": lambda length, block: models.External(memory_size=block),
    "FeedForwardOnly": lambda length, block: models.FeedForwardOnly(units=4 * block),
}


def kind_of(name: str, length: int, block: int = 64) -> AttentionKind:
    """A kind for sequences of up to `length` tokens."""
    return KINDS[name](length, block)
