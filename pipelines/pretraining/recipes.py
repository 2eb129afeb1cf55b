"""What a pre-training objective is made of: tokeniser, rows, corruption and the model that learns.

A recipe chooses parts of `tfmodels.text` and `tfmodels.objectives`; nothing is computed here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import tfmodels
from pipelines.pretraining.vocabularies import ALBERT_UNIGRAM, BYTE_LEVEL_BPE, WORDPIECE, XLNET_UNIGRAM, Vocabulary
from tfmodels import objectives
from tfmodels.errors import UserError, nearest
from tfmodels.models import (
    AdaptiveLM,
    BertBackbone,
    ErnieBackbone,
    KnowledgeEncoder,
    MaskedLM,
    PermutationLM,
    ReplacedTokenDetector,
    TransformerXLBackbone,
    XLNetBackbone,
)
from tfmodels.objectives import documents
from tfmodels.objectives.choosing import tokens


@dataclasses.dataclass(frozen=True)
class Task:
    """A task that joins a recipe's own, in ERNIE 2.0's continual learning. Its rows are read as they are.

    Attributes:
        target: The target's name: a further column of the rows, or what their label becomes.
        rows: `rows(frame)` cuts documents into rows.
    """

    target: str
    rows: Callable


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One objective.

    Attributes:
        preset: The encoder's name where the user names none.
        vocabulary: From text to tokens.
        row_format: The class that cuts documents into rows.
        corruption: `corruption(tokenizer, masked, max_predictions)` says what to predict; None for the next token.
            Where stretches of text overlap it is given the encoder's `reuse_length`.
        models: `models(backbone, generator, **given)` yields the name of every stage and the model that it trains, the
            next one when the last is trained; a single stage has no name. `generator` makes ELECTRA's. Given is, where
            it is asked for, the `attention_mask` that makes the mask of a batch's inputs; the `notes` where there are
            any; the `graph`'s vectors where there are entities; and the `batch_size` where text is read in streams.
        masked: fraction of the tokens to predict.
        pair: The target that a row's label becomes, or None.
        pairing: How the two segments of a row are paired; None where a row is one text.
        overrides: Fields of the encoder's configuration that the objective needs.
        columns: What the rows tell of each token beside the usual: `phrase_ids`, `entity_ids`, `capitals`, `entities`.
        later: Tasks that join one after the other.
        notes: Whether rare words have notes.
        words: Whether it reads which tokens are of one word.
        masks: Whether it says who sees whom.
        entities: Whether it reads the entities of a knowledge graph.
        generates: Whether a smaller generator proposes tokens.
        backwards: Whether half of the streams of training read their text from the end.
        family: The class of the encoders that it trains; None trains all that have no memory.
        figure: The figure that is the loss of the predicted tokens.
        monitor: The figure that says which epoch is best where the user names none.
        paper: Where it was published.
    """

    preset: str
    vocabulary: Vocabulary
    row_format: type
    corruption: Callable | None
    models: Callable
    paper: str
    masked: float = 0.15
    pair: str | None = None
    pairing: documents.Pairing | None = None
    figure: str = "masked_language_model_loss"
    monitor: str = "val_loss"
    overrides: Mapping = dataclasses.field(default_factory=dict)
    columns: tuple[str, ...] = ()
    later: tuple[Task, ...] = ()
    notes: bool = False
    words: bool = False
    masks: bool = False
    entities: bool = False
    generates: bool = False
    backwards: bool = False
    family: type | None = None

    def rows(self, frame: objectives.Frame):
        """What cuts documents into rows of a frame."""
        return self.row_format(frame) if self.pairing is None else self.row_format(frame, self.pairing)

    @property
    def row_formats(self) -> Mapping[str, type]:
        """The formats that its rows may have, by name: those of pairs, or those of one text."""
        if self.streams:
            return {}
        return _ONE_TEXT if self.pairing is None else _PAIRS

    @property
    def streams(self) -> bool:
        """Whether documents are read on from batch to batch, with a memory."""
        return self.row_format is documents.WholeDocuments

    @property
    def pairs_documents(self) -> bool:
        """Whether some rows hold text of two documents, so that one alone gives none."""
        apart = any(task.rows is documents.SentenceDistance for task in self.later)
        return apart or isinstance(self.pairing, documents.NextSentences)

    @property
    def packs_documents(self) -> bool:
        """Whether a row may hold several documents that are read as one text."""
        return self.row_format is documents.FullSentences


# RoBERTa's input formats (arXiv:1907.11692, section 4.2): those of pairs with a label, and those of one text.
_PAIRS = {"segment_pair": documents.SegmentPair, "sentence_pair": documents.SentencePair}
_ONE_TEXT = {"full_sentences": documents.FullSentences, "doc_sentences": documents.DocSentences}


