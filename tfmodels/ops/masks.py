"""Attention masks: boolean tensors, True = may attend, broadcastable to [B, N, T, S].

Masks compose with `&`, `|` and `~` on the tensors themselves:

>>> import numpy as np
>>> real = np.array([[True, True, False]])
>>> mask = padding(real) & causal(3)
>>> tuple(mask.shape)
(1, 1, 3, 3)
"""

from keras import ops

from tfmodels.errors import UserError


def padding(is_real):
    """Every query may attend to the real keys.

    Args:
        is_real: bool[B, S], True at tokens, False at padding.

    Returns:
        bool[B, 1, 1, S].
    """
    return ops.cast(is_real, "bool")[:, None, None, :]


def real_keys(mask, keys):
    """Which keys are real, of a mask of padding: the inverse of `padding`, for attention that forms no full mask.

    Args:
        mask: bool[1 or B, 1, 1, 1 or S], or None where all are real.
        keys: float[B, S, ...]; only its shape is used.

    Returns:
        bool[B, S].

    Raises:
        UserError: The mask tells queries or heads apart.
    """
    shape = ops.shape(keys)[:2]
    if mask is None:
        return ops.ones(shape, dtype="bool")
    if tuple(mask.shape[1:3]) != (1, 1):
        raise UserError(
            f"this kind of attention takes a mask of padding alone, bool[B, 1, 1, S], not {tuple(mask.shape)}: use "
            "full attention for masks that tell queries or heads apart."
        )
    return ops.broadcast_to(ops.cast(mask, "bool")[:, 0, 0], shape)


def causal(length):
    """A position may attend to itself and to what came before it.

    Args:
        length: T, which is also S.

    Returns:
        bool[1, 1, T, T].
    """
    return _distance(length) >= 0


def window(length, size):
    """A position may attend to at most `size` positions on either side of it, and to itself.

    Args:
        length: T, which is also S.
        size: tokens on each side.

    Returns:
        bool[1, 1, T, T].
    """
    return ops.abs(_distance(length)) <= size


def prefix(length, prefix_length):
    """Full attention within a prefix, causal after it (UniLM's sequence-to-sequence mask, T5's prefix LM).

    Args:
        length: T, which is also S.
        prefix_length: int[B], tokens of each row's prefix.

    Returns:
        bool[B, 1, T, T].
    """
    within = ops.arange(length)[None, :] < ops.convert_to_tensor(prefix_length)[:, None]  # [B, S]
    return causal(length) | within[:, None, None, :]


def segment(segment_ids):
    """A position may attend to its own segment: documents packed into one row do not see each other.

    Args:
        segment_ids: int[B, T].

    Returns:
        bool[B, 1, T, T].
    """
    return ops.equal(segment_ids[:, None, :, None], segment_ids[:, None, None, :])


def _distance(length):
    """int32[1, 1, T, T]: query position minus key position."""
    positions = ops.arange(length, dtype="int32")
    return (positions[:, None] - positions[None, :])[None, None]
