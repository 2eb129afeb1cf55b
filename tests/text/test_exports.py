"""Every tokeniser inside a SavedModel that the C++ loader runs, under a tiny encoder."""

import pytest

import tfmodels
from serving import check_savedmodel, export_savedmodel, keras_reference
from tests.serving.support import randomised
from tfmodels import datasets
from tfmodels.models.tasks import TextClassifier
from tfmodels.text import (
    ROBERTA_FORMAT,
    XLNET_FORMAT,
    XLNET_TOKENS,
    BPETokenizer,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    TextPreprocessor,
    train_bpe,
    train_byte_level_bpe,
    train_unigram,
)

TEXTS = ["a good film, and long", "Ça va? 中文 😀\u200b", "", "  \n\tx ", "aaaa" * 30, "<s></s><mask>"]


def roberta() -> TextPreprocessor:
    lines = [review.text for review in datasets.movie_reviews()[:500]]
    return TextPreprocessor(ByteLevelBPETokenizer(*train_byte_level_bpe(lines, 400)), 32, format=ROBERTA_FORMAT)


def plain_bpe() -> TextPreprocessor:
    lines = [review.text for review in datasets.movie_reviews()[:500]]
    tokenizer = BPETokenizer(*train_bpe(lines, 400, lowercase=True), lowercase=True)
    return TextPreprocessor(tokenizer, 32, format=ROBERTA_FORMAT)


def xlnet() -> TextPreprocessor:
    lines = [review.text for review in datasets.movie_reviews()[:500]]
    model = train_unigram(lines, 300, special_tokens=XLNET_TOKENS)
    tokenizer = SentencePieceTokenizer(model, XLNET_TOKENS, strip_accents=True, plain_quotes=True)
    return TextPreprocessor(tokenizer, 32, format=XLNET_FORMAT)


@pytest.mark.data
@pytest.mark.parametrize("make", [roberta, plain_bpe, xlnet])
def test_an_export_passes_the_gate_of_the_cpp_loader(make, tmp_path):
    preprocessor = make()
    backbone = tfmodels.create_model(
        "bert_tiny",
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        num_segments=3,
        vocabulary_size=preprocessor.tokenizer.vocabulary_size(),
    )
    model = randomised(TextClassifier(backbone, num_classes=2), seed=0)
    path = export_savedmodel(
        model, tmp_path / "1", preprocessor=preprocessor, warmup_texts=TEXTS, card={"name": "tiny"}
    )
    report = check_savedmodel(path, expected=keras_reference(model, preprocessor), texts=TEXTS)
    assert report.passed, report.problems
    assert report.checks["outputs"] == report.checks["operations"] == "passed"
    loaded = TextPreprocessor.load(path / "assets")
    assert loaded(TEXTS)["token_ids"].numpy().tolist() == preprocessor(TEXTS)["token_ids"].numpy().tolist()
