"""Transformer-XL's configuration and weight names in Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodels.errors import UserError
from tfmodels.interop.family import Family
from tfmodels.interop.views import Columns
from tfmodels.interop.weights import Entry, linear_entries, norm_entries
from tfmodels.models import TextClassifier
from tfmodels.models.transformer_xl import AdaptiveLM, TransformerXLBackbone, TransformerXLConfig

# Our field -> Hugging Face's.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "hidden_dim": "d_model",
    "intermediate_dim": "d_inner",
    "head_dim": "d_head",
    "embedding_dim": "d_embed",
    "cutoffs": "cutoffs",
    "shrinkage": "div_val",
    "dropout": "dropout",
    "attention_dropout": "dropatt",
    "norm_first": "pre_lnorm",
    "layer_norm_epsilon": "layer_norm_epsilon",
    "memory_length": "mem_len",
}
# What config.json may leave out has the defaults of transformers, which are the large model on WikiText-103.
_DEFAULTS = {
    "vocab_size": 267_735,
    "n_layer": 18,
    "n_head": 16,
    "d_model": 1024,
    "d_inner": 4096,
    "d_head": 64,
    "d_embed": 1024,
    "cutoffs": (20_000, 40_000, 200_000),
    "div_val": 4,
    "mem_len": 1600,
    "clamp_len": 1000,
    "same_length": True,
}
# What transformers offers and we do not.
_FIXED = {"attn_type": 0, "untie_r": True, "sample_softmax": -1, "tie_word_embeddings": True}


def config_from_hf(values: dict) -> TransformerXLConfig:
    """A `TransformerXLConfig` from the contents of config.json."""
    for name, value in _FIXED.items():
        if values.get(name, value) != value:
            raise UserError(f"{name}={values[name]!r} is not supported for Transformer-XL: it must be {value!r}.")
    values = {**_DEFAULTS, **values}
    tied = values.get("tie_projs") or [False] + [values.get("proj_share_all_but_first", True)] * len(values["cutoffs"])
    if tied[0] or len(set(tied[1:])) > 1:
        raise UserError(f"tie_projs={tied} is not supported: the first must be false and the others alike.")
    return TransformerXLConfig(
        **{ours: values[theirs] for ours, theirs in _FIELDS.items() if theirs in values},
        tie_projections=all(tied[1:]),
        # "same length" lets every query see as many tokens as the memory holds.
        attention_span=values["mem_len"] if values["same_length"] and values["mem_len"] else None,
        max_distance=values["clamp_len"] if values["clamp_len"] > 0 else None,
    )


def config_to_hf(config: TransformerXLConfig) -> dict:
    """The contents of config.json for a `TransformerXLConfig`."""
    if config.share_biases or config.activation != "relu":
        raise UserError("Hugging Face's Transformer-XL has relu and biases of each layer's own: this cannot be saved.")
    if config.memory_length is None or config.attention_span not in (None, config.memory_length):
        raise UserError(
            "Hugging Face's Transformer-XL needs a memory_length, and as attention_span None or the same number."
        )
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return {
        "model_type": "transfo-xl",
        **_FIXED,
        **values,
        "cutoffs": list(config.cutoffs),
        "d_head": config.head_dim or config.hidden_dim // config.num_heads,
        "d_embed": config.embedding_dim or config.hidden_dim,
        "proj_share_all_but_first": config.tie_projections,
        "same_length": config.attention_span is not None,
        "clamp_len": -1 if config.max_distance is None else config.max_distance,
    }


def backbone_entries(backbone: TransformerXLBackbone, prefix: str) -> Iterator[Entry]:
    """Where the backbone's variables lie in a checkpoint whose encoder is called `prefix`."""
    embeddings = backbone.parts["embeddings"]
    for index, table in enumerate(embeddings.tables):
        yield Entry(f"{prefix}word_emb.emb_layers.{index}.weight", table)
    for index, projection in enumerate(embeddings.projections):
        yield Entry(f"{prefix}word_emb.emb_projs.{index}", projection)
    for index, block in enumerate(backbone.parts["blocks"]):
        names = f"{prefix}layers.{index}.dec_attn"
        attention, feed_forward = block.attention, block.feed_forward
        kernels = (attention.query.kernel, attention.key.kernel, attention.value.kernel)
        yield Entry(f"{names}.qkv_net.weight", Columns(*kernels), transpose=True)
        yield Entry(f"{names}.r_net.weight", attention.relative.kernel, transpose=True)
        yield Entry(f"{names}.o_net.weight", attention.output_projection.kernel, transpose=True)
        yield Entry(f"{names}.r_w_bias", attention.biases.content)
        yield Entry(f"{names}.r_r_bias", attention.biases.distance)
        yield from norm_entries(f"{names}.layer_norm", block.attention_norm)
        names = f"{prefix}layers.{index}.pos_ff"
        yield from linear_entries(f"{names}.CoreNet.0", feed_forward.intermediate)
        yield from linear_entries(f"{names}.CoreNet.3", feed_forward.output_projection)
        yield from norm_entries(f"{names}.layer_norm", block.feed_forward_norm)


def head_entries(task: AdaptiveLM | TextClassifier) -> Iterator[Entry]:
    """Where the variables of the task's head lie."""
    if isinstance(task, TextClassifier):
        yield Entry("score.weight", task.head.logits.kernel, transpose=True)
        return
    softmax = task.head.softmax
    if softmax.cutoffs:
        yield Entry("crit.cluster_weight", softmax.cluster_kernel)
        yield Entry("crit.cluster_bias", softmax.cluster_bias)
    for index, bias in enumerate(softmax.biases):
        yield Entry(f"crit.out_layers.{index}.bias", bias)
    tied = {id(projection) for projection in softmax.embedding.projections}
    for index, projection in enumerate(softmax.projections):
        if id(projection) not in tied:
            yield Entry(f"crit.out_projs.{index}", projection)


def has_counterpart(task) -> bool:
    """Whether transformers has this very task: it classifies vectors of as many numbers as an embedding has."""
    config = task.backbone.config
    return not isinstance(task, TextClassifier) or config.embedding_dim in (None, config.hidden_dim)


FAMILY = Family(
    backbone=TransformerXLBackbone,
    prefix="transformer.",
    architectures={
        "TransfoXLModel": TransformerXLBackbone,
        "TransfoXLLMHeadModel": AdaptiveLM,
        # For batches of several texts it wants a pad_token_id in config.json: padding has no id here.
        "TransfoXLForSequenceClassification": TextClassifier,
    },
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    backbone_entries=backbone_entries,
    head_entries=head_entries,
    has_counterpart=has_counterpart,
    # More clusters than any model has.
    tied={f"crit.out_layers.{i}.weight": f"transformer.word_emb.emb_layers.{i}.weight" for i in range(16)},
    ignored=(".inv_freq",),
)
