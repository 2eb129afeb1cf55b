"""What to learn in pre-training: corruptions of text (tf.data), rows from documents, objectives and their losses.

Text comes in three steps, each of small parts. `documents` makes rows; a corruption (`MaskedText` of a chooser and a
replacement, `PermutedText`) says what to predict; a pre-trainer (`Pretrainer` of a backbone and objectives,
`ElectraPretrainer`) learns it, under `training.fit`.
"""

from tfmodels.objectives.attention import (
    bidirectional,
    left_to_right,
    right_to_left,
    sequence_to_sequence,
    unilm,
    within_documents,
)
from tfmodels.objectives.baselines import NgramBaselines, predictions_of
from tfmodels.objectives.choosing import (
    MaskingMixture,
    PartialPrediction,
    PhraseMasking,
    SpanMasking,
    TokenMasking,
    WholeWordMasking,
)
from tfmodels.objectives.corruption import CorruptedBatches, MaskedText, PermutedText, WithNgram
from tfmodels.objectives.documents import (
    DocSentences,
    Example,
    Frame,
    FullSentences,
    NextSentences,
    SegmentPair,
    SentencePair,
    SwappedSegments,
)
from tfmodels.objectives.electra import Adversarial, ElectraPretrainer, Frozen, MaximumLikelihood, start_from
from tfmodels.objectives.multitask import Classification, MixedBatches, Ranking, Similarity, continual_schedule
from tfmodels.objectives.notes import NoteDictionary
from tfmodels.objectives.objectives import (
    InfoWord,
    MaskedLanguageModel,
    NextSentence,
    Objective,
    SentenceOrder,
    SpanBoundary,
)
from tfmodels.objectives.pretrainer import PermutationPretrainer, Pretrainer
from tfmodels.objectives.randomness import Draw
from tfmodels.objectives.replacing import BertReplacement, MaskReplacement, SpanReplacement

__all__ = [
    "Adversarial",
    "BertReplacement",
    "Classification",
    "CorruptedBatches",
    "DocSentences",
    "Draw",
    "ElectraPretrainer",
    "Example",
    "Frame",
    "Frozen",
    "FullSentences",
    "InfoWord",
    "MaskReplacement",
    "MaskedLanguageModel",
    "MaskedText",
    "MaskingMixture",
    "MaximumLikelihood",
    "MixedBatches",
    "NextSentence",
    "NextSentences",
    "NgramBaselines",
    "NoteDictionary",
    "Objective",
    "PartialPrediction",
    "PermutationPretrainer",
    "PermutedText",
    "PhraseMasking",
    "Pretrainer",
    "Ranking",
    "SegmentPair",
    "SentenceOrder",
    "SentencePair",
    "Similarity",
    "SpanBoundary",
    "SpanMasking",
    "SpanReplacement",
    "SwappedSegments",
    "TokenMasking",
    "WholeWordMasking",
    "WithNgram",
    "bidirectional",
    "continual_schedule",
    "left_to_right",
    "predictions_of",
    "right_to_left",
    "sequence_to_sequence",
    "start_from",
    "unilm",
    "within_documents",
]
