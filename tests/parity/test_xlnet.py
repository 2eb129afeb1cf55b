"""XLNet beside transformers: both streams, memory of several stretches, every head, the gradient of every weight."""

import numpy as np
import pytest
import torch
import transformers
from keras import ops

import tfmodels
from tests.parity.support import reference, save_and_load
from tests.parity.weights import compare_gradients, factors, randomise
from tests.support import check_parity, to_numpy, token_batch
from tests.support.oracles import softmax
from tfmodels.interop.xlnet import FAMILY
from tfmodels.models.xlnet import XLNetBackbone

pytestmark = pytest.mark.parity

SIZES = {
    "three heads, gelu": {"vocab_size": 61, "d_model": 24, "n_layer": 3, "n_head": 3, "d_inner": 37},
    "one head, relu, clamped distances, short memory": {
        "vocab_size": 53,
        "d_model": 14,
        "n_layer": 2,
        "n_head": 1,
        "d_inner": 9,
        "ff_activation": "relu",
        "layer_norm_eps": 1e-5,
        "clamp_len": 3,
        "mem_len": 8,
        "reuse_len": 5,
    },
    "five heads, memory of one stretch and a bit": {
        "vocab_size": 50,
        "d_model": 30,
        "n_layer": 2,
        "n_head": 5,
        "d_inner": 41,
        "layer_norm_eps": 1e-3,
        "mem_len": 9,
    },
    "two heads, silu": {
        "vocab_size": 51,
        "d_model": 18,
        "n_layer": 1,
        "n_head": 2,
        "d_inner": 23,
        "ff_activation": "silu",
    },
}
HEADS = {
    "XLNetLMHeadModel": {},
    "XLNetForSequenceClassification": {"num_labels": 3},
    "XLNetForTokenClassification": {"num_labels": 5},
    "XLNetForQuestionAnsweringSimple": {},
}


def xlnet(class_name, sizes, **settings):
    # transformers' own default keeps no more than the last 512 tokens.
    return reference(class_name, transformers.XLNetConfig(**{"mem_len": None, **sizes}, **settings))


def batch_of_pairs():
    """Rows of padding on the left, on the right, in the middle and nowhere; segments of both kinds."""
    batch = token_batch([9, 9, 9, 9])
    batch["padding_mask"][0, :4] = False
    batch["padding_mask"][1, 6:] = False
    batch["padding_mask"][2, 3:5] = False
    return batch


def as_torch(batch):
    return {
        "input_ids": torch.tensor(batch["token_ids"]).long(),
        "token_type_ids": torch.tensor(batch["segment_ids"]).long(),
        "attention_mask": torch.tensor(batch["padding_mask"]).float(),
    }


def with_memory(batch, memory):
    """A batch as tensors: Keras mixes them with no arrays."""
    return {**{name: ops.convert_to_tensor(value) for name, value in batch.items()}, "memory": memory}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_content_stream_equals_transformers(sizes, tmp_path):
    theirs, batch = xlnet("XLNetModel", sizes), batch_of_pairs()
    ours, real = save_and_load(theirs, tmp_path), batch["padding_mask"]
    assert type(ours) is XLNetBackbone
    assert ours.count_params() == sum(p.numel() for p in theirs.parameters())
    expected = theirs(**as_torch(batch), output_hidden_states=True, output_attentions=True, use_mems=False)
    actual = to_numpy(ours.with_intermediates()(batch))
    name = f"XLNetModel, {sizes['n_layer']} layers"
    check_parity(
        f"{name}: hidden states",
        dict(enumerate(actual["hidden_states"])),
        {index: state.detach() for index, state in enumerate(expected.hidden_states)},
    )
    # A token of padding may attend to itself.
    mask = real[:, None, None] | np.eye(9, dtype=bool)
    attention = [softmax(np.where(mask, scores.astype("float64"), -np.inf)) for scores in actual["attention_scores"]]
    theirs_attention = [a.detach().numpy() for a in expected.attentions]
    check_parity(f"{name}: attention", dict(enumerate(attention)), dict(enumerate(theirs_attention)))
    rows, last = np.arange(4), [8, 5, 8, 8]
    states = expected.last_hidden_state
    check_parity(
        f"{name}: outputs",
        {key: actual[key] for key in ("sequence_output", "pooled_output")},
        {"sequence_output": states.detach(), "pooled_output": states.detach()[rows, last]},
    )
    factor = factors(states.shape, real)
    compare_gradients(
        name,
        FAMILY.entries(ours),
        lambda: ops.sum(ours(batch)["sequence_output"] * factor),
        theirs,
        (states * torch.tensor(factor)).sum(),
    )


