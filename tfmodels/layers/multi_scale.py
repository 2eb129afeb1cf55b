"""Multi-scale self-attention: every head has a window of its own (Guo et al., arXiv:1912.00544).

A head of scale w sees the tokens that are at most w positions away. A scale is a
number of tokens, or a fraction of the length: that of the row's real tokens, rounded down, at least 1, so that padding
changes nothing. Heads of one scale are computed together, in blocks.

Cost: time O(B T W D) and memory O(B N T W), where W is the mean of the heads' windows: linear in T where they are
numbers of tokens.
"""

from itertools import groupby

from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.attention import HeadedAttention
from tfmodels.ops import local_attend, real_keys


class MultiScaleAttention(HeadedAttention):
    """Self-attention whose heads see windows of different sizes.

    Args:
        num_heads: N; it divides `hidden_dim`.
        hidden_dim: D, of the output and of all heads together.
        scales: One for every head: tokens on each side, from 1, or a fraction of the row, below 1.
        dropout: fraction of the attention weights dropped in training.
        is_causal: Whether a position sees itself and what came before it alone; scales are numbers of tokens then.

    Call arguments:
        query: float[B, T, D]; self-attention alone.
        attention_mask: bool[1 or B, 1, 1, T], True = real, or None.

    Returns:
        float[B, T, D].

    Raises:
        UserError: There is not one scale for every head, a scale is out of its range, or the mask tells queries apart.
    """

    is_of_itself = True

    def __init__(self, num_heads, hidden_dim, scales, dropout=0.0, is_causal=False, **kwargs):
        super().__init__(num_heads, hidden_dim, dropout, is_causal, **kwargs)
        if len(scales) != num_heads:
            raise UserError(f"{len(scales)} scales for {num_heads} heads: give one for every head.")
        check_scales(scales, is_causal)
        self.scales = tuple(scales)

    def attend(self, query, key, value, *, mask, dropout):
        is_real = real_keys(mask, key)
        groups = [(scale, len(list(heads))) for scale, heads in groupby(self.scales)]
        ends = [sum(number for _, number in groups[: index + 1]) for index in range(len(groups) - 1)]
        heads = zip(*(ops.split(x, ends, axis=2) if ends else [x] for x in (query, key, value)))
        attended = [self._local(*some, is_real, scale, dropout) for (scale, _), some in zip(groups, heads)]
        return ops.concatenate(attended, axis=2)

    def _local(self, query, key, value, is_real, scale, dropout):
        """float[B, T, n, H]: the attention of the heads of one scale."""
        if isinstance(scale, int):
            return local_attend(query, key, value, is_real, scale, self.is_causal, dropout)
        reach = _share(ops.sum(ops.cast(is_real, "int32"), axis=1), scale)  # [B]
        length = ops.shape(query)[1]
        window = max(int(length * scale + 1e-3), 1) if isinstance(length, int) else _share(length, scale)
        return local_attend(query, key, value, is_real, window, dropout=dropout, reach=reach)


def _share(length, fraction):
    """A fraction of lengths, rounded down, at least 1."""
    share = ops.cast(ops.cast(length, "float32") * fraction + 1e-3, "int32")  # 1/3 of 9 is 3.
    return ops.maximum(share, 1)


def check_scales(scales, is_causal):
    """Whether each is a number of tokens, or, where attention is not causal, a fraction.

    Raises:
        UserError: One is not.
    """
    for scale in scales:
        is_number, is_fraction = isinstance(scale, int) and scale >= 1, isinstance(scale, float) and 0 < scale < 1
        if not is_number and not is_fraction:
            raise UserError(f"scale {scale!r}: give a number of tokens from 1, or a fraction of the length below 1.")
        if is_fraction and is_causal:
            raise UserError(f"scale {scale!r}: causal attention does not know the length: give a number of tokens.")
