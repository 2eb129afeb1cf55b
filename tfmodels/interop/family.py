"""What a family of models states about its Hugging Face checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from tfmodels.interop.weights import Entry
from tfmodels.models import Backbone


@dataclasses.dataclass(frozen=True)
class Family:
    """One family's names: enough for `from_hf` and `to_hf` to go both ways.

    A module of this room holds one as `FAMILY`; a line in `hf.py`'s `_FAMILIES` registers it under config.json's
    `model_type`.

    Attributes:
        backbone: The backbone's class.
        prefix: What transformers puts before the encoder's tensors in a model with a head, such as "bert.".
        architectures: transformers' classes by name -> ours, the backbone's class among them.
        config_from_hf: From config.json's contents to the backbone's configuration.
        config_to_hf: And back.
        backbone_entries: `backbone_entries(backbone, prefix)`, where its variables lie. An optional entry is a part
            that transformers leaves out of some models, such as BERT's pooler.
        head_entries: `head_entries(task)`, where the variables of the task's head lie.
        has_counterpart: `has_counterpart(task)`, whether transformers has this very task, where its class alone does
            not say so.
        with_optional: The tasks whose counterparts in transformers have the optional parts.
        tied: Tensors that are another tensor once more, by name: duplicate -> original.
        ignored: Endings of the names of tensors that hold nothing learned, such as buffers.
        classifier_dropout: config.json's name for the dropout of a classifier's head.
    """

    backbone: type
    prefix: str
    architectures: Mapping[str, type]
    config_from_hf: Callable
    config_to_hf: Callable
    backbone_entries: Callable
    head_entries: Callable
    has_counterpart: Callable = lambda task: True
    with_optional: tuple[type, ...] = ()
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = (".position_ids", ".token_type_ids")
    classifier_dropout: str = "classifier_dropout"

    def entries(self, model) -> Iterator[Entry]:
        """Where every variable of a backbone or task lies in the checkpoint that transformers saves of it.

        Entries that are optional here are read where they are found and never written.
        """
        is_backbone = isinstance(model, Backbone)
        is_whole = is_backbone or isinstance(model, self.with_optional)
        for entry in self.backbone_entries(
            model if is_backbone else model.backbone, "" if is_backbone else self.prefix
        ):
            yield entry._replace(optional=entry.optional and not is_whole)
        if not is_backbone:
            yield from self.head_entries(model)
