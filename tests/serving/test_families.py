"""Every family of the registry, exported with its kind of tokeniser, is served by the C++ loader."""

import pytest

import tfmodels
from serving import check_savedmodel, export_savedmodel, keras_reference
from tests.models.tiny import tiny
from tests.serving.support import VOCABULARY, randomised
from tfmodels.models import (
    AdaptiveLM,
    CausalLM,
    FullAttention,
    LocalAttention,
    MaskedLM,
    PairClassifier,
    PairedMaskedLM,
    PermutationLM,
    ReformerLM,
    ReformerMaskedLM,
    ReplacedTokenDetector,
    SpanClassifier,
    TextClassifier,
    TextEmbedder,
    TiedLM,
    TokenClassifier,
)
from tfmodels.models.tasks import Task
from tfmodels.text import (
    ALBERT_TOKENS,
    BERT_FORMAT,
    ROBERTA_FORMAT,
    XLNET_FORMAT,
    XLNET_TOKENS,
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    TextPreprocessor,
    WordPieceTokenizer,
    train_byte_level_bpe,
    train_unigram,
)

LINES = ["a good film, and long", "It takes its time, and it takes ours", "Not bad, not bad at all!"] * 4
TEXTS = [
    "A good film, and long.",
    "Ça va? 中文 😀\u200b",
    "",
    "  \n\tx ",
    "bad " * 30,
    "[CLS][SEP]<s></s><mask>",
    b"\xff",
]


def wordpiece():
    return WordPieceTokenizer(VOCABULARY), BERT_FORMAT


def byte_level_bpe():
    return ByteLevelBPETokenizer(*train_byte_level_bpe(LINES, 280)), ROBERTA_FORMAT


def single_bytes():
    """Of enwik8, whose tokens are bytes, in rows as RoBERTa has them: Transformer-XL itself has no special tokens."""
    return ByteLevelBPETokenizer(*train_byte_level_bpe(LINES, 261)), ROBERTA_FORMAT


def alberts_sentencepiece():
    model = train_unigram(LINES, 28, special_tokens=ALBERT_TOKENS)
    return SentencePieceTokenizer(model, ALBERT_TOKENS, lowercase=True, plain_quotes=True), BERT_FORMAT


def xlnets_sentencepiece():
    model = train_unigram(LINES, 28, special_tokens=XLNET_TOKENS)
    return SentencePieceTokenizer(model, XLNET_TOKENS, strip_accents=True, plain_quotes=True), XLNET_FORMAT


# By the name of the backbone's class: a preset, its kind of tokeniser, and a task. A new family adds a line.
FAMILIES = {
    "AlbertBackbone": ("albert_base", alberts_sentencepiece, TextEmbedder),
    "AwdLSTMBackbone": ("ulmfit", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "BilstmBackbone": ("bilstm", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "BPTransformerBackbone": ("bp_transformer", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "BertBackbone": ("bert_base", wordpiece, TextEmbedder),
    "BigBirdBackbone": ("bigbird_base", wordpiece, TextEmbedder),
    "DATransformerBackbone": ("da_transformer", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "ETCBackbone": ("etc_base", wordpiece, TextEmbedder),
    "ElectraBackbone": ("electra_small", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "ErnieBackbone": ("ernie2_base", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "MultiScaleBackbone": ("multi_scale_transformer", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "NezhaBackbone": ("nezha_base", wordpiece, TextEmbedder),
    "ReformerBackbone": ("reformer_crime_and_punishment", wordpiece, TextEmbedder),
    "RobertaBackbone": ("roberta_base", byte_level_bpe, lambda backbone: TextClassifier(backbone, 3)),
    "SetTransformerBackbone": ("set_transformer", wordpiece, lambda backbone: TextClassifier(backbone, 3)),
    "StarTransformerBackbone": ("star_transformer", wordpiece, TextEmbedder),
    "TransformerXLBackbone": ("transformer_xl_enwik8", single_bytes, AdaptiveLM),
    "XLNetBackbone": ("xlnet_base", xlnets_sentencepiece, lambda backbone: TextClassifier(backbone, 3)),
}


# By the name of the task's class, the tasks that no family's export has: a preset, its kind of tokeniser, the task, and
# what differs in the encoder: under LSH attention every logit depends on padding, see its `is_circular`.
# `TableClassifier` is left out: no preprocessor makes its columns of a text.
TASKS = {
    "CausalLM": ("bert_tiny", wordpiece, CausalLM, {"attention": FullAttention(causal=True)}),
    "MaskedLM": ("albert_base", alberts_sentencepiece, MaskedLM),
    "PairClassifier": ("bert_tiny", wordpiece, PairClassifier),
    "ReformerLM": ("reformer_enwik8", wordpiece, ReformerLM, {"attention": LocalAttention(4, causal=True)}),
    "ReformerMaskedLM": ("reformer_enwik8", wordpiece, ReformerMaskedLM, {"attention": LocalAttention(4)}),
    "TiedLM": ("ulmfit", wordpiece, TiedLM),
    "TokenClassifier": ("bert_tiny", wordpiece, lambda backbone: TokenClassifier(backbone, 3)),
    "SpanClassifier": ("bert_tiny", wordpiece, SpanClassifier),
    "PairedMaskedLM": ("bert_tiny", wordpiece, PairedMaskedLM),
    "ReplacedTokenDetector": ("electra_small", wordpiece, ReplacedTokenDetector),
    "PermutationLM": ("xlnet_base", xlnets_sentencepiece, PermutationLM),
}


def test_every_family_of_the_registry_is_exported():
    registered = {tfmodels.describe_model(name)[0].__name__ for name in tfmodels.list_models()}
    assert registered == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_passes_the_gate_of_the_cpp_loader(family, tmp_path):
    name, make_tokenizer, task = FAMILIES[family]
    assert tfmodels.describe_model(name)[0].__name__ == family
    check_export(name, make_tokenizer, task, tmp_path)


def test_every_task_is_exported():
    def below(kind):
        return {kind.__name__}.union(*map(below, kind.__subclasses__()))

    of_families = {"AdaptiveLM", "TextClassifier", "TextEmbedder"}
    assert below(Task) & set(tfmodels.models.__all__) - {"Task"} == {*TASKS, *of_families, "TableClassifier"}


@pytest.mark.parametrize("task", TASKS)
def test_an_export_of_every_task_passes_the_gate_of_the_cpp_loader(task, tmp_path):
    name, make_tokenizer, make, *overrides = TASKS[task]
    check_export(name, make_tokenizer, make, tmp_path, *overrides)


def check_export(name, make_tokenizer, task, tmp_path, overrides=None):
    """What is exported gives what the Keras model gives."""
    tokenizer, format = make_tokenizer()
    preprocessor = TextPreprocessor(tokenizer, 16, format=format)
    sizes = {"vocabulary_size": tokenizer.vocabulary_size(), **(overrides or {})}
    model = randomised(task(tiny(name, **sizes)), seed=0)
    path = export_savedmodel(
        model, tmp_path / "1", preprocessor=preprocessor, warmup_batch_sizes=(1, 3), card={"name": name}
    )
    report = check_savedmodel(
        path, expected=keras_reference(model, preprocessor), texts=TEXTS, batch_sizes=(1, 7), latency_seconds=0.05
    )
    assert report.problems == ()
    assert report.passed and report.rows_compared == 2 * (1 + 7)
    assert set(report.checks.values()) == {"passed"}
