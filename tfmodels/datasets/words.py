"""Word pairs with human judgements of how similar they are: what word and sentence vectors are measured by."""

from typing import NamedTuple

from tfmodels.datasets.packages import fetch
from tfmodels.datasets.pins import GENSIM
from tfmodels.errors import UserError

_FILES = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}


class WordPair(NamedTuple):
    """Two English words and the mean of the human scores, 0 (unlike) to 10 (alike)."""

    first: str
    second: str
    score: float


def word_similarity(name: str) -> list[WordPair]:
    """Returns a test collection of word similarity.

    Args:
        name: "wordsim353" (Finkelstein et al., 2002: 353 pairs, similarity and relatedness mixed) or "simlex999" (Hill
            et al., 2015: 999 pairs, similarity alone: "coast" and "shore" score high, "clothes" and "closet" low).

    Returns:
        The pairs in the order of their file.

    Raises:
        UserError: The name is unknown, or the package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.word_similarity("wordsim353")[1]
    WordPair(first='tiger', second='cat', score=7.35)
    """
    if name not in _FILES:
        raise UserError(f"There is no word collection {name!r}: choose one of {', '.join(sorted(_FILES))}.")
    lines = (fetch(GENSIM) / _FILES[name]).read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return [WordPair(first, second, float(score)) for first, second, score in rows]
