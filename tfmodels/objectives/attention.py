"""UniLM's four attention masks, and attention within documents that share a row.

UniLM (Dong et al., arXiv:1905.03197), section 2.3: one encoder learns left-to-right, right-to-left, bidirectional and
sequence-to-sequence language models, which differ in nothing but the mask. Every mask here is bool[B, 1, T, T], True =
may attend, made of those in `tfmodels.ops.masks`, and leaves padding out.
"""

from keras import ops

from tfmodels.ops import masks


def left_to_right(padding_mask):
    """Every token sees itself and those before it.

    Args:
        padding_mask: bool[B, T].

    Returns:
        bool[B, 1, T, T].

    Example:
    >>> import numpy as np
    >>> left_to_right(np.array([[True, True]]))[0, 0].numpy().tolist()
    [[True, False], [True, True]]
    """
    return masks.causal(ops.shape(padding_mask)[1]) & masks.padding(padding_mask)


def right_to_left(padding_mask):
    """Every token sees itself and those behind it: `left_to_right` mirrored."""
    causal = masks.causal(ops.shape(padding_mask)[1])
    return ops.transpose(causal, (0, 1, 3, 2)) & masks.padding(padding_mask)


def bidirectional(padding_mask):
    """Every token sees all."""
    real = masks.padding(padding_mask)
    return ops.broadcast_to(real, (ops.shape(real)[0], 1, ops.shape(real)[3], ops.shape(real)[3]))


def sequence_to_sequence(padding_mask, source_length):
    """The source sees itself; the target sees the source, itself and what came before.

    Args:
        padding_mask: bool[B, T].
        source_length: int[B], tokens of the source, [CLS] and its [SEP] included.

    Returns:
        bool[B, 1, T, T].
    """
    source_length = ops.cast(source_length, "int32")
    return masks.prefix(ops.shape(padding_mask)[1], source_length) & masks.padding(padding_mask)


def within_documents(document_ids, padding_mask):
    """Documents packed into one row do not see each other.

    Args:
        document_ids: int[B, T], the number of each token's document.
        padding_mask: bool[B, T].

    Returns:
        bool[B, 1, T, T].
    """
    return masks.segment(document_ids) & masks.padding(padding_mask)


# UniLM's shares of a batch (section 2.4): bidirectional, sequence-to-sequence, left-to-right, right-to-left.
UNILM_SHARES = (1 / 3, 1 / 3, 1 / 6, 1 / 6)


def unilm(padding_mask, source_length, numbers, shares=UNILM_SHARES):
    """For every row one of the four masks.

    Args:
        padding_mask: bool[B, T].
        source_length: int[B], tokens of the first segment.
        numbers: float[B] in [0, 1), what decides.
        shares: The fractions of bidirectional, sequence-to-sequence, left-to-right and right-to-left rows.

    Returns:
        bool[B, 1, T, T].
    """
    if len(shares) != 4 or min(shares) < 0 or not 0.999 < sum(shares) < 1.001:
        raise ValueError(f"shares={shares}: UniLM has four masks, whose shares add up to 1.")
    kinds = (
        bidirectional(padding_mask),
        sequence_to_sequence(padding_mask, source_length),
        left_to_right(padding_mask),
        right_to_left(padding_mask),
    )
    chosen = ops.zeros_like(kinds[0])
    low = 0.0
    for kind, share in zip(kinds, shares):
        # The last share reaches to the end, whatever the sum rounds to.
        high = 1.0 if kind is kinds[-1] else low + share
        is_kind = (ops.convert_to_tensor(numbers) >= low) & (ops.convert_to_tensor(numbers) < high)
        chosen = chosen | (kind & is_kind[:, None, None, None])
        low = high
    return chosen
