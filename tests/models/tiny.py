"""A tiny size of every registered model. A new family adds a line."""

import tfmodels
from tfmodels.models import BigBirdAttention, ETCAttention

# Sizes are no powers of two, and no two are equal.
_BERT = {
    "vocabulary_size": 51,
    "num_layers": 3,
    "num_heads": 2,
    "hidden_dim": 14,
    "intermediate_dim": 19,
    "max_sequence_length": 16,
}
_XL = {name: size for name, size in _BERT.items() if name != "max_sequence_length"}
# Chunks, rounds and factors of several, all smaller than a row.
_REFORMER = {
    "head_dim": 5,
    "axial_shape": (2, 8),
    "axial_dims": (5, 9),
    "feed_forward_chunk": 6,
    "attention": [
        {"kind": "LocalAttention", "chunk_length": 4, "causal": True},
        {"kind": "LSHAttention", "chunk_length": 3, "num_buckets": [2, 4], "num_hashes": 3, "causal": True},
    ],
}
# By the name of the configuration's class.
_TINY = {
    "AlbertConfig": {**_BERT, "embedding_dim": 6},
    "AwdLSTMConfig": {"vocabulary_size": 51, "num_layers": 3, "hidden_dim": 14, "intermediate_dim": 19},
    "BertConfig": _BERT,
    # Blocks so small that all but the shortest rows are sparse.
    "BigBirdConfig": {**_BERT, "attention": BigBirdAttention(block_size=1, num_random_blocks=2)},
    "BPTransformerConfig": _BERT,
    "BilstmConfig": {"vocabulary_size": 51, "num_layers": 2, "hidden_dim": 14, "embedding_dim": 9, "dense_dim": 11},
    "DATransformerConfig": {**_BERT, "embedding_dim": 9},
    "ElectraConfig": {**_BERT, "embedding_dim": 6},
    "ErnieConfig": _BERT,
    "ETCConfig": {**_BERT, "attention": ETCAttention(radius=3, tokens_per_global=4, max_distance=2)},
    "MultiScaleConfig": {name: size for name, size in _BERT.items() if name != "intermediate_dim"},
    "NezhaConfig": {**_BERT, "max_distance": 4},
    "ReformerConfig": {**_BERT, **_REFORMER},
    "RobertaConfig": _BERT,
    "SetTransformerConfig": {name: size for name, size in _BERT.items() if name != "intermediate_dim"},
    "StarTransformerConfig": {name: size for name, size in _BERT.items() if name != "intermediate_dim"},
    "TransformerXLConfig": {
        **_XL,
        "cutoffs": (20, 35),
        "embedding_dim": 12,
        "shrinkage": 2,
        "head_dim": 5,
        # Presets that differ in these alone are one model here.
        "tie_projections": True,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "memory_length": 384,
    },
    "XLNetConfig": _XL,
}


def tiny_config(name, **overrides):
    """The configuration of a registered model at a tiny size."""
    _, preset = tfmodels.describe_model(name)
    return preset.config.replace(**{**_TINY[type(preset.config).__name__], **overrides})


def tiny(name="bert_tiny", dtype=None, **overrides):
    """A registered model with random weights, at a size that takes milliseconds."""
    return tfmodels.create_model(name, dtype=dtype, **tiny_config(name, **overrides).to_dict())