def pretraining_batch(seed):
    """A stretch of 7 tokens with a factorisation order for every row, and the 3 tokens that come last in it."""
    random = np.random.default_rng(seed)
    place = np.stack([random.permutation(7) for _ in range(3)])  # of each token in the order
    batch = token_batch([7, 7, 7], seed=seed)
    batch["segment_ids"][1] = random.integers(0, 2, 7)
    batch["padding_mask"][2, 4] = False
    batch["permutation_mask"] = place[:, None, :] < place[:, :, None]
    targets = np.argsort(place, axis=1)[:, -3:]
    batch["target_mapping"] = np.eye(7, dtype="float32")[targets]
    return batch


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_two_streams_with_memory_equal_transformers(sizes, tmp_path):
    theirs = xlnet("XLNetLMHeadModel", sizes)
    lm = save_and_load(theirs, tmp_path)
    ours, stretches = lm.two_streams(), [pretraining_batch(seed) for seed in (0, 1, 2)]
    name = f"XLNet two streams, memory {sizes.get('mem_len')}"
    memory, memories, total, drawn = None, lm.backbone.empty_memory(3), 0.0, []
    for number, batch in enumerate(stretches):
        expected = theirs(
            **as_torch(batch),
            mems=memory,
            perm_mask=1 - torch.tensor(batch["permutation_mask"]).float(),
            target_mapping=torch.tensor(batch["target_mapping"]),
            use_mems=True,
            output_hidden_states=True,
        )
        actual = ours(with_memory(batch, memories))
        check_parity(f"{name}: logits of the queries", to_numpy({"": actual["logits"]}), {"": expected.logits.detach()})
        # The first layer's memory is the dropout of nothing: both keep what went into each layer.
        check_parity(
            f"{name}: memory",
            dict(enumerate(to_numpy(actual["memory"]))),
            {index: layer.permute(1, 0, 2) for index, layer in enumerate(expected.mems)},
        )
        streams = to_numpy(lm.backbone.two_streams()(with_memory(batch, memories)))
        content, queries = expected.hidden_states[-2].detach(), expected.hidden_states[-1].detach()
        check_parity(
            f"{name}: outputs of both",
            {"h": streams["sequence_output"], "g": streams["query_output"]},
            {"h": content, "g": queries},
        )
        drawn.append(factors(expected.logits.shape, seed=number))
        total = total + (expected.logits * torch.tensor(drawn[-1])).sum()
        memory, memories = expected.mems, actual["memory"]

    def loss():
        value, memories = 0.0, lm.backbone.empty_memory(3)
        for batch, factor in zip(stretches, drawn):
            outputs = ours(with_memory(batch, memories))
            value, memories = value + ops.sum(outputs["logits"] * factor), outputs["memory"]
        return value

    compare_gradients(name, FAMILY.entries(lm), loss, theirs, total)


@pytest.mark.parametrize("sizes", list(SIZES.values())[:2], ids=list(SIZES)[:2])
@pytest.mark.parametrize("class_name", HEADS)
def test_heads_equal_transformers(class_name, sizes, tmp_path):
    theirs, batch = xlnet(class_name, sizes, **HEADS[class_name]), batch_of_pairs()
    # transformers takes the last token's vector, real or not: XLNet pads on the left.
    batch["padding_mask"][1] = True
    ours, real = save_and_load(theirs, tmp_path), batch["padding_mask"]
    outputs = theirs(**as_torch(batch), use_mems=False)
    names = ("start_logits", "end_logits") if class_name.endswith("Simple") else ("logits",)
    expected = {name: outputs[name] for name in names}
    check_parity(f"{class_name}: logits", to_numpy(ours(batch)), {k: v.detach() for k, v in expected.items()})
    drawn = {k: factors(v.shape, real if v.shape[:2] == real.shape else None) for k, v in expected.items()}
    compare_gradients(
        class_name,
        FAMILY.entries(ours),
        lambda: sum(ops.sum(ours(batch)[name] * factor) for name, factor in drawn.items()),
        theirs,
        sum((expected[name] * torch.tensor(factor)).sum() for name, factor in drawn.items()),
    )


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("class_name", ["XLNetModel", *HEADS])
def test_transformers_loads_what_we_save(class_name, sizes, tmp_path):
    ours = randomise(save_and_load(xlnet(class_name, sizes, **HEADS.get(class_name, {})), tmp_path / "theirs"))
    tfmodels.to_hf(ours, tmp_path / "ours")
    theirs, report = getattr(transformers, class_name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    missing = [key for key in report["missing_keys"] if key != "lm_loss.weight"]
    assert missing == report["unexpected_keys"] == report["mismatched_keys"] == []
    for name in {"clamp_len", "mem_len", "reuse_len", "ff_activation", "layer_norm_eps"} & set(sizes):
        assert getattr(theirs.config, name) == sizes[name]
    batch = batch_of_pairs()
    batch["padding_mask"][1] = True
    outputs = theirs.eval()(**as_torch(batch), use_mems=False)
    actual = to_numpy(ours(batch))
    names = {"sequence_output": "last_hidden_state"}
    expected = {k: outputs[names.get(k, k)].detach() for k in actual if k != "pooled_output"}
    actual.pop("pooled_output", None)
    check_parity(f"{class_name}: loaded by transformers", actual, expected)
