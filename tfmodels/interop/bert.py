"""BERT's configuration and weight names in Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodels.errors import UserError
from tfmodels.interop.weights import Entry
from tfmodels.models import BertBackbone, BertConfig, MaskedLM, SpanClassifier, TextClassifier, TokenClassifier

# Our field -> Hugging Face's.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
}
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu", "swish": "silu"}

BACKBONE = BertBackbone
ARCHITECTURES = {
    "BertModel": BertBackbone,
    "BertForSequenceClassification": TextClassifier,
    "BertForTokenClassification": TokenClassifier,
    "BertForQuestionAnswering": SpanClassifier,
    "BertForMaskedLM": MaskedLM,
}


def config_from_hf(values: dict) -> BertConfig:
    """A `BertConfig` from the contents of config.json."""
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(f"position_embedding_type {values['position_embedding_type']!r} is not supported for BERT yet.")
    activation = values.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise UserError(f"hidden_act {activation!r} is not supported: use one of {', '.join(_ACTIVATIONS)}.")
    fields = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    return BertConfig(**fields, activation=_ACTIVATIONS[activation])


def config_to_hf(config: BertConfig) -> dict:
    """The contents of config.json for a `BertConfig`."""
    if config.embedding_dim not in (None, config.hidden_dim):
        raise UserError("Hugging Face's BERT has no factorised embedding: embedding_dim must equal hidden_dim.")
    if not config.num_segments:
        raise UserError("Hugging Face's BERT always has segments: num_segments must be at least 1.")
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return {"model_type": "bert", "hidden_act": config.activation, "pad_token_id": 0, **values}


def backbone_entries(backbone: BertBackbone, prefix: str = "", pooler: bool = True) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    parts = backbone.parts
    embeddings = parts["embeddings"]
    names = f"{prefix}embeddings"
    yield Entry(f"{names}.word_embeddings.weight", embeddings.tokens)
    yield Entry(f"{names}.position_embeddings.weight", embeddings.positions.embeddings)
    yield Entry(f"{names}.token_type_embeddings.weight", embeddings.segments)
    yield from _norm(f"{names}.LayerNorm", embeddings.norm)
    for index, block in enumerate(parts["blocks"]):
        names = f"{prefix}encoder.layer.{index}"
        attention, feed_forward = block.attention, block.feed_forward
        yield from _linear(f"{names}.attention.self.query", attention.query)
        yield from _linear(f"{names}.attention.self.key", attention.key)
        yield from _linear(f"{names}.attention.self.value", attention.value)
        yield from _linear(f"{names}.attention.output.dense", attention.output_projection)
        yield from _norm(f"{names}.attention.output.LayerNorm", block.attention_norm)
        yield from _linear(f"{names}.intermediate.dense", feed_forward.intermediate)
        yield from _linear(f"{names}.output.dense", feed_forward.output_projection)
        yield from _norm(f"{names}.output.LayerNorm", block.feed_forward_norm)
    if pooler:
        yield from _linear(f"{prefix}pooler.dense", parts["pooler"])


def entries(model) -> Iterator[Entry]:
    """Where every variable of a backbone or task lies in a checkpoint that transformers loads and saves."""
    if isinstance(model, BertBackbone):
        yield from backbone_entries(model)
        return
    # transformers builds the pooler only where the head uses it.
    yield from backbone_entries(model.backbone, "bert.", pooler=isinstance(model, TextClassifier))
    if isinstance(model, MaskedLM):
        yield from _linear("cls.predictions.transform.dense", model.head.transform)
        yield from _norm("cls.predictions.transform.LayerNorm", model.head.norm)
        yield Entry("cls.predictions.bias", model.head.bias)
    else:
        yield from _linear("qa_outputs" if isinstance(model, SpanClassifier) else "classifier", model.head.logits)


def _linear(name, layer):
    yield Entry(f"{name}.weight", layer.kernel, transpose=True)
    yield Entry(f"{name}.bias", layer.bias)


def _norm(name, layer):
    yield Entry(f"{name}.weight", layer.gamma)
    yield Entry(f"{name}.bias", layer.beta)
