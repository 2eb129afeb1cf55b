"""Rows to corrupt: special tokens, words of one to three pieces, phrases, padding."""

import numpy as np

CLS, SEP, MASK = 1, 2, 3
SPECIAL_IDS = (0, CLS, SEP, MASK)
VOCABULARY_SIZE = 60


def rows_of(lengths, length=None, seed=0):
    """[CLS] words [SEP] words [SEP], then padding.

    Args:
        lengths: The number of tokens of every row, special ones included; below 3 there is no [SEP] in the middle.
        length: T; the default is the longest row.
        seed: Decides the ids and the words.

    Returns:
        A dict of `token_ids`, `segment_ids`, `padding_mask`, `special_mask`, `word_ids`, `word_starts`, `phrase_ids`.
    """
    length = max(lengths, default=0) if length is None else length
    shape = (len(lengths), length)
    batch = {name: np.zeros(shape, "int32") for name in ("token_ids", "segment_ids", "word_ids", "phrase_ids")}
    batch |= {name: np.zeros(shape, "bool") for name in ("padding_mask", "special_mask", "word_starts")}
    for row, real in enumerate(lengths):
        random = np.random.default_rng((seed, row))
        ids = random.integers(4, VOCABULARY_SIZE, real)
        special = [place for place in (0, real // 2, real - 1) if 0 <= place < real and real > 1]
        ids[special] = SEP
        if real > 1:
            ids[0] = CLS
            batch["special_mask"][row, special] = True
        starts = random.random(real) < 0.6
        starts[special] = True
        starts[[place + 1 for place in special if place + 1 < real]] = True
        batch["token_ids"][row, :real] = ids
        batch["padding_mask"][row, :real] = True
        batch["segment_ids"][row, real // 2 + 1 : real] = 1
        batch["word_starts"][row, :real] = starts
        batch["word_ids"][row, :real] = np.cumsum(starts)
        # A third of the words open a phrase of two words.
        words = batch["word_ids"][row, :real]
        phrase = np.where(words % 3 == 0, words, np.where(words % 3 == 1, words - 1, 0))
        phrase[special] = 0
        batch["phrase_ids"][row, :real] = phrase
    return batch


def uniform_rows(count, length, pieces=1, token=4):
    """Rows of one token repeated, without special tokens, in words of so many pieces."""
    words = np.broadcast_to(np.arange(length) // pieces, (count, length)).astype("int32")
    return {
        "token_ids": np.full((count, length), token, "int32"),
        "padding_mask": np.ones((count, length), "bool"),
        "special_mask": np.zeros((count, length), "bool"),
        "word_ids": words,
    }
