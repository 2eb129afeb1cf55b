"""What a pre-training objective is made of: tokeniser, rows, corruption and the model that learns.

A recipe chooses parts of `tfmodels.text` and `tfmodels.objectives`; nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import tfmodels
from tfmodels import objectives
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, PermutationLM, ReplacedTokenDetector
from tfmodels.models.config import nearest
from tfmodels.objectives import documents
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
    """

    format: SequenceFormat
    tokens: SpecialTokens
    counter: Callable[[bool], WordCounts] | None
    train: Callable[..., Tokenizer]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One objective.

    Attributes:
        preset: The encoder's name where the user names none.
        vocabulary: From text to tokens.
        rows: `rows(frame)` cuts documents into rows.
        corruption: `corruption(tokenizer, masked, max_predictions)` says what to predict.
        model: `model(backbone, generator)` is trained; `generator` makes ELECTRA's.
        masked: fraction of the tokens to predict.
        pair: The target that a row's label becomes, or None.
        figure: The figure that is the loss of the predicted tokens.
        paper: Where it was published.
    """

    preset: str
    vocabulary: Vocabulary
    rows: Callable
    corruption: Callable
    model: Callable
    paper: str
    masked: float = 0.15
    pair: str | None = None
    figure: str = "masked_language_model_loss"


def recipe(name: str) -> Recipe:
    """The recipe of an objective.

    Raises:
        UserError: There is none of that name; the nearest is named.
    """
    if name not in RECIPES:
        raise UserError(f"there is no objective {name!r}: {nearest(name, RECIPES)}")
    return RECIPES[name]


def max_predictions(sequence_length: int, masked: float) -> int:
    """P: what `masked` of a full row comes to."""
    return max(1, math.ceil(sequence_length * masked))


def make_backbone(preset: str, tokenizer: Tokenizer, sequence_length: int, overrides: dict, dtype=None):
    """The encoder, with random weights, for a tokeniser and a length.

    Raises:
        UserError: The preset or a field is unknown, or a family's positions cannot be set.
    """
    _, chosen = tfmodels.describe_model(preset)
    fields = {field.name for field in dataclasses.fields(chosen.config)}
    sizes = {"vocabulary_size": tokenizer.vocabulary_size()}
    if "max_sequence_length" in fields:
        sizes["max_sequence_length"] = sequence_length
    return tfmodels.create_model(preset, dtype=dtype, **{**sizes, **overrides})


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
BYTE_LEVEL_BPE = Vocabulary(ROBERTA_FORMAT, ROBERTA_TOKENS, lambda _: WordCounts(split_words), _byte_level_bpe)
ALBERT_UNIGRAM = Vocabulary(BERT_FORMAT, ALBERT_TOKENS, None, _unigram(ALBERT_TOKENS))
XLNET_UNIGRAM = Vocabulary(XLNET_FORMAT, XLNET_TOKENS, None, _unigram(XLNET_TOKENS))


def _masked_text(chooser, replacement):
    """A corruption of a chooser's class and a replacement's."""

    def make(tokenizer, masked, most):
        return objectives.MaskedText(chooser(masked, most), replacement(tokenizer))

    return make


def _bert_replacement(tokenizer):
    tokenizer.require("mask")
    size, special = tokenizer.vocabulary_size(), tokenizer.special_token_ids()
    return objectives.BertReplacement(tokenizer.mask_token_id, size, special)


def _span_replacement(tokenizer):
    tokenizer.require("mask")
    size, special = tokenizer.vocabulary_size(), tokenizer.special_token_ids()
    return objectives.SpanReplacement(tokenizer.mask_token_id, size, special)


def _mask_replacement(tokenizer):
    tokenizer.require("mask")
    return objectives.MaskReplacement(tokenizer.mask_token_id)


def _albert_spans(masked, most):
    # ALBERT (arXiv:1909.11942, section 4.1, equation 2): p(n) = (1/n) / (1 + 1/2 + 1/3).
    return objectives.SpanMasking(masked, most, length_probabilities=[1, 1 / 2, 1 / 3])


def _pretrainer(*parts):
    def make(backbone, generator):
        return objectives.Pretrainer(backbone, [part() for part in parts])

    return make


def _electra(learning=objectives.MaximumLikelihood, weight=50.0):
    def make(backbone, generator):
        return objectives.ElectraPretrainer(
            MaskedLM(generator()), ReplacedTokenDetector(backbone), learning(name="learning"), weight
        )

    return make


def _one_in_six(masked, most):
    return objectives.PartialPrediction(inverse_rate=round(1 / masked), max_predictions=most)


_MASKED, _NEXT, _ORDER = objectives.MaskedLanguageModel, objectives.NextSentence, objectives.SentenceOrder

RECIPES = {
    "bert": Recipe(
        "bert_tiny",
        WORDPIECE,
        lambda frame: documents.SegmentPair(frame, documents.NextSentences()),
        _masked_text(objectives.TokenMasking, _bert_replacement),
        _pretrainer(_MASKED, _NEXT),
        "arXiv:1810.04805",
        pair="next_sentence",
    ),
    "whole_word": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.WholeWordMasking, _bert_replacement),
        _pretrainer(_MASKED),
        "arXiv:1906.08101",
    ),
    "roberta": Recipe(
        "bert_tiny",
        BYTE_LEVEL_BPE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _bert_replacement),
        _pretrainer(_MASKED),
        "arXiv:1907.11692",
    ),
    "albert": Recipe(
        "albert_base",
        ALBERT_UNIGRAM,
        lambda frame: documents.SegmentPair(frame, documents.SwappedSegments()),
        _masked_text(_albert_spans, _bert_replacement),
        _pretrainer(_MASKED, _ORDER),
        "arXiv:1909.11942",
        pair="sentence_order",
    ),
    "spanbert": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.DocSentences,
        _masked_text(objectives.SpanMasking, _span_replacement),
        _pretrainer(_MASKED, objectives.SpanBoundary),
        "arXiv:1907.10529",
    ),
    "electra": Recipe(
        "electra_small",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _mask_replacement),
        _electra(),
        "arXiv:2003.10555",
        figure="generator_loss",
    ),
    "electra_adversarial": Recipe(
        "electra_small",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _mask_replacement),
        _electra(objectives.Adversarial, 1.0),
        "arXiv:2003.10555, appendix F",
        figure="generator_loss",
    ),
    "xlnet": Recipe(
        "xlnet_base",
        XLNET_UNIGRAM,
        documents.FullSentences,
        lambda tokenizer, masked, most: objectives.PermutedText(_one_in_six(masked, most)),
        lambda backbone, generator: objectives.PermutationPretrainer(PermutationLM(backbone)),
        "arXiv:1906.08237",
        masked=1 / 6,
        figure="loss",
    ),
}
