"""BP-Transformer, Star-Transformer and Multi-Scale as models, and as kinds of attention in blocks of BERT's kind."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_gradients_reach, random_sum, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import BertConfig, BinaryPartition, MultiScale, Star
from tfmodels.ops import Partition

KINDS = [
    {"kind": "BinaryPartition", "density": 2, "num_levels": 2},
    {"kind": "BinaryPartition", "density": 1, "causal": True},
    {"kind": "Star"},
    {"kind": "MultiScale", "scales": [2, 0.5], "heads": [1, 1]},
    {"kind": "MultiScale", "scales": [1, 3], "causal": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_kind_from_json_works_in_blocks_of_berts_kind(kind):
    model = tiny("bert_tiny", num_layers=2, attention=kind)
    assert model.config.attention.to_dict() == {**type(model.config.attention)().to_dict(), **_tuples(kind)}
    outputs = to_numpy(model(token_batch([9, 3, 0])))
    assert outputs["sequence_output"].shape == (3, 9, 14) and outputs["pooled_output"].shape == (3, 14)
    assert all(np.isfinite(value).all() for value in outputs.values())
    check_gradients_reach(lambda: random_sum(model(token_batch([9, 7]))), model.trainable_variables)
    padded = to_numpy(model(token_batch([9, 3, 0], length=15)))
    assert_close(padded["sequence_output"][0, :9], outputs["sequence_output"][0], 1e-5)
    assert_close(padded["pooled_output"][:2], outputs["pooled_output"][:2], 1e-5)


def _tuples(values):
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


@pytest.mark.parametrize(
    "name, changes",
    [
        ("bp_transformer_text8", {}),
        ("multi_scale_transformer", {"attention": MultiScale((1, 4), heads=(1, 1), causal=True)}),
    ],
)
def test_no_output_of_a_causal_model_knows_a_token_behind_it(name, changes):
    model, length = tiny(name, **changes), 15
    batch = token_batch([length] * length)
    batch["token_ids"][:] = batch["token_ids"][0]
    plain = to_numpy(model(batch))["sequence_output"]
    batch["token_ids"][np.arange(length), np.arange(length)] += 1
    changed = (to_numpy(model(batch))["sequence_output"] != plain).any(axis=-1)
    assert not np.tril(changed, -1).any()
    assert np.diag(changed).all()
    assert model.config.is_causal


def test_the_text_of_a_bp_transformer_is_read_off_its_root():
    model = tiny("bp_transformer")
    batch = token_batch([11, 5, 1])
    nodes = model.parts["nodes"](
        model.parts["embeddings"](batch["token_ids"], batch["segment_ids"], batch["padding_mask"]),
        batch["padding_mask"],
    )
    x = nodes["nodes"]
    for block in model.parts["blocks"]:
        mask = to_numpy(nodes["is_real"])[:, None, None]
        x = block(x, attention_mask=mask, attention_inputs={"token_mask": batch["padding_mask"]})
    starts = Partition(11).starts
    roots = [int(starts[4]), int(starts[3]), 0]
    outputs = to_numpy(model(batch))
    assert_close(outputs["pooled_output"], to_numpy(x)[np.arange(3), roots], 1e-6)
    assert_close(outputs["sequence_output"], to_numpy(x)[:, :11], 1e-6)


def test_the_text_of_a_star_transformer_is_its_relay_and_its_largest_numbers():
    model, batch = tiny("star_transformer"), token_batch([9, 4])
    embeddings = model.parts["embeddings"](batch["token_ids"], batch["segment_ids"], batch["padding_mask"])
    nodes = model.parts["nodes"](embeddings, batch["padding_mask"])["nodes"]
    assert_close(to_numpy(nodes)[1, 0], to_numpy(embeddings)[1, :4].mean(axis=0), 1e-6)
    mask = np.pad(batch["padding_mask"], ((0, 0), (1, 0)), constant_values=True)[:, None, None]
    for block in model.parts["blocks"]:
        nodes = block(nodes, attention_mask=mask, attention_inputs={"embeddings": embeddings})
    relay, satellites = to_numpy(nodes)[:, 0], to_numpy(nodes)[:, 1:]
    largest = np.stack([satellites[0].max(axis=0), satellites[1, :4].max(axis=0)])
    assert_close(to_numpy(model(batch))["pooled_output"], (relay + largest) / 2, 1e-6)


def test_low_layers_prefer_small_scales_and_the_last_one_none():
    kind = MultiScale(alpha=0.5)
    layers = [kind.distribution(10, 3, index) for index in range(3)]
    # Of 4.29, 2.60, 1.58, 0.96, 0.58, which is softmax(2, 1.5, 1, 0.5, 0) times ten, and 3.10, 2.41, 1.88, 1.46,
    # 1.14.
    assert layers == [(4, 3, 1, 1, 1), (3, 2, 2, 2, 1), (2, 2, 2, 2, 2)]
    assert all(sum(layer) == 10 for layer in layers)
    assert MultiScale(alpha=0.0).distribution(10, 3, 0) == (2, 2, 2, 2, 2)
    assert MultiScale(alpha=50.0).distribution(10, 3, 0) == (10, 0, 0, 0, 0)
    assert MultiScale(alpha=-0.5).distribution(10, 3, 0) == (1, 1, 1, 3, 4)
    assert MultiScale(alpha=0.3).distribution(2, 5, 1) == (1, 1, 0, 0, 0)


def test_every_layer_has_its_own_scales():
    model = tiny("multi_scale_transformer", num_heads=7, attention=MultiScale((1, 0.5), alpha=1.5))
    assert [block.attention.scales for block in model.parts["blocks"]] == [
        (1, 1, 1, 1, 1, 1, 0.5),
        (1, 1, 1, 1, 1, 0.5, 0.5),
        (1, 1, 1, 1, 0.5, 0.5, 0.5),
    ]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BertConfig(attention=MultiScale(heads=(3, 4))), "give a number for every scale"),
        (lambda: BertConfig(attention=MultiScale((1, 2), heads=(3, 4))), "sum up to num_heads=12"),
        (lambda: BertConfig(attention=MultiScale((1, 2), heads=(13, -1))), "sum up to num_heads=12"),
        (lambda: MultiScale(()), "at least one scale"),
        (lambda: MultiScale(causal=True), "does not know the length"),
        (lambda: BertConfig(attention=Star(), positions="relative_key"), "Star does not know positions"),
        (lambda: tiny("bert_tiny", attention=BinaryPartition(density=0)), "density=0 is no whole number from 1"),
        (lambda: tiny("bert_tiny", attention=Star()).with_attention_mask(), "takes no attention mask"),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()
