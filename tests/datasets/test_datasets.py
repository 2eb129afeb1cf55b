"""The data itself: counts as its authors give them, a split that is a property of the texts, files that load."""

import collections
import doctest
import hashlib
import json
import re

import pytest

from tests.support.data import english_prose
from tfmodels import datasets
from tfmodels.datasets import texts, weights, words
from tfmodels.errors import UserError

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def reviews():
    return datasets.movie_reviews()


def test_movie_reviews_have_the_counts_of_their_file(reviews):
    assert len(reviews) == 10_605 - 37
    assert sum(review.score > 0 for review in reviews) == 5_242
    assert sum(review.score < 0 for review in reviews) == 5_326
    assert len({review.id for review in reviews}) == len(reviews)
    assert all(-4 <= review.score <= 4 for review in reviews)
    assert all(review.text == review.text.strip() and "\t" not in review.text for review in reviews)
    assert sum(not review.text.isascii() for review in reviews) > 100, "accents must survive reading"


def test_the_split_has_its_sizes_and_both_classes_evenly(reviews):
    sizes = collections.Counter(review.split for review in reviews)
    assert sizes == {"train": 8_568, "validation": 1_000, "test": 1_000}
    for split, size in sizes.items():
        positive = sum(review.score > 0 for review in reviews if review.split == split)
        assert 0.47 < positive / size < 0.53


def test_copies_of_a_text_never_cross_splits(reviews):
    homes = collections.defaultdict(set)
    for review in reviews:
        homes[re.sub(r"[\W_]+", "", review.text.casefold())].add(review.split)
    assert len(homes) < len(reviews), "there are copies, or this test shows nothing"
    assert all(len(home) == 1 for home in homes.values())


def test_the_split_never_changes(reviews):
    test_rows = sorted(review.id for review in reviews if review.split == "test")
    digest = hashlib.sha256(json.dumps(test_rows).encode()).hexdigest()
    assert digest == "1eb4360f29039dac4587ab45205dfd46eae49a1667cbb49bde450405af78291d"


@pytest.mark.parametrize("name, count", [("amazon", 3_708), ("nyt", 5_190), ("tweets", 4_200), ("emoji", 3_570)])
def test_unlabelled_texts_have_the_counts_of_their_files(name, count):
    collection = datasets.unlabelled_texts(name)
    assert len(collection) == count
    assert all(collection)


def test_chinese_reviews_are_unique_within_their_class():
    rows = datasets.chinese_reviews()
    assert len(rows) == len(set(rows)) == 17_457
    assert collections.Counter(row.label for row in rows) == {"negative": 9_078, "positive": 8_379}


def test_chinese_news_has_its_lines_and_words():
    lines = datasets.chinese_news()
    assert len(lines) == 19_484
    assert sum(map(len, lines)) == 1_121_447
    assert all(word for words in lines for word in words)
    assert "中国" in {word for words in lines[:20] for word in words}


def test_newsgroups_have_the_counts_of_their_split_by_date():
    posts = datasets.newsgroups()
    assert collections.Counter(post.split for post in posts) == {"train": 11_293, "test": 7_528}
    for split in ("train", "test"):
        assert len({post.group for post in posts if post.split == split}) == 20
    assert all("\t" not in post.text for post in posts)


@pytest.mark.parametrize("topics, sizes", [(8, {"train": 5_485, "test": 2_189}), (52, {"train": 6_532, "test": 2_568})])
def test_news_have_the_counts_of_their_collection(topics, sizes):
    news = datasets.reuters(topics)
    assert collections.Counter(piece.split for piece in news) == sizes
    for split in sizes:
        assert len({piece.topic for piece in news if piece.split == split}) == topics
    assert all(piece.text and "\t" not in piece.text for piece in news)
    earnings = [piece for piece in news if piece.topic == "earn"]
    assert 0.4 < len(earnings) / len(news) < 0.55


def test_there_are_news_of_two_collections_only():
    with pytest.raises(UserError, match="no news of 90 topics: choose 8 or 52"):
        datasets.reuters(90)


def test_english_prose_is_prose():
    essays = english_prose()
    assert len(essays) == 127
    assert essays[31].startswith("A.2 What does anarchism stand for")
    assert 11_000_000 < sum(map(len, essays)) < 11_300_000
    text = "\n\n".join(essays)
    assert not re.search(r"\*\*|\]\(|^#|<[a-z]+>|&[a-z]+;", text, re.MULTILINE), "signs of Markdown or HTML are left"
    words = re.findall(r"[A-Za-z]+", text)
    assert 0.05 < sum(word == "the" for word in words) / len(words) < 0.08
    assert sum(len(paragraph) > 200 for paragraph in text.split("\n\n")) > 10_000


@pytest.mark.parametrize("name, count", [("wordsim353", 353), ("simlex999", 999)])
def test_word_similarity_has_its_pairs_and_scores(name, count):
    pairs = datasets.word_similarity(name)
    assert len(pairs) == count
    assert all(0 <= pair.score <= 10 and pair.first and pair.second for pair in pairs)


def test_minilm_is_a_whole_checkpoint():
    folder = datasets.minilm()
    config = json.loads((folder / "config.json").read_text())
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert config["num_hidden_layers"] == 6 and config["vocab_size"] == len(pieces) == 30_522
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["[SEP]"] == pieces.index("[SEP]")
    # A safetensors file opens with the length of its JSON header.
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["embeddings.word_embeddings.weight"]["shape"] == [30_522, 384]


@pytest.mark.parametrize("function", [datasets.unlabelled_texts, datasets.word_similarity])
def test_an_unknown_name_lists_the_known_ones(function):
    with pytest.raises(UserError, match="choose one of"):
        function("imdb")


@pytest.mark.parametrize("module", [texts, weights, words])
def test_examples_in_docstrings_run(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed
