"""XLNet's configuration and weight names in Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodels.errors import UserError
from tfmodels.interop.family import Family
from tfmodels.interop.views import Reshaped, Rows
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import SpanClassifier, TextClassifier, TokenClassifier
from tfmodels.models.xlnet import PermutationLM, XLNetBackbone, XLNetConfig

# Our field -> Hugging Face's.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "hidden_dim": "d_model",
    "intermediate_dim": "d_inner",
    "activation": "ff_activation",
    "dropout": "dropout",
    "layer_norm_epsilon": "layer_norm_eps",
}
# Where we have None, transformers has these or null.
_UNBOUND = {"memory_length": ("mem_len", 0), "reuse_length": ("reuse_len", 0), "max_distance": ("clamp_len", -1)}
# What transformers offers and no released checkpoint has.
_FIXED = {
    "attn_type": "bi",
    "bi_data": False,
    "untie_r": True,
    "summary_type": "last",
    "summary_use_proj": True,
    "summary_activation": "tanh",
}


def config_from_hf(values: dict) -> XLNetConfig:
    """An `XLNetConfig` from the contents of config.json."""
    for name, value in _FIXED.items():
        if values.get(name, value) != value:
            raise UserError(f"{name}={values[name]!r} is not supported for XLNet: checkpoints have {value!r}.")
    if values.get("ff_activation", "gelu") not in ("gelu", "relu", "silu"):
        raise UserError(f"ff_activation {values['ff_activation']!r} is not supported: use one of gelu, relu, silu.")
    # What config.json may leave out has the defaults of transformers, which are XLNet-large.
    defaults = {"n_layer": 24, "d_model": 1024, "n_head": 16, "d_inner": 4096, "mem_len": 512}
    values = {**defaults, **values}
    fields = {ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values}
    for ours, (theirs, unbound) in _UNBOUND.items():
        value = values.get(theirs)
        fields[ours] = None if value is None or value <= unbound else value
    return XLNetConfig(**fields)


def config_to_hf(config: XLNetConfig) -> dict:
    """The contents of config.json for an `XLNetConfig`."""
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    for ours, (theirs, unbound) in _UNBOUND.items():
        value = getattr(config, ours)
        values[theirs] = value if value is not None else unbound if theirs == "clamp_len" else None
    return {"model_type": "xlnet", **_FIXED, **values}


def backbone_entries(backbone: XLNetBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    parts, config = backbone.parts, backbone.config
    table, vocabulary, width = parts["embeddings"].embeddings, config.vocabulary_size, config.hidden_dim
    yield Entry(f"{prefix}word_embedding.weight", Rows(table, 0, vocabulary))
    yield Entry(f"{prefix}mask_emb", Rows(table, vocabulary, vocabulary + 1, 1, 1, width))
    split = (width, config.num_heads, width // config.num_heads)
    for index, block in enumerate(parts["blocks"]):
        names = f"{prefix}layer.{index}.rel_attn"
        attention, feed_forward = block.attention, block.feed_forward
        for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("r", "relative")):
            yield Entry(f"{names}.{theirs}", Reshaped(getattr(attention, ours).kernel, *split))
        yield Entry(f"{names}.o", Heads(attention.output_projection.kernel, *split))
        yield Entry(f"{names}.r_w_bias", attention.biases.content)
        yield Entry(f"{names}.r_r_bias", attention.biases.distance)
        yield Entry(f"{names}.r_s_bias", attention.segments.bias)
        yield Entry(f"{names}.seg_embed", attention.segments.embeddings)
        yield from norm_entries(f"{names}.layer_norm", block.attention_norm)
        names = f"{prefix}layer.{index}.ff"
        yield from linear_entries(f"{names}.layer_1", feed_forward.intermediate)
        yield from linear_entries(f"{names}.layer_2", feed_forward.output_projection)
        yield from norm_entries(f"{names}.layer_norm", block.feed_forward_norm)


class Heads(Reshaped):
    """The output projection, float[N H, D] here and float[D, N, H] there."""

    def of(self, arrays):
        return arrays[0].T.reshape(self.target)

    def split(self, value, arrays):
        return [value.reshape(arrays[0].shape[::-1]).T]


def head_entries(task) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, PermutationLM):
        yield Entry("lm_loss.bias", task.head.bias)
    elif isinstance(task, TextClassifier):
        yield from linear_entries("sequence_summary.summary", task.settings["pooling"].dense)
        yield from linear_entries("logits_proj", task.head.logits)
    else:
        yield from linear_entries("qa_outputs" if isinstance(task, SpanClassifier) else "classifier", task.head.logits)


FAMILY = Family(
    backbone=XLNetBackbone,
    prefix="transformer.",
    architectures={
        "XLNetModel": XLNetBackbone,
        "XLNetLMHeadModel": PermutationLM,
        "XLNetForSequenceClassification": TextClassifier,
        "XLNetForTokenClassification": TokenClassifier,
        "XLNetForQuestionAnsweringSimple": SpanClassifier,
    },
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    tied={"lm_loss.weight": "transformer.word_embedding.weight"},
    classifier_dropout="summary_last_dropout",
)