def recipe(name: str, row_format: str | None = None) -> Recipe:
    """The recipe of an objective.

    Args:
        name: The objective.
        row_format: The name of another format of its rows; None leaves its own.

    Raises:
        UserError: There is none of that name, and the nearest is named; or it cannot have such rows.
    """
    if name not in RECIPES:
        raise UserError(f"there is no objective {name!r}: {nearest(name, RECIPES)}")
    chosen = RECIPES[name]
    if row_format is None:
        return chosen
    if row_format not in (*_PAIRS, *_ONE_TEXT):
        raise UserError(f"there is no row format {row_format!r}: {nearest(row_format, (*_PAIRS, *_ONE_TEXT))}")
    if row_format not in chosen.row_formats:
        able = " or ".join(chosen.row_formats)
        raise UserError(
            f"{name} has no rows in the format {row_format}: "
            + (f"choose {able}." if able else "leave rows.format out, it reads whole documents.")
        )
    return dataclasses.replace(chosen, row_format=chosen.row_formats[row_format])


def max_predictions(sequence_length: int, masked: float) -> int:
    """P: what `masked` of a full row comes to."""
    return max(1, math.ceil(sequence_length * masked))


def make_backbone(preset: str, vocabulary_size: int, sequence_length: int, overrides: dict, dtype=None):
    """An encoder, with random weights, for a vocabulary and a length.

    Raises:
        UserError: The preset or a field is unknown, or a family's positions cannot be set.
    """
    _, chosen = tfmodels.describe_model(preset)
    fields = {field.name for field in dataclasses.fields(chosen.config)}
    sizes = {"vocabulary_size": vocabulary_size}
    if "max_sequence_length" in fields:
        sizes["max_sequence_length"] = sequence_length
    return tfmodels.create_model(preset, dtype=dtype, **{**sizes, **overrides})


# What the embeddings, which the generator shares with the discriminator, are made of.
_SHARED_WITH_GENERATOR = frozenset(
    ("vocabulary_size", "embedding_dim", "max_sequence_length", "num_segments", "positions", "max_distance")
)


def generator_of(preset: str) -> str:
    """The name of the generator that belongs to a preset.

    Raises:
        UserError: There is none.
    """
    name = f"{preset}_generator"
    if name not in tfmodels.list_models():
        raise UserError(f"the objective needs a model with a generator, such as electra_small, not {preset}.")
    return name


