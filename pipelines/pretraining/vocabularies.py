"""The ways from text to tokens that recipes take: formats, special tokens and the training of the tokenisers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfmodels.text import (
    ALBERT_TOKENS,
    BERT_FORMAT,
    BERT_TOKENS,
    ROBERTA_FORMAT,
    ROBERTA_TOKENS,
    XLNET_FORMAT,
    XLNET_TOKENS,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    SequenceFormat,
    SpecialTokens,
    Tokenizer,
    WordCounts,
    WordPieceTokenizer,
    bert_words,
    split_words,
    train_byte_level_bpe,
    train_unigram,
    train_wordpiece,
)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A family's way from text to tokens.

    Attributes:
        format: Where the special tokens of a row go.
        tokens: The special tokens.
        counter: `counter(lowercase)` counts words in Beam; None where the training reads the texts itself.
        train: `train(counts or texts, size, lowercase)` makes the tokeniser.
        least: The smallest size: special tokens and an alphabet.
    """

    format: SequenceFormat
    tokens: SpecialTokens
    counter: Callable[[bool], WordCounts] | None
    train: Callable[..., Tokenizer]
    least: int = 64


def _wordpiece(texts, size, lowercase):
    return WordPieceTokenizer(train_wordpiece(texts, size, lowercase=lowercase), lowercase=lowercase)


def _byte_level_bpe(texts, size, lowercase):
    pieces, merges = train_byte_level_bpe(texts, size)
    return ByteLevelBPETokenizer(pieces, merges, special_tokens=ROBERTA_TOKENS)


def _unigram(tokens):
    def train(texts, size, lowercase):
        lowered = (text.lower() for text in texts) if lowercase else texts
        proto = train_unigram(lowered, size, special_tokens=tokens)
        return SentencePieceTokenizer(proto, special_tokens=tokens, lowercase=lowercase)

    return train


WORDPIECE = Vocabulary(BERT_FORMAT, BERT_TOKENS, lambda lowercase: WordCounts(bert_words(lowercase)), _wordpiece)
BYTE_LEVEL_BPE = Vocabulary(ROBERTA_FORMAT, ROBERTA_TOKENS, lambda _: WordCounts(split_words), _byte_level_bpe, 261)
ALBERT_UNIGRAM = Vocabulary(BERT_FORMAT, ALBERT_TOKENS, None, _unigram(ALBERT_TOKENS))
XLNET_UNIGRAM = Vocabulary(XLNET_FORMAT, XLNET_TOKENS, None, _unigram(XLNET_TOKENS))
