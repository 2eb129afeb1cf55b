"""More rows for a student to ask its teacher about, made from the rows that there are.

Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv:1903.12136, section 3.3):
a small student that sees only the labelled rows learns them by heart; the teacher's word on parts of them tells it what
each phrase adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_spans(rows: Sequence[np.ndarray], count: int, *, shortest=2, longest=15, seed=0) -> list[np.ndarray]:
    """Random n-grams of random rows, each between its row's first and last token.

    Args:
        rows: int[T] token ids with a special token at either end ([CLS] and [SEP] in BERT).
        count: The number of spans.
        shortest: tokens, special ones not counted.
        longest: tokens, special ones not counted.
        seed: Decides the spans.

    Returns:
        int[length + 2] arrays; a row that is shorter than the drawn length is taken whole.

    Raises:
        ValueError: There are no rows, or the lengths are not ascending from 1.

    Example:
    >>> [span.tolist() for span in random_spans([np.array([2, 7, 8, 9, 3])], 2, longest=2)]
    [[2, 8, 9, 3], [2, 8, 9, 3]]
    """
    if not len(rows):
        raise ValueError("there are no rows to take spans from.")
    if not 1 <= shortest <= longest:
        raise ValueError(f"shortest={shortest} and longest={longest} must be ascending from 1.")
    random = np.random.default_rng(seed)
    spans = []
    for row in (rows[index] for index in random.integers(len(rows), size=count)):
        length = min(int(random.integers(shortest, longest + 1)), len(row) - 2)
        start = 1 + int(random.integers(len(row) - 1 - length))
        spans.append(np.concatenate([row[:1], row[start : start + length], row[-1:]]))
    return spans
