"""From raw text to the tensors that a model takes, as TensorFlow operations, and the vocabularies that this takes.

Tokenisers and preprocessors run eagerly, in `tf.data`, in Transform and inside an exported SavedModel, with core
TensorFlow and TensorFlow Text operations only, so that TensorFlow Serving runs them as they stand.
"""

from tfmodels.text.bpe import BPETokenizer, ByteLevelBPETokenizer, split_at_blanks, split_words
from tfmodels.text.buckets import bucket_lengths
from tfmodels.text.documents import (
    blank_line_documents,
    join_word_starts,
    json_documents,
    line_documents,
    read_lines,
    split_sentences,
)
from tfmodels.text.formats import BERT_FORMAT, ROBERTA_FORMAT, T5_FORMAT, XLNET_FORMAT, SequenceFormat
from tfmodels.text.hf import load_hf_tokenizer
from tfmodels.text.normalize import separate_words
from tfmodels.text.phrases import EntityLinker, NgramTable, SpanMarker, ngrams_of_words, read_names
from tfmodels.text.preprocessor import TextPreprocessor
from tfmodels.text.segmenter import ChineseSegmenter
from tfmodels.text.sentencepiece import SentencePieceTokenizer
from tfmodels.text.training import (
    WordCounts,
    bert_words,
    train_bpe,
    train_byte_level_bpe,
    train_unigram,
    train_wordpiece,
)
from tfmodels.text.vocabulary import (
    ALBERT_TOKENS,
    BERT_TOKENS,
    GPT2_TOKENS,
    ROBERTA_TOKENS,
    T5_TOKENS,
    XLNET_TOKENS,
    SpecialTokens,
    Tokenizer,
)
from tfmodels.text.wordpiece import WordPieceTokenizer

__all__ = [
    "ALBERT_TOKENS",
    "BERT_FORMAT",
    "BERT_TOKENS",
    "GPT2_TOKENS",
    "ROBERTA_FORMAT",
    "ROBERTA_TOKENS",
    "T5_FORMAT",
    "T5_TOKENS",
    "XLNET_FORMAT",
    "XLNET_TOKENS",
    "BPETokenizer",
    "ByteLevelBPETokenizer",
    "ChineseSegmenter",
    "EntityLinker",
    "NgramTable",
    "SentencePieceTokenizer",
    "SequenceFormat",
    "SpanMarker",
    "SpecialTokens",
    "TextPreprocessor",
    "Tokenizer",
    "WordCounts",
    "WordPieceTokenizer",
    "bert_words",
    "blank_line_documents",
    "bucket_lengths",
    "join_word_starts",
    "json_documents",
    "line_documents",
    "load_hf_tokenizer",
    "ngrams_of_words",
    "read_lines",
    "read_names",
    "separate_words",
    "split_at_blanks",
    "split_sentences",
    "split_words",
    "train_bpe",
    "train_byte_level_bpe",
    "train_unigram",
    "train_wordpiece",
]
