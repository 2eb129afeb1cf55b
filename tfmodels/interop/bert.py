"""BERT's configuration and weight names in Hugging Face checkpoints, and what families that derive from it share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tfmodels.errors import UserError
from tfmodels.interop.family import Family
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import (
    BertBackbone,
    BertConfig,
    MaskedLM,
    PairClassifier,
    PairedMaskedLM,
    SpanClassifier,
    TextClassifier,
    TokenClassifier,
)

# Our field -> Hugging Face's.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
    "positions": "position_embedding_type",
}
# Hugging Face's name -> ours. The last of several is the one that is written.
_ACTIVATIONS = {
    "gelu_python": "gelu",
    "gelu": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_new": "gelu_new",
    "mish": "mish",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
}
_POSITIONS = ("absolute", "relative_key", "relative_key_query")


def config_from_hf(values: Mapping, config_class: type = BertConfig, **changes) -> BertConfig:
    """A configuration from the contents of config.json.

    Args:
        values: The contents; what is left out has `config_class`'s defaults.
        config_class: The class of a family that derives from BERT.
        **changes: Fields that the family reads otherwise, or has of its own.
    """
    fields = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    if "max_position_embeddings" in values:
        fields["max_sequence_length"] = values["max_position_embeddings"]
    fields |= changes
    if "hidden_act" in values:
        fields["activation"] = _known("hidden_act", values["hidden_act"], _ACTIVATIONS)
    _known("position_embedding_type", values.get("position_embedding_type", "absolute"), dict.fromkeys(_POSITIONS))
    return config_class(**fields)


def config_to_hf(config: BertConfig) -> dict:
    """The contents of config.json for a `BertConfig`."""
    if config.embedding_dim not in (None, config.hidden_dim):
        raise UserError("Hugging Face's BERT has no factorised embedding: embedding_dim must equal hidden_dim.")
    return shared_config_to_hf(config, "bert")


def shared_config_to_hf(config: BertConfig, model_type: str) -> dict:
    """The contents of config.json that families which derive from BERT have in common."""
    if not config.num_segments:
        raise UserError(
            f"Hugging Face's {model_type!r} always has segments: a model with num_segments=0 cannot be saved."
        )
    if config.attention is not None:
        raise UserError(
            f"Hugging Face's {model_type!r} has no {type(config.attention).__name__}: save such a model with "
            "model.save('NAME.keras')."
        )
    _known("positions", config.positions, dict.fromkeys(_POSITIONS))
    if config.positions != "absolute" and config.max_distance not in (None, config.num_positions - 1):
        raise UserError("transformers tells all distances apart: a model with a max_distance cannot be saved.")
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    activation = names[_known("activation", config.activation, {name: name for name in names})]
    return {
        "model_type": model_type,
        "hidden_act": activation,
        "max_position_embeddings": config.num_positions,
        "pad_token_id": 0,
        **values,
    }


def _known(field, value, table):
    if value not in table:
        raise UserError(f"{field} {value!r} has no counterpart: use one of {', '.join(table)}.")
    return table[value]


def backbone_entries(backbone: BertBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    parts = backbone.parts
    yield from embedding_entries(parts["embeddings"], f"{prefix}embeddings", backbone.config)
    for index, block in enumerate(parts["blocks"]):
        names = f"{prefix}encoder.layer.{index}"
        attention, feed_forward = block.attention, block.feed_forward
        yield from linear_entries(f"{names}.attention.self.query", attention.query)
        yield from linear_entries(f"{names}.attention.self.key", attention.key)
        yield from linear_entries(f"{names}.attention.self.value", attention.value)
        positions = getattr(attention, "positions", None)
        for variable in positions.variables if positions is not None else ():
            yield Entry(f"{names}.attention.self.distance_embedding.weight", variable)
        yield from linear_entries(f"{names}.attention.output.dense", attention.output_projection)
        yield from norm_entries(f"{names}.attention.output.LayerNorm", block.attention_norm)
        yield from linear_entries(f"{names}.intermediate.dense", feed_forward.intermediate)
        yield from linear_entries(f"{names}.output.dense", feed_forward.output_projection)
        yield from norm_entries(f"{names}.output.LayerNorm", block.feed_forward_norm)
    if "pooler" in parts:
        yield from linear_entries(f"{prefix}pooler.dense", parts["pooler"], optional=True)


def embedding_entries(embeddings, names: str, config: BertConfig) -> Iterator[Entry]:
    """Where the variables of a `TextEmbedding` lie."""
    yield Entry(f"{names}.word_embeddings.weight", embeddings.tokens)
    if embeddings.positions is not None:
        yield Entry(f"{names}.position_embeddings.weight", embeddings.positions.embeddings)
    else:
        # transformers keeps a table of absolute positions that relative ones leave unused.
        unused = np.zeros((config.num_positions, embeddings.embedding_dim), "float32")
        yield Entry(f"{names}.position_embeddings.weight", unused)
    yield Entry(f"{names}.token_type_embeddings.weight", embeddings.segments)
    yield from norm_entries(f"{names}.LayerNorm", embeddings.norm)


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, MaskedLM):
        yield from masked_lm_entries(task.head, "cls.predictions.transform.", "LayerNorm", "cls.predictions.bias")
        if isinstance(task, PairedMaskedLM):
            yield from linear_entries("cls.seq_relationship", task.head.pair.logits)
    elif isinstance(task, PairClassifier):
        yield from linear_entries("cls.seq_relationship", task.head.logits)
    else:
        yield from linear_entries("qa_outputs" if isinstance(task, SpanClassifier) else "classifier", task.head.logits)


def masked_lm_entries(head, prefix: str, norm: str, bias: str) -> Iterator[Entry]:
    """Where the variables of a `MaskedLM`'s head lie, but for the embedding table."""
    yield from linear_entries(f"{prefix}dense", head.transform)
    yield from norm_entries(f"{prefix}{norm}", head.norm)
    yield Entry(bias, head.bias)


# What transformers calls the heads for a pair of texts.
PAIR_HEADS = {"ForPreTraining": PairedMaskedLM, "ForNextSentencePrediction": PairClassifier}


def bert_family(
    name: str, backbone: type, prefix: str, pair_heads: Mapping[str, type] = PAIR_HEADS, **differences
) -> Family:
    """A family whose checkpoints are laid out as BERT's.

    Args:
        name: How transformers' classes begin, such as "Bert".
        backbone: The backbone's class.
        prefix: What stands before the encoder's tensors.
        pair_heads: The heads for a pair of texts that transformers has, by how their classes end.
        **differences: Attributes of `Family` that differ from BERT's.
    """
    return Family(
        **{
            "backbone": backbone,
            "prefix": prefix,
            "architectures": {
                f"{name}Model": backbone,
                f"{name}ForSequenceClassification": TextClassifier,
                f"{name}ForTokenClassification": TokenClassifier,
                f"{name}ForQuestionAnswering": SpanClassifier,
                f"{name}ForMaskedLM": MaskedLM,
                **{f"{name}{head}": task for head, task in pair_heads.items()},
            },
            "backbone_entries": backbone_entries,
            "head_entries": head_entries,
            "with_optional": (TextClassifier, *pair_heads.values()),
            "tied": {
                "cls.predictions.decoder.weight": f"{prefix}embeddings.word_embeddings.weight",
                "cls.predictions.decoder.bias": "cls.predictions.bias",
            },
            **differences,
        }
    )


FAMILY = bert_family("Bert", BertBackbone, "bert.", config_from_hf=config_from_hf, config_to_hf=config_to_hf)
