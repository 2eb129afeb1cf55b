"""ERNIE's configuration and weight names in Hugging Face checkpoints: what differs from BERT's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfmodels.interop import bert
from tfmodels.interop.weights import Entry
from tfmodels.models import ErnieBackbone, ErnieConfig


def config_from_hf(values: Mapping) -> ErnieConfig:
    """An `ErnieConfig` from the contents of config.json; "task_id" is a key of ours that transformers passes on."""
    num_tasks = values.get("task_type_vocab_size", 3) if values.get("use_task_id", False) else 0
    return bert.config_from_hf(values, ErnieConfig, num_tasks=num_tasks, task_id=values.get("task_id", 0))


def config_to_hf(config: ErnieConfig) -> dict:
    """The contents of config.json for an `ErnieConfig`."""
    values = {**bert.shared_config_to_hf(config, "ernie"), "use_task_id": config.num_tasks > 0}
    if config.num_tasks:
        values |= {"task_type_vocab_size": config.num_tasks, "task_id": config.task_id}
    return values


def backbone_entries(backbone: ErnieBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie: where BERT's do, and the vectors of tasks."""
    yield from bert.backbone_entries(backbone, prefix)
    if backbone.config.num_tasks:
        yield Entry(f"{prefix}embeddings.task_type_embeddings.weight", backbone.parts["tasks"].tasks)


FAMILY = bert.bert_family(
    "Ernie",
    ErnieBackbone,
    "ernie.",
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
)
