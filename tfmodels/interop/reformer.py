"""Reformer's configuration and weight names in Hugging Face checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tfmodels.errors import UserError
from tfmodels.interop.family import Family
from tfmodels.interop.views import Reshaped
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import SpanClassifier, TextClassifier
from tfmodels.models.reformer import (
    LocalAttention,
    LSHAttention,
    ReformerBackbone,
    ReformerConfig,
    ReformerLM,
    ReformerMaskedLM,
)

# Our field -> Hugging Face's.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "feed_forward_size",
    "head_dim": "attention_head_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_LOCAL = {
    "chunk_length": "local_attn_chunk_length",
    "chunks_before": "local_num_chunks_before",
    "chunks_after": "local_num_chunks_after",
    "dropout": "local_attention_probs_dropout_prob",
}
_LSH = {
    "chunk_length": "lsh_attn_chunk_length",
    "chunks_before": "lsh_num_chunks_before",
    "chunks_after": "lsh_num_chunks_after",
    "dropout": "lsh_attention_probs_dropout_prob",
    "num_buckets": "num_buckets",
    "num_hashes": "num_hashes",
}
_KINDS = {"local": (LocalAttention, _LOCAL), "lsh": (LSHAttention, _LSH)}
# What config.json may leave out has the defaults of transformers.
_DEFAULTS = {
    "vocab_size": 320,
    "num_attention_heads": 12,
    "hidden_size": 256,
    "feed_forward_size": 512,
    "attention_head_size": 64,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.05,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 4096,
    "attn_layers": ["local", "lsh"] * 3,
    "axial_pos_embds": True,
    "axial_pos_shape": [64, 64],
    "axial_pos_embds_dim": [64, 192],
    "local_attn_chunk_length": 64,
    "local_num_chunks_before": 1,
    "local_num_chunks_after": 0,
    "local_attention_probs_dropout_prob": 0.05,
    "lsh_attn_chunk_length": 64,
    "lsh_num_chunks_before": 1,
    "lsh_num_chunks_after": 0,
    "lsh_attention_probs_dropout_prob": 0.0,
    "num_buckets": None,
    "num_hashes": 1,
    "is_decoder": False,
    "tie_word_embeddings": False,
    "chunk_size_feed_forward": 0,
}


def config_from_hf(values: Mapping) -> ReformerConfig:
    """A `ReformerConfig` from the contents of config.json."""
    values = {**_DEFAULTS, **values}
    if values["tie_word_embeddings"]:
        raise UserError("tie_word_embeddings is not supported for Reformer: its output layer is twice as wide.")
    kinds = {}
    for name, (kind, fields) in _KINDS.items():
        settings = {ours: values[theirs] for ours, theirs in fields.items()}
        kinds[name] = kind(causal=values["is_decoder"], circular=True, **settings)
    unknown = set(values["attn_layers"]) - set(kinds)
    if unknown or not values["attn_layers"]:
        raise UserError(f"attn_layers={values['attn_layers']} is not supported: layers are 'local' or 'lsh'.")
    length, shape = values["max_position_embeddings"], values["axial_pos_shape"]
    return ReformerConfig(
        **{ours: values[theirs] for ours, theirs in _FIELDS.items()},
        num_layers=len(values["attn_layers"]),
        attention=tuple(kinds[name] for name in values["attn_layers"]),
        max_sequence_length=min(length, math.prod(shape)) if values["axial_pos_embds"] else length,
        axial_shape=shape if values["axial_pos_embds"] else None,
        axial_dims=values["axial_pos_embds_dim"] if values["axial_pos_embds"] else None,
        feed_forward_chunk=values["chunk_size_feed_forward"] or None,
    )


def _kind_to_hf(kind, config):
    """What transformers calls a kind of attention, and its settings."""
    name = next((name for name, (known, _) in _KINDS.items() if type(kind) is known), None)
    if name is None:
        raise UserError(f"transformers has no Reformer with {type(kind).__name__}: this cannot be saved.")
    # Causal neighbours see nothing beyond an end in either case.
    if not kind.circular and not (name == "local" and kind.causal):
        raise UserError(
            "transformers' Reformer sees the last chunk before the first: give the kinds of attention circular=True to "
            "save it."
        )
    own = {"chunks_after": kind.after, "dropout": config.attention_dropout if kind.dropout is None else kind.dropout}
    return name, {theirs: own.get(ours, getattr(kind, ours)) for ours, theirs in _KINDS[name][1].items()}


def config_to_hf(config: ReformerConfig) -> dict:
    """The contents of config.json for a `ReformerConfig`."""
    values = {"model_type": "reformer", "attn_layers": []}
    for index in range(config.num_layers):
        name, fields = _kind_to_hf(config.attention[index % len(config.attention)], config)
        if any(values.get(theirs, value) != value for theirs, value in fields.items()):
            raise UserError(
                "transformers' Reformer has the same settings in all layers of a kind: this cannot be saved."
            )
        values |= fields
        values["attn_layers"].append(name)
    if config.axial_shape is not None and config.axial_dims is None:
        raise UserError("transformers' Reformer has axial vectors side by side: give axial_dims to save it.")
    buckets = values.get("num_buckets")
    return {
        **values,
        "num_buckets": list(buckets) if isinstance(buckets, tuple) else buckets,
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "attention_head_size": config.head_dim or config.hidden_dim // config.num_heads,
        "max_position_embeddings": config.max_sequence_length,
        "axial_pos_embds": config.axial_shape is not None,
        **({"axial_pos_shape": list(config.axial_shape)} if config.axial_shape else {}),
        **({"axial_pos_embds_dim": list(config.axial_dims)} if config.axial_shape else {}),
        "is_decoder": config.is_causal,
        "chunk_size_feed_forward": config.feed_forward_chunk or 0,
    }


def backbone_entries(backbone: ReformerBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    embeddings, positions = backbone.parts["embeddings"], backbone.parts["embeddings"].positions
    yield Entry(f"{prefix}embeddings.word_embeddings.weight", embeddings.tokens.tokens)
    names = f"{prefix}embeddings.position_embeddings"
    if backbone.config.axial_shape is None:
        yield Entry(f"{names}.embedding.weight", positions.embeddings)
    else:
        rows, columns = positions.tables
        yield Entry(f"{names}.weights.0", Reshaped(rows, rows.shape[0], 1, rows.shape[1]))
        yield Entry(f"{names}.weights.1", Reshaped(columns, 1, *columns.shape))
    for index, block in enumerate(backbone.parts["stack"].blocks):
        names, attention = f"{prefix}encoder.layers.{index}", block.attention
        yield from norm_entries(f"{names}.attention.layer_norm", block.attention_norm)
        projections = {"query_key": attention.query, "value": attention.value}
        if not attention.shares_keys:
            projections = {"query": attention.query, "key": attention.key, "value": attention.value}
        for name, projection in projections.items():
            yield Entry(f"{names}.attention.self_attention.{name}.weight", projection.kernel, transpose=True)
        yield Entry(f"{names}.attention.output.dense.weight", attention.output_projection.kernel, transpose=True)
        yield from norm_entries(f"{names}.feed_forward.layer_norm", block.feed_forward_norm)
        feed_forward = getattr(block.feed_forward, "feed_forward", block.feed_forward)
        yield from linear_entries(f"{names}.feed_forward.dense.dense", feed_forward.intermediate)
        yield from linear_entries(f"{names}.feed_forward.output.dense", feed_forward.output_projection)
    yield from norm_entries(f"{prefix}encoder.layer_norm", backbone.parts["norm"])


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, SpanClassifier):
        yield from linear_entries("qa_outputs", task.head.logits)
    elif isinstance(task, TextClassifier):
        if task.backbone.config.is_causal:
            raise UserError(
                "transformers classifies by the first token, which sees nothing else in a causal Reformer: use the "
                "backbone alone, or attention that is not causal."
            )
        yield from linear_entries("classifier.dense", task.head.pooling.dense)
        yield from linear_entries("classifier.out_proj", task.head.logits)
    else:
        yield Entry("lm_head.decoder.weight", task.head.logits.kernel, transpose=True)
        yield Entry("lm_head.bias", task.head.logits.bias)


FAMILY = Family(
    backbone=ReformerBackbone,
    prefix="reformer.",
    architectures={
        "ReformerModel": ReformerBackbone,
        "ReformerModelWithLMHead": ReformerLM,
        "ReformerForMaskedLM": ReformerMaskedLM,
        "ReformerForSequenceClassification": TextClassifier,
        "ReformerForQuestionAnswering": SpanClassifier,
    },
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    tied={"lm_head.decoder.bias": "lm_head.bias"},
    # Numbers of masks, which old checkpoints hold.
    ignored=("_float16", "_float32"),
)
