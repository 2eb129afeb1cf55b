"""The pretrained MiniLM gives the figures that others measured with it."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import tfmodels
from tfmodels import datasets
from tfmodels.layers import MeanPooling
from tfmodels.models import TextEmbedder
from tfmodels.text import TextPreprocessor, WordPieceTokenizer

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def embed():
    """Texts to unit vectors, by the mean of MiniLM's last hidden states."""
    folder = datasets.minilm()
    model = tfmodels.from_hf(folder, task=TextEmbedder, pooling=MeanPooling())
    preprocessor = TextPreprocessor(WordPieceTokenizer(str(folder / "vocab.txt")), sequence_length=128)

    def embed(texts):
        batches = [preprocessor(texts[start : start + 128]) for start in range(0, len(texts), 128)]
        return np.concatenate([np.asarray(model(batch)["embedding"]) for batch in batches])

    return embed


def test_the_checkpoint_is_the_preset():
    model = tfmodels.from_hf(datasets.minilm())
    _, preset = tfmodels.describe_model("minilm_l6")
    assert model.config == preset.config
    assert model.count_params() == preset.parameters


@pytest.mark.parametrize("name, correlation", [("wordsim353", 0.729), ("simlex999", 0.446)])
def test_similar_words_are_close(embed, name, correlation):
    pairs = datasets.word_similarity(name)
    first, second = embed([pair.first for pair in pairs]), embed([pair.second for pair in pairs])
    actual = spearmanr((first * second).sum(axis=-1), [pair.score for pair in pairs]).statistic
    assert actual == pytest.approx(correlation, abs=5e-4)


def test_similar_sentences_are_close(embed):
    first, second, other = embed(
        ["A man is eating food.", "A man is eating a piece of bread.", "The girl plays chess."]
    )
    assert first @ second == pytest.approx(0.755, abs=5e-4)
    assert first @ other < 0.3
