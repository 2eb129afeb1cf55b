"""Multi-Scale Transformer: heads that see windows of different sizes (Guo et al., arXiv:1912.00544).

It differs from BERT in its attention (`layers.multi_scale`) and in that a rectifier stands in place of the feed-forward
network: z = norm(x + attention(x)), norm(z + relu(z)). Low layers have more heads of small scales (section 4): of |S|
scales, from the smallest on, scale k of layer l gets the share softmax(z^l)_k of the heads, where

    z^l_k = 0 in the last layer and for the largest scale        z^l_k = z^l_(k+1) + alpha / l otherwise.

How shares become whole heads is ours: rounded down, and what is left goes to the largest remainders. `pooled_output` is
the mean of the first token and of the largest number of each feature; the paper mixes a node for the class with the
maximum too, and how could not be checked, nor could the formula of the shares, the rectifier and the sizes.

Cost: time O(B T W D + B T D^2) and memory O(B N T W + B T D) a layer, where W is the mean of the heads' windows; the
paper's largest are fractions of the length.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from tfmodels.errors import UserError
from tfmodels.layers import MultiScaleAttention
from tfmodels.layers.multi_scale import check_scales
from tfmodels.models.attention import AttentionKind, Guide
from tfmodels.models.bert import BertConfig, UnpooledBackbone
from tfmodels.models.config import Preset
from tfmodels.ops import masked_max


@dataclasses.dataclass(frozen=True)
class MultiScale(AttentionKind):
    """Heads with windows of their own, small ones in low layers; for encoders and language models.

    Attributes:
        scales: From the smallest on: tokens on each side that a head sees, from 1, or a fraction of the row, below 1.
        alpha: How much low layers prefer small scales; 0 for none, below 0 the other way round.
        heads: The number of heads of every scale, in all layers; None for what `alpha` gives.
        causal: Whether a token sees itself and what came before it alone; scales are numbers of tokens then.
    """

    guide: ClassVar[Guide] = Guide(
        paper="Multi-Scale Transformer, arXiv:1912.00544",
        time="T W D, W the mean of the heads' windows",
        memory="N T W",
        power=1.0,
        sees="its neighbours, in windows of a few tokens or of many by the head",
        advice="Little or moderate data. With windows in tokens, linear in the length; the paper's, fractions of the "
        "length, grow as full attention does. What is far must come through several layers.",
    )

    scales: tuple[float, ...] = (1, 3, 1 / 16, 1 / 8, 1 / 4)
    alpha: float = 0.5
    heads: tuple[int, ...] | None = None
    causal: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not self.scales:
            raise UserError("MultiScale needs at least one scale.")
        check_scales(self.scales, self.causal)

    def check(self, config):
        super().check(config)
        heads = self.heads
        if heads is None:
            return
        fits = len(heads) == len(self.scales) and all(number >= 0 for number in heads)
        if not fits or sum(heads) != config.num_heads:
            raise UserError(
                f"heads={heads} of scales {self.scales}: give a number for every scale that sum up to "
                f"num_heads={config.num_heads}."
            )

    def distribution(self, num_heads: int, num_layers: int, index: int) -> tuple[int, ...]:
        """The number of heads of every scale in a layer.

        Args:
            num_heads: N.
            num_layers: K.
            index: Which layer, from 0.

        Returns:
            As many numbers as there are scales, N in all.

        Example:
        >>> MultiScale().distribution(num_heads=10, num_layers=3, index=2)
        (2, 2, 2, 2, 2)
        """
        if self.heads is not None:
            return self.heads
        step = 0.0 if index == num_layers - 1 else self.alpha / (index + 1)
        logits = step * np.arange(len(self.scales))[::-1]
        shares = np.exp(logits - logits.max())
        shares = num_heads * shares / shares.sum()
        whole = np.floor(shares + 1e-9).astype(int)
        # Of equal remainders, that of the smaller scale.
        left = np.argsort(-np.round(shares - whole, 9), kind="stable")[: num_heads - whole.sum()]
        whole[left] += 1
        return tuple(int(number) for number in whole)

    def make(self, config, index, dtype, positions=None):
        numbers = self.distribution(config.num_heads, config.num_layers, index)
        return MultiScaleAttention(
            config.num_heads,
            config.hidden_dim,
            [scale for scale, number in zip(self.scales, numbers) for _ in range(number)],
            config.attention_dropout,
            self.causal,
            dtype=dtype,
            name="attention",
        )


@dataclasses.dataclass(frozen=True)
class MultiScaleConfig(BertConfig):
    """The sizes and rates of a Multi-Scale Transformer; see `BertConfig`.

    Attributes:
        intermediate_dim: F; None for a rectifier in place of the feed-forward network.
    """

    num_layers: int = 3
    num_heads: int = 10
    hidden_dim: int = 300
    intermediate_dim: int | None = None
    num_segments: int = 0
    activation: str = "relu"
    layer_norm_epsilon: float = 1e-5
    attention: AttentionKind | None = MultiScale()


class MultiScaleBackbone(UnpooledBackbone):
    """The Multi-Scale Transformer; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> backbone = tfmodels.create_model("multi_scale_transformer", num_layers=1, vocabulary_size=100)
    >>> backbone.count_params()
    546600
    """

    config_class = MultiScaleConfig

    @classmethod
    def make_feed_forward(cls, config, dtype):
        if config.intermediate_dim is None:
            return keras.layers.Activation(config.activation, dtype=dtype, name="feed_forward")
        return super().make_feed_forward(config, dtype)

    @classmethod
    def pooled(cls, parts, sequence, inputs):
        """The mean of the first token and of each feature's largest number; of a causal model, the last token."""
        token = super().pooled(parts, sequence, inputs)
        if parts["blocks"][0].attention.is_causal:
            return token
        return 0.5 * (token + masked_max(sequence, inputs["padding_mask"]))


BACKBONE = MultiScaleBackbone
PRESETS = {
    "multi_scale_transformer": Preset(
        MultiScaleConfig(),
        10_398_000,
        "arXiv:1912.00544, section 4 (heads, layers and scales of its example; the width is that of its word vectors)",
    ),
}
