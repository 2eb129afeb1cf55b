"""Tokenisers out of folders in Hugging Face's layout."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.text import reference
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.text import (
    ALBERT_TOKENS,
    BERT_FORMAT,
    GPT2_TOKENS,
    ROBERTA_FORMAT,
    XLNET_FORMAT,
    XLNET_TOKENS,
    ByteLevelBPETokenizer,
    TextPreprocessor,
    WordPieceTokenizer,
    load_hf_tokenizer,
    train_byte_level_bpe,
    train_unigram,
)

TEXTS = ["low lower lowest low", "slow É"]


@pytest.fixture(scope="module")
def bpe():
    return ByteLevelBPETokenizer(*train_byte_level_bpe(TEXTS, 270))


@pytest.mark.data
def test_berts_folder_makes_its_preprocessor():
    preprocessor = TextPreprocessor.from_hf(datasets.minilm(), 64)
    expected = TextPreprocessor(WordPieceTokenizer(datasets.minilm() / "vocab.txt"), 64)
    assert preprocessor(TEXTS)["token_ids"].numpy().tolist() == expected(TEXTS)["token_ids"].numpy().tolist()


def test_a_cased_vocabulary_is_read_with_its_case(tmp_path):
    WordPieceTokenizer([*reference.SPECIAL, "A"]).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    tokenizer, format = load_hf_tokenizer(tmp_path)
    assert format == BERT_FORMAT and tokenizer.options() == {"lowercase": False, "strip_accents": False}


@pytest.mark.parametrize("fast", [False, True])
def test_robertas_folder_makes_its_tokenizer(bpe, tmp_path, fast):
    if fast:
        other = Tokenizer(models.BPE({piece: id for id, piece in enumerate(bpe.get_vocabulary())}, bpe._merges))
        other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        other.save(str(tmp_path / "tokenizer.json"))
    else:
        bpe.save(tmp_path)
    tokenizer, format = load_hf_tokenizer(tmp_path)
    assert format == ROBERTA_FORMAT and tokenizer.mask_token_id == 4
    assert tokenizer(TEXTS).to_list() == bpe(TEXTS).to_list()


def test_gpt2s_vocabulary_is_told_by_its_special_token(tmp_path):
    pieces, merges = train_byte_level_bpe(TEXTS, 270, special_tokens=["<|endoftext|>"])
    ByteLevelBPETokenizer(pieces, merges).save(tmp_path)
    assert load_hf_tokenizer(tmp_path)[0].special_tokens == GPT2_TOKENS


@pytest.mark.data
@pytest.mark.parametrize("tokens, format", [(ALBERT_TOKENS, BERT_FORMAT), (XLNET_TOKENS, XLNET_FORMAT)])
def test_a_sentencepiece_folder_tells_its_family(tmp_path, tokens, format):
    model = train_unigram([review.text for review in datasets.movie_reviews()[:500]], 300, special_tokens=tokens)
    (tmp_path / "spiece.model").write_bytes(model)
    tokenizer, found = load_hf_tokenizer(tmp_path)
    assert (tokenizer.special_tokens, found) == (tokens, format)
    assert tokenizer.options() == {"lowercase": tokens is ALBERT_TOKENS, "strip_accents": True, "plain_quotes": True}


def test_folders_that_hold_no_tokenizer_are_refused_in_one_sentence(bpe, tmp_path):
    def refuses(message):
        with pytest.raises(UserError, match=message):
            load_hf_tokenizer(tmp_path)

    refuses("holds no tokeniser")
    fast = tmp_path / "tokenizer.json"
    for content, message in (
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        (json.dumps({"model": {"type": "Unigram"}}), "holds a Unigram tokeniser"),
        (json.dumps({"model": {"type": "WordPiece"}}), "lacks a setting"),
        (json.dumps({"model": {"type": "WordPiece", "vocab": {"a": 1}}}), "from 0 on"),
    ):
        fast.write_text(content)
        refuses(message)
    pieces, merges = train_byte_level_bpe(TEXTS, 270, special_tokens=["<other>"])
    ByteLevelBPETokenizer(pieces, merges).save(tmp_path)
    refuses("special tokens of no known family")
