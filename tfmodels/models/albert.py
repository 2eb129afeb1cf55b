"""ALBERT: a BERT of few parameters (Lan et al., arXiv:1909.11942).

It differs from BERT in two things, both of section 3.1: the embeddings have E numbers and are widened to D by a linear
map, and layers share their weights: the same layer instances stand at several places, so that one set of weights and of
optimizer slots serves all. `sharing` says what is shared, as in the paper's table 4; `num_groups` cuts the layers into
groups that share only within, and within a group `inner_layers` different layers take turns (no published model needs
either). A layer's normalisations go with the block: they are shared where all is.

The sizes are those of the second release, without dropout and with the approximation of gelu that the authors' code
and transformers use. transformers has dropout on the attention's branch only; ours has it on both, as the authors'.

Cost: BERT's time and activations; the weights of one layer a group.
"""

from __future__ import annotations

import dataclasses
import functools

from tfmodels.errors import UserError, nearest
from tfmodels.layers import Projection
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset

# What of a layer is one instance throughout its group.
_SHARED = {
    "all": ("attention", "feed_forward", "block"),
    "attention": ("attention",),
    "feed_forward": ("feed_forward",),
    "none": (),
}


@dataclasses.dataclass(frozen=True)
class AlbertConfig(BertConfig):
    """The sizes and rates of an ALBERT encoder; see `BertConfig`.

    Attributes:
        sharing: What the layers of a group share: "all", "attention", "feed_forward" or "none".
        num_groups: The number of groups, which divides the layers as evenly as it can.
        inner_layers: The number of different layers that take turns within a group; it divides `num_layers`.
    """

    vocabulary_size: int = 30_000
    embedding_dim: int = 128
    activation: str = "gelu_new"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    sharing: str = "all"
    num_groups: int = 1
    inner_layers: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.sharing not in _SHARED:
            raise UserError(f"there is no sharing {self.sharing!r}: {nearest(self.sharing, _SHARED)}")
        if self.inner_layers < 1 or self.num_layers % self.inner_layers:
            raise UserError(f"inner_layers={self.inner_layers} does not divide num_layers={self.num_layers}.")
        if not 1 <= self.num_groups <= self.num_layers // self.inner_layers:
            raise UserError(
                f"num_groups={self.num_groups} is not between 1 and the {self.num_layers // self.inner_layers} places "
                "where a group may begin."
            )


class AlbertBackbone(BertBackbone):
    """The ALBERT encoder with its pooler; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("albert_base")
    >>> first, *others = backbone.parts["blocks"]
    >>> all(block is first for block in others)
    True
    >>> backbone.count_params()
    11683584
    """

    config_class = AlbertConfig

    @classmethod
    def make_embeddings(cls, config, dtype):
        # There is a map from E to D even where they are equal.
        widen = Projection(config.hidden_dim, dtype=dtype, name="widen")
        return super().make_embeddings(config, dtype, widen=widen)

    @classmethod
    def make_blocks(cls, config, dtype):
        attention = functools.cache(lambda index: cls.make_attention(config, dtype, index))
        feed_forward = functools.cache(lambda _: cls.make_feed_forward(config, dtype))

        @functools.cache
        def block(key, *parts):
            return cls.make_block(config, dtype, *parts, f"block_{key}")

        places = [_place(config, index) for index in range(config.num_layers)]
        blocks = []
        for index, place in enumerate(places):
            first = places.index(place)
            key = {part: first if part in _SHARED[config.sharing] else index for part in _SHARED["all"]}
            parts = attention(key["attention"]), feed_forward(key["feed_forward"])
            blocks.append(block(key["block"], *parts))
        return blocks


def _place(config, index):
    """The group of a layer and its turn within the group: layers at one place share weights."""
    turn, inner = divmod(index, config.inner_layers)
    turns = config.num_layers // config.inner_layers
    return turn * config.num_groups // turns, inner


def _albert(layers, heads, hidden):
    return AlbertConfig(num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden)


_SOURCE = "arXiv:1909.11942, table 1, and the released albert-*-v2"

BACKBONE = AlbertBackbone
PRESETS = {
    "albert_base": Preset(_albert(12, 12, 768), 11_683_584, _SOURCE),
    "albert_large": Preset(_albert(24, 16, 1024), 17_683_968, _SOURCE),
    # Section 4.1 has D / 64 heads; the released model has 16.
    "albert_xlarge": Preset(_albert(24, 16, 2048), 58_724_864, _SOURCE),
    "albert_xxlarge": Preset(_albert(12, 64, 4096), 222_595_584, _SOURCE),
}