def make_generator(preset, discriminator, policy, overrides=None):
    """ELECTRA's generator, in the size of the paper's, on the discriminator's embeddings.

    Args:
        preset: The discriminator's preset.
        discriminator: Its backbone.
        policy: What to compute in.
        overrides: Fields of the generator's configuration to change.

    Raises:
        UserError: The preset has no generator, or an override changes what the two share.
    """
    name = generator_of(preset)
    backbone, chosen = tfmodels.describe_model(name)
    ours, published = discriminator.config, tfmodels.describe_model(preset)[1].config
    # Sizes that the user has changed change the generator's in proportion.
    sizes = {
        field: max(1, round(getattr(chosen.config, field) * getattr(ours, field) / getattr(published, field)))
        for field in ("num_heads", "intermediate_dim")
    }
    sizes["hidden_dim"] = sizes["num_heads"] * (ours.hidden_dim // ours.num_heads)
    for field in _SHARED_WITH_GENERATOR.intersection(overrides or {}):
        raise UserError(f"the generator shares its embeddings, so that its {field} cannot differ: leave it out.")
    config = ours.replace(**{**sizes, **(overrides or {})}).replace(embedding_dim=ours.embedding_dim or ours.hidden_dim)
    return backbone(config, dtype=policy, name=name, shared=discriminator.shared_embeddings())


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


def _with_ngram(corruption):
    def make(tokenizer, masked, most):
        tokenizer.require("mask", "cls")
        inner = corruption(tokenizer, masked, most)
        return objectives.WithNgram(inner, tokenizer.mask_token_id, tokenizer.cls_token_id)

    return make


def _albert_spans(masked, most):
    # ALBERT (arXiv:1909.11942, section 4.1, equation 2): p(n) = (1/n) / (1 + 1/2 + 1/3).
    return objectives.SpanMasking(masked, most, length_probabilities=[1, 1 / 2, 1 / 3])


def _one_stage(model):
    """`models` of one model, `model(backbone, generator, **given)`."""

    def models(backbone, generator, **given):
        yield "", model(backbone, generator, **given)

    return models


def _uni_lm(tokenizer, masked, most):
    # UniLM (arXiv:1905.03197, section 2.4): four times in five one token, else two or three.
    chooser = objectives.SpanMasking(masked, most, length_probabilities=[0.8, 0.1, 0.1], units=tokens)
    return objectives.LanguageModels(objectives.MaskedText(chooser, _bert_replacement(tokenizer)), _APART)


def _pretrainer(*parts, attention_mask=None):
    def make(backbone, generator, attention_mask=attention_mask, notes=None):
        return objectives.Pretrainer(backbone, [part() for part in parts], attention_mask, notes)

    return _one_stage(make)


@_one_stage
def _with_entities(backbone, generator, graph):
    knowledge = KnowledgeEncoder(backbone, *graph.shape, num_heads=_heads_of(graph.shape[1]), name="knowledge")
    knowledge.set_entities(graph)
    parts = [
        objectives.MaskedLanguageModel(),
        objectives.NextSentence(),
        objectives.EntityAlignment(knowledge.entities),
    ]
    return objectives.Pretrainer(backbone, parts, knowledge=knowledge)


def _heads_of(entity_dim):
    """The paper's four heads, or as many as divide the vectors."""
    return max(heads for heads in range(1, 5) if entity_dim % heads == 0)


def _electra(learning=objectives.MaximumLikelihood, weight=50.0):
    def make(backbone, generator, attention_mask=None):
        return objectives.ElectraPretrainer(
            MaskedLM(generator()),
            ReplacedTokenDetector(backbone),
            learning(name="learning"),
            weight,
            attention_mask=attention_mask,
        )

    return _one_stage(make)


def _electra_in_two_stages(backbone, generator, attention_mask=None):
    """The generator alone, of the discriminator's size; then the discriminator, which starts from it (section 3.3)."""
    twin = type(backbone)(backbone.config, dtype=backbone.dtype_policy, name=f"{backbone.name}_generator")
    # Both heads before the first stage, so that a run which was killed after it draws the same weights.
    masked, discriminator = objectives.MaskedLanguageModel(name="generator"), ReplacedTokenDetector(backbone)
    yield "generator", objectives.Pretrainer(twin, [masked], attention_mask)
    objectives.start_from(masked.task, discriminator)
    learning = objectives.Frozen(name="learning")
    pretrainer = objectives.ElectraPretrainer(masked.task, discriminator, learning, attention_mask=attention_mask)
    yield "discriminator", pretrainer


@_one_stage
def _permutations(backbone, generator, attention_mask=None, batch_size=None):
    # Who sees whom is in the corruption's permutation mask.
    return objectives.PermutationPretrainer(PermutationLM(backbone), batch_size)


@_one_stage
def _next_tokens(backbone, generator, batch_size):
    return objectives.CausalPretrainer(AdaptiveLM(backbone), batch_size)


def _knowledge(masked, most):
    # ERNIE 1.0 goes through the three levels in three stages; here every row has one of them.
    return objectives.MaskingMixture(
        [
            objectives.WholeWordMasking(masked, most),
            objectives.PhraseMasking("phrase_ids", masked, most),
            objectives.PhraseMasking("entity_ids", masked, most),
        ]
    )


@_one_stage
def _ernie2(backbone, generator):
    return objectives.TaskPretrainer(
        backbone,
        [
            objectives.MaskedLanguageModel(),
            objectives.TokenClassification("capitals", 2),
            objectives.Classification("sentence_reordering", documents.SentenceReordering.num_classes()),
            objectives.Classification("sentence_distance", documents.SentenceDistance.num_classes),
        ],
    )


def _permuted(tokenizer, masked, most, reuse_length=None):
    # One token in K, no more than are asked for: of more, the last of a row would never be predicted.
    chooser = objectives.PartialPrediction(inverse_rate=math.ceil(1 / masked - 1e-6), max_predictions=most)
    return objectives.PermutedText(chooser, reuse_length)


# Half of UniLM's bidirectional rows, a third of all, have a second segment that does not follow the first.
_APART = 1 / 6

_MASKED, _NEXT, _ORDER = objectives.MaskedLanguageModel, objectives.NextSentence, objectives.SentenceOrder

RECIPES = {
    "bert": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.SegmentPair,
        _masked_text(objectives.TokenMasking, _bert_replacement),
        _pretrainer(_MASKED, _NEXT),
        "arXiv:1810.04805",
        pair="next_sentence",
        pairing=documents.NextSentences(),
    ),
    "whole_word": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.WholeWordMasking, _bert_replacement),
        _pretrainer(_MASKED),
        "arXiv:1906.08101",
        words=True,
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
        documents.SegmentPair,
        _masked_text(_albert_spans, _bert_replacement),
        _pretrainer(_MASKED, _ORDER),
        "arXiv:1909.11942",
        pair="sentence_order",
        pairing=documents.SwappedSegments(),
        words=True,
    ),
    "spanbert": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.DocSentences,
        _masked_text(objectives.SpanMasking, _span_replacement),
        _pretrainer(_MASKED, objectives.SpanBoundary),
        "arXiv:1907.10529",
        words=True,
    ),
    "unilm": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.SegmentPair,
        _uni_lm,
        _pretrainer(_MASKED, _NEXT, attention_mask=objectives.unilm),
        "arXiv:1905.03197",
        pair="pair",
        pairing=documents.NextSentencesOrHalves(_APART),
        overrides={"num_segments": 1 + max(map(max, objectives.UNILM_SEGMENTS))},
        masks=True,
    ),
    "electra": Recipe(
        "electra_small",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _mask_replacement),
        _electra(),
        "arXiv:2003.10555",
        figure="generator_loss",
        generates=True,
    ),
    "electra_adversarial": Recipe(
        "electra_small",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _mask_replacement),
        _electra(objectives.Adversarial, 1.0),
        "arXiv:2003.10555, appendix F",
        figure="generator_loss",
        # The loss rises and falls with the generator's reward.
        monitor="val_discriminator_loss",
        generates=True,
    ),
    "electra_two_stage": Recipe(
        "electra_small",
        WORDPIECE,
        documents.FullSentences,
        _masked_text(objectives.TokenMasking, _mask_replacement),
        _electra_in_two_stages,
        "arXiv:2003.10555, section 3.3",
        figure="generator_loss",
    ),
    "nezha": Recipe(
        "nezha_base",
        WORDPIECE,
        documents.SegmentPair,
        _masked_text(objectives.WholeWordMasking, _bert_replacement),
        _pretrainer(_MASKED, _NEXT),
        "arXiv:1909.00204",
        pair="next_sentence",
        pairing=documents.NextSentences(),
        words=True,
    ),
    "infoword": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.DocSentences,
        _with_ngram(_masked_text(objectives.TokenMasking, _bert_replacement)),
        _pretrainer(_MASKED, objectives.InfoWord),
        "arXiv:1910.08350",
    ),
    "ernie": Recipe(
        "ernie_base",
        WORDPIECE,
        documents.SegmentPair,
        _masked_text(_knowledge, _bert_replacement),
        _pretrainer(_MASKED, _NEXT),
        "arXiv:1904.09223",
        pair="next_sentence",
        pairing=documents.NextSentences(),
        columns=("phrase_ids", "entity_ids"),
        words=True,
    ),
    "ernie2": Recipe(
        "ernie2_base",
        WORDPIECE,
        documents.DocSentences,
        _masked_text(_knowledge, _bert_replacement),
        _ernie2,
        "arXiv:1907.12412",
        overrides={"num_tasks": 4},
        columns=("phrase_ids", "entity_ids", "capitals"),
        family=ErnieBackbone,
        later=(
            Task("capitals", documents.DocSentences),
            Task("sentence_reordering", documents.SentenceReordering),
            Task("sentence_distance", documents.SentenceDistance),
        ),
        words=True,
    ),
    "ernie_thu": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.SegmentPair,
        _masked_text(objectives.TokenMasking, _bert_replacement),
        _with_entities,
        "arXiv:1905.07129",
        pair="next_sentence",
        pairing=documents.NextSentences(),
        columns=("entities",),
        family=BertBackbone,
        entities=True,
    ),
    "xlnet": Recipe(
        "xlnet_base",
        XLNET_UNIGRAM,
        documents.FullSentences,
        _permuted,
        _permutations,
        "arXiv:1906.08237",
        masked=1 / 6,
        figure="loss",
        family=XLNetBackbone,
    ),
    "xlnet_memory": Recipe(
        "xlnet_base",
        XLNET_UNIGRAM,
        documents.WholeDocuments,
        _permuted,
        _permutations,
        "arXiv:1906.08237, section 3.1",
        masked=1 / 6,
        figure="loss",
        family=XLNetBackbone,
        backwards=True,
    ),
    "transformer_xl": Recipe(
        "transformer_xl_standard",
        WORDPIECE,
        documents.WholeDocuments,
        None,
        _next_tokens,
        "arXiv:1901.02860",
        figure="loss",
        # Clusters want tokens in the order of their frequency, and many more of them.
        overrides={"cutoffs": ()},
        family=TransformerXLBackbone,
    ),
    "tnf": Recipe(
        "bert_tiny",
        WORDPIECE,
        documents.DocSentences,
        _masked_text(objectives.TokenMasking, _bert_replacement),
        _pretrainer(_MASKED),
        "arXiv:2008.01466",
        notes=True,
        words=True,
    ),
}
