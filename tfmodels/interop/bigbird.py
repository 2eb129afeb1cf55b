"""BigBird's configuration and weight names in Hugging Face checkpoints: what differs from BERT's.

What is loaded computes what transformers does, `as_transformers`: see `layers.bigbird`. The head for spans is not
supported: transformers gives it a feed-forward layer of its own, and masks what it takes for the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfmodels.errors import UserError
from tfmodels.interop import bert
from tfmodels.interop.weights import Entry, linear_entries
from tfmodels.models import (
    BigBirdAttention,
    BigBirdBackbone,
    BigBirdConfig,
    MaskedLM,
    PairedMaskedLM,
    TextClassifier,
    TokenClassifier,
)

# What config.json may leave out.
_DEFAULTS = {"use_bias": True, "rescale_embeddings": False, "attention_type": "block_sparse"}
_KINDS = ("block_sparse", "original_full")
_ARCHITECTURES = {
    "BigBirdModel": BigBirdBackbone,
    "BigBirdForSequenceClassification": TextClassifier,
    "BigBirdForTokenClassification": TokenClassifier,
    "BigBirdForMaskedLM": MaskedLM,
    "BigBirdForPreTraining": PairedMaskedLM,
}


def config_from_hf(values: Mapping) -> BigBirdConfig:
    """A `BigBirdConfig` from the contents of config.json."""
    values = {**_DEFAULTS, **values}
    for name in ("use_bias", "rescale_embeddings"):
        if values[name] != _DEFAULTS[name]:
            raise UserError(
                f"{name}={values[name]} is not supported for BigBird: its checkpoints have the other value."
            )
    attention, kind = None, values["attention_type"]
    if kind not in _KINDS:
        raise UserError(f"attention_type {kind!r} has no counterpart: use one of {', '.join(_KINDS)}.")
    if kind == "block_sparse":
        sizes = {name: values[name] for name in ("block_size", "num_random_blocks") if name in values}
        attention = BigBirdAttention(**sizes, as_transformers=True)
    # transformers does not look at a position_embedding_type here.
    values = {name: value for name, value in values.items() if name != "position_embedding_type"}
    return bert.config_from_hf(values, BigBirdConfig, attention=attention)


def config_to_hf(config: BigBirdConfig) -> dict:
    """The contents of config.json for a `BigBirdConfig`."""
    values = {**bert.shared_config_to_hf(config.replace(attention=None), "big_bird"), **_DEFAULTS}
    kind = config.attention
    if kind is None:
        return {**values, "attention_type": "original_full"}
    if not isinstance(kind, BigBirdAttention) or not kind.as_transformers:
        raise UserError(
            "transformers minds how a batch is padded and has no random blocks at inference: save a model whose "
            "attention is BigBirdAttention(as_transformers=True), which may have this one's weights."
        )
    return {**values, "block_size": kind.block_size, "num_random_blocks": kind.num_random_blocks}


def backbone_entries(backbone: BigBirdBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie: where BERT's do, but for the pooler."""
    for entry in bert.backbone_entries(backbone, prefix):
        yield entry._replace(name=entry.name.replace("pooler.dense.", "pooler."))


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, TextClassifier):
        yield from linear_entries("classifier.dense", task.head.pooling.dense)
        yield from linear_entries("classifier.out_proj", task.head.logits)
    else:
        yield from bert.head_entries(task)


FAMILY = bert.bert_family(
    "BigBird",
    BigBirdBackbone,
    "bert.",
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    architectures=_ARCHITECTURES,
    # transformers leaves the pooler in all of them.
    with_optional=tuple(_ARCHITECTURES.values())[1:],
)
