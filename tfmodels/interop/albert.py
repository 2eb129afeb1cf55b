"""ALBERT's configuration and weight names in Hugging Face checkpoints: what differs from BERT's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfmodels.errors import UserError
from tfmodels.interop import bert
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import AlbertBackbone, AlbertConfig, MaskedLM, PairedMaskedLM

# What config.json may leave out has transformers' defaults: those of xxlarge.
_DEFAULTS = {"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16_384, "num_hidden_layers": 12}


def config_from_hf(values: Mapping) -> AlbertConfig:
    """An `AlbertConfig` from the contents of config.json."""
    values = {**_DEFAULTS, **values}
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(f"position_embedding_type {values['position_embedding_type']!r} is not supported for ALBERT.")
    inner_layers = values.get("inner_group_num", 1)
    return bert.config_from_hf(
        values,
        AlbertConfig,
        embedding_dim=values.get("embedding_size", 128),
        num_groups=values.get("num_hidden_groups", 1),
        inner_layers=inner_layers,
        num_layers=values["num_hidden_layers"] * inner_layers,
    )


def config_to_hf(config: AlbertConfig) -> dict:
    """The contents of config.json for an `AlbertConfig`."""
    if config.sharing != "all":
        raise UserError(
            f"Hugging Face's ALBERT shares whole layers: sharing={config.sharing!r} cannot be saved (a group for every "
            'layer, sharing="all" with num_groups=num_layers, shares nothing).'
        )
    if config.positions != "absolute":
        raise UserError(f"Hugging Face's ALBERT scales {config.positions!r} otherwise: it cannot be saved.")
    return {
        **bert.shared_config_to_hf(config, "albert"),
        "num_hidden_layers": config.num_layers // config.inner_layers,
        "embedding_size": config.embedding_dim,
        "num_hidden_groups": config.num_groups,
        "inner_group_num": config.inner_layers,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }


def backbone_entries(backbone: AlbertBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie; a layer that stands at several places lies in its group's one place."""
    parts = backbone.parts
    embeddings = parts["embeddings"]
    yield from bert.embedding_entries(embeddings, f"{prefix}embeddings", backbone.config)
    yield from linear_entries(f"{prefix}encoder.embedding_hidden_mapping_in", embeddings.widen)
    for index, block in enumerate(dict.fromkeys(parts["blocks"])):
        group, inner = divmod(index, backbone.config.inner_layers)
        names = f"{prefix}encoder.albert_layer_groups.{group}.albert_layers.{inner}"
        attention, feed_forward = block.attention, block.feed_forward
        yield from linear_entries(f"{names}.attention.query", attention.query)
        yield from linear_entries(f"{names}.attention.key", attention.key)
        yield from linear_entries(f"{names}.attention.value", attention.value)
        yield from linear_entries(f"{names}.attention.dense", attention.output_projection)
        yield from norm_entries(f"{names}.attention.LayerNorm", block.attention_norm)
        yield from linear_entries(f"{names}.ffn", feed_forward.intermediate)
        yield from linear_entries(f"{names}.ffn_output", feed_forward.output_projection)
        yield from norm_entries(f"{names}.full_layer_layer_norm", block.feed_forward_norm)
    yield from linear_entries(f"{prefix}pooler", parts["pooler"], optional=True)


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, MaskedLM):
        yield from bert.masked_lm_entries(task.head, "predictions.", "LayerNorm", "predictions.bias")
        if isinstance(task, PairedMaskedLM):
            yield from linear_entries("sop_classifier.classifier", task.head.pair.logits)
    else:
        yield from bert.head_entries(task)


FAMILY = bert.bert_family(
    "Albert",
    AlbertBackbone,
    "albert.",
    pair_heads={"ForPreTraining": PairedMaskedLM},
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    tied={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    classifier_dropout="classifier_dropout_prob",
)
