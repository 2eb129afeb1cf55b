"""What stands in the place of the chosen tokens: the second half of a corruption, `choosing` is the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfmodels.errors import UserError


class MaskReplacement:
    """[MASK] at every chosen token (what ELECTRA's generator sees, arXiv:2003.10555).

    Args:
        mask_id: The number of [MASK].

    Call arguments:
        token_ids: int32[B, T].
        groups: int32[B, T], as a chooser returns them.
        draw: A `Draw`.

    Returns:
        int32[B, T].

    Raises:
        UserError: There is no [MASK].
    """

    def __init__(self, mask_id: int):
        if mask_id is None or mask_id < 0:
            raise UserError("masked language models need a [MASK] token: add one to the vocabulary.")
        self.mask_id = int(mask_id)

    def __call__(self, token_ids, groups, draw):
        return tf.where(groups > 0, self.mask_id, token_ids)


class BertReplacement(MaskReplacement):
    """[MASK], a random token or the token itself, for every token anew (BERT, arXiv:1810.04805, section 3.1).

    Args:
        mask_id: The number of [MASK].
        vocabulary_size: V.
        special_ids: Never drawn as random tokens. BERT draws from the whole vocabulary.
        mask: fraction that becomes [MASK].
        random: fraction that becomes a random token; the rest stays.

    Raises:
        UserError: There is no [MASK], or it lies outside the vocabulary.
    """

    def __init__(self, mask_id, vocabulary_size: int, special_ids: Sequence[int] = (), mask=0.8, random=0.1):
        super().__init__(mask_id)
        if mask_id >= vocabulary_size:
            raise UserError(f"[MASK] is token {mask_id}, but the vocabulary has {vocabulary_size}: use its own [MASK].")
        if not 0 <= mask <= mask + random <= 1:
            raise ValueError(f"mask={mask} and random={random} must be fractions with a sum of at most 1.")
        self.mask = mask
        self.random = random
        self.ordinary_ids = np.setdiff1d(np.arange(vocabulary_size), list(special_ids)).astype("int32")

    def __call__(self, token_ids, groups, draw):
        length = tf.shape(token_ids)[1]
        fate = self._fate(groups, draw(length))
        number = tf.cast(draw(length) * len(self.ordinary_ids), tf.int32)
        # A float32 just below 1 may round up.
        drawn = tf.gather(self.ordinary_ids, tf.minimum(number, len(self.ordinary_ids) - 1))
        replaced = tf.where(fate < self.mask, self.mask_id, tf.where(fate < self.mask + self.random, drawn, token_ids))
        return tf.where(groups > 0, replaced, token_ids)

    def _fate(self, groups, numbers):
        """float32[B, T]: what decides between the three."""
        return numbers


class SpanReplacement(BertReplacement):
    """As `BertReplacement`, but one decision for a group: all its tokens become [MASK], or random ones, or stay.

    SpanBERT (arXiv:1907.10529), section 3.1.
    """

    def _fate(self, groups, numbers):
        return tf.gather(numbers, tf.maximum(groups - 1, 0), batch_dims=1)
