"""ELECTRA's configuration and weight names in Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodels.interop import bert
from tfmodels.interop.family import Family
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import MaskedLM, SpanClassifier, TextClassifier, TokenClassifier
from tfmodels.models.electra import ElectraBackbone, ElectraConfig
from tfmodels.models.tasks import ReplacedTokenDetector


def config_from_hf(values: dict) -> ElectraConfig:
    """An `ElectraConfig` from the contents of config.json."""
    # What config.json may leave out has ELECTRA's defaults, not BERT's.
    defaults = {"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
    config = bert.config_from_hf({**defaults, **values})
    return ElectraConfig(**{**config.to_dict(), "embedding_dim": values.get("embedding_size", 128)})


def config_to_hf(config: ElectraConfig) -> dict:
    """The contents of config.json for an `ElectraConfig`."""
    values = bert.config_to_hf(config.replace(embedding_dim=None))
    return {**values, "model_type": "electra", "embedding_size": config.embedding_dim or config.hidden_dim}


def backbone_entries(backbone: ElectraBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    yield from bert.backbone_entries(backbone, prefix)
    if "embeddings_project" in backbone.parts:
        yield from linear_entries(f"{prefix}embeddings_project", backbone.parts["embeddings_project"])


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    head = task.head
    if isinstance(task, ReplacedTokenDetector):
        yield from linear_entries("discriminator_predictions.dense", head.transform)
        yield from linear_entries("discriminator_predictions.dense_prediction", head.logits)
    elif isinstance(task, MaskedLM):
        yield from linear_entries("generator_predictions.dense", head.transform)
        yield from norm_entries("generator_predictions.LayerNorm", head.norm)
        yield Entry("generator_lm_head.bias", head.bias)
    elif isinstance(task, TextClassifier):
        yield from linear_entries("classifier.dense", task.settings["pooling"].dense)
        yield from linear_entries("classifier.out_proj", head.logits)
    else:
        yield from bert.head_entries(task)


FAMILY = Family(
    backbone=ElectraBackbone,
    prefix="electra.",
    architectures={
        "ElectraModel": ElectraBackbone,
        "ElectraForPreTraining": ReplacedTokenDetector,
        "ElectraForMaskedLM": MaskedLM,
        "ElectraForSequenceClassification": TextClassifier,
        "ElectraForTokenClassification": TokenClassifier,
        "ElectraForQuestionAnswering": SpanClassifier,
    },
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
)
