"""What to learn in pre-training: corruptions of text (tf.data), rows from documents, objectives and their losses.

Text comes in three steps, each of small parts. `documents` makes rows; a corruption (`MaskedText` of a chooser and a
replacement, `PermutedText`) says what to predict; a pre-trainer (`Pretrainer` of a backbone and objectives,
`ElectraPretrainer`) learns it, under `training.fit`.
"""

from tfmodels.objectives.answers import PairClassification
from tfmodels.objectives.attention import (
    UNILM_SEGMENTS,
    UNILM_SHARES,
    bidirectional,
    by_document,
    left_to_right,
    right_to_left,
    sequence_to_sequence,
    unilm,
    within_documents,
)
from tfmodels.objectives.auxiliary import AuxiliaryLanguageModel
from tfmodels.objectives.baselines import NgramBaselines, next_tokens_of, predictions_of
from tfmodels.objectives.choosing import (
    MaskingMixture,
    NoMasking,
    PartialPrediction,
    PhraseMasking,
    SpanMasking,
    TokenMasking,
    WholeWordMasking,
)
from tfmodels.objectives.corruption import (
    CorruptedBatches,
    ForTask,
    LanguageModels,
    MaskedText,
    PermutedText,
    WithEntities,
    WithNgram,
)
from tfmodels.objectives.documents import (
    DocSentences,
    Example,
    Frame,
    FullSentences,
    NextSentences,
    NextSentencesOrHalves,
    SegmentPair,
    SentenceDistance,
    SentencePair,
    SentenceReordering,
    SwappedSegments,
    WholeDocuments,
)
from tfmodels.objectives.electra import Adversarial, ElectraPretrainer, Frozen, MaximumLikelihood, start_from
from tfmodels.objectives.multitask import (
    Classification,
    MixedBatches,
    Ranking,
    Similarity,
    TaskPretrainer,
    TokenClassification,
    continual_schedule,
)
from tfmodels.objectives.notes import NoteDictionary, RareWords, WithNotes
from tfmodels.objectives.objectives import (
    EntityAlignment,
    InfoWord,
    MaskedLanguageModel,
    NextSentence,
    Objective,
    SentenceOrder,
    SpanBoundary,
)
from tfmodels.objectives.pretrainer import CausalPretrainer, PermutationPretrainer, Pretrainer
from tfmodels.objectives.randomness import Draw
from tfmodels.objectives.replacing import BertReplacement, MaskReplacement, SpanReplacement
from tfmodels.objectives.streams import TextStreams
from tfmodels.objectives.translations import TransE

__all__ = [
    "UNILM_SEGMENTS",
    "UNILM_SHARES",
    "Adversarial",
    "AuxiliaryLanguageModel",
    "BertReplacement",
    "CausalPretrainer",
    "Classification",
    "CorruptedBatches",
    "DocSentences",
    "Draw",
    "ElectraPretrainer",
    "EntityAlignment",
    "Example",
    "ForTask",
    "Frame",
    "Frozen",
    "FullSentences",
    "InfoWord",
    "LanguageModels",
    "MaskReplacement",
    "MaskedLanguageModel",
    "MaskedText",
    "MaskingMixture",
    "MaximumLikelihood",
    "MixedBatches",
    "NextSentence",
    "NextSentences",
    "NextSentencesOrHalves",
    "NgramBaselines",
    "NoMasking",
    "NoteDictionary",
    "Objective",
    "PairClassification",
    "PartialPrediction",
    "PermutationPretrainer",
    "PermutedText",
    "PhraseMasking",
    "Pretrainer",
    "Ranking",
    "RareWords",
    "SegmentPair",
    "SentenceDistance",
    "SentenceOrder",
    "SentencePair",
    "SentenceReordering",
    "Similarity",
    "SpanBoundary",
    "SpanMasking",
    "SpanReplacement",
    "SwappedSegments",
    "TaskPretrainer",
    "TextStreams",
    "TokenClassification",
    "TokenMasking",
    "TransE",
    "WholeDocuments",
    "WholeWordMasking",
    "WithEntities",
    "WithNgram",
    "WithNotes",
    "bidirectional",
    "by_document",
    "continual_schedule",
    "left_to_right",
    "next_tokens_of",
    "predictions_of",
    "right_to_left",
    "sequence_to_sequence",
    "start_from",
    "unilm",
    "within_documents",
]
