"""RoBERTa's configuration and weight names in Hugging Face checkpoints: what differs from BERT's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfmodels.interop import bert
from tfmodels.interop.weights import Entry, linear_entries
from tfmodels.models import MaskedLM, RobertaBackbone, RobertaConfig, TextClassifier

# What config.json may leave out has transformers' defaults, which are BERT's rather than the published models'.
_DEFAULTS = {"max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1}


def config_from_hf(values: Mapping) -> RobertaConfig:
    """A `RobertaConfig` from the contents of config.json."""
    values = {**_DEFAULTS, **values}
    padding_id = values["pad_token_id"]
    # transformers counts the rows of the table, of which the first ones belong to no token.
    length = values["max_position_embeddings"] - padding_id - 1
    return bert.config_from_hf(values, RobertaConfig, padding_id=padding_id, max_sequence_length=length)


def config_to_hf(config: RobertaConfig) -> dict:
    """The contents of config.json for a `RobertaConfig`."""
    return {
        **bert.shared_config_to_hf(config, "roberta"),
        "pad_token_id": config.padding_id,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, MaskedLM):
        yield from bert.masked_lm_entries(task.head, "lm_head.", "layer_norm", "lm_head.bias")
    elif isinstance(task, TextClassifier):
        yield from linear_entries("classifier.dense", task.head.pooling.dense)
        yield from linear_entries("classifier.out_proj", task.head.logits)
    else:
        yield from bert.head_entries(task)


FAMILY = bert.bert_family(
    "Roberta",
    RobertaBackbone,
    "roberta.",
    pair_heads={},
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    head_entries=head_entries,
    with_optional=(),
    tied={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
)
