"""BERT and its tasks beside transformers: outputs, every layer, and the gradient of every weight.

One difference is by design: torch never trains the row of the padding token, id 0. Here padding is masked and the
losses look at real tokens alone, so that the row has no gradient on either side.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from keras import ops  # noqa: E402

import tfmodels  # noqa: E402
from tests.support import check_parity, to_numpy, token_batch  # noqa: E402
from tests.support.gradients import gradients_of  # noqa: E402
from tests.support.oracles import softmax  # noqa: E402
from tfmodels import datasets  # noqa: E402
from tfmodels.interop.bert import entries  # noqa: E402
from tfmodels.models import BertBackbone  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = {
    "three heads, gelu": {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "max_position_embeddings": 20,
    },
    "one head, relu, three segments": {
        "vocab_size": 53,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 9,
        "max_position_embeddings": 12,
        "hidden_act": "relu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
    },
    "seven heads, silu, one layer": {
        "vocab_size": 50,
        "hidden_size": 21,
        "num_hidden_layers": 1,
        "num_attention_heads": 7,
        "intermediate_size": 84,
        "max_position_embeddings": 11,
        "hidden_act": "silu",
        "layer_norm_eps": 1e-3,
    },
    "twelve layers": {
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 31,
        "max_position_embeddings": 16,
    },
}

# transformers' class, and the settings of ours.
TASKS = {
    "BertForSequenceClassification": {"num_labels": 3},
    "BertForTokenClassification": {"num_labels": 5},
    "BertForQuestionAnswering": {},
    "BertForMaskedLM": {},
}


def batch_of_pairs():
    """Rows of different lengths, pairs in segments 0 and 1, and a row with a hole in its middle."""
    batch = token_batch([9, 4, 11, 1])
    batch["padding_mask"][2, 5] = False
    return batch


def reference(class_name, sizes, **settings):
    """A model of transformers with random weights, large enough for every part to matter."""
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(transformers.BertConfig(**sizes, **settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.2)
    return model


def reference_outputs(model, batch, **settings):
    return model(
        input_ids=torch.tensor(batch["token_ids"]).long(),
        token_type_ids=torch.tensor(batch["segment_ids"]).long(),
        attention_mask=torch.tensor(batch["padding_mask"]).long(),
        **settings,
    )


def factors_for(outputs, batch):
    """One random number for every number of the outputs, zero at padding."""
    random, real = np.random.default_rng(0), batch["padding_mask"]
    factors = {}
    for name, value in sorted(outputs.items()):
        factors[name] = random.normal(size=tuple(value.shape)).astype("float32")
        if value.shape[:2] == real.shape:
            factors[name] *= real.reshape(*real.shape, *[1] * (len(value.shape) - 2))
    return factors


def compare_gradients(name, ours, theirs, their_outputs, batch):
    """The gradient of a random sum of the outputs, for every weight."""
    factors = factors_for(their_outputs, batch)
    sum((their_outputs[key] * torch.tensor(factor)).sum() for key, factor in factors.items()).backward()
    by_name = list(entries(ours))
    _, gradients = gradients_of(
        lambda: sum(ops.sum(ours(batch)[key] * factor) for key, factor in factors.items()),
        [entry.variable for entry in by_name],
    )
    check_parity(
        f"{name}: gradient of every weight",
        {e.name: gradient.T if e.transpose else gradient for e, gradient in zip(by_name, gradients)},
        {key: parameter.grad.numpy() for key, parameter in theirs.named_parameters()},
    )


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_encoder_equals_transformers(sizes, tmp_path):
    theirs, batch = reference("BertModel", sizes), batch_of_pairs()
    theirs.save_pretrained(tmp_path, safe_serialization=True)
    ours = tfmodels.from_hf(tmp_path)
    assert type(ours) is BertBackbone
    assert ours.count_params() == sum(p.numel() for p in theirs.parameters())

    expected = reference_outputs(theirs, batch, output_hidden_states=True, output_attentions=True)
    actual = to_numpy(ours.with_intermediates()(batch))
    mask = batch["padding_mask"][:, None, None]
    attentions = [softmax(np.where(mask, scores.astype("float64"), -np.inf)) for scores in actual["attention_scores"]]
    name = f"BertModel with {sizes['num_hidden_layers']} layers"
    check_parity(
        f"{name}: outputs",
        {"sequence": actual["sequence_output"], "pooled": actual["pooled_output"]},
        {"sequence": expected.last_hidden_state.detach(), "pooled": expected.pooler_output.detach()},
    )
    check_parity(
        f"{name}: hidden states",
        dict(enumerate(actual["hidden_states"])),
        {index: state.detach() for index, state in enumerate(expected.hidden_states)},
    )
    check_parity(
        f"{name}: attention",
        dict(enumerate(attentions)),
        {index: attention.detach() for index, attention in enumerate(expected.attentions)},
    )
    outputs = {"sequence_output": expected.last_hidden_state, "pooled_output": expected.pooler_output}
    compare_gradients(name, ours, theirs, outputs, batch)


@pytest.mark.parametrize("sizes", list(SIZES.values())[:2], ids=list(SIZES)[:2])
@pytest.mark.parametrize("class_name", TASKS)
def test_tasks_equal_transformers(class_name, sizes, tmp_path):
    theirs, batch = reference(class_name, sizes, **TASKS[class_name]), batch_of_pairs()
    theirs.save_pretrained(tmp_path, safe_serialization=True)
    ours = tfmodels.from_hf(tmp_path)
    outputs = reference_outputs(theirs, batch)
    names = ("start_logits", "end_logits") if class_name == "BertForQuestionAnswering" else ("logits",)
    expected = {name: outputs[name] for name in names}
    check_parity(
        f"{class_name}: logits", to_numpy(ours(batch)), {name: value.detach() for name, value in expected.items()}
    )
    compare_gradients(class_name, ours, theirs, expected, batch)


@pytest.mark.parametrize("class_name", ["BertModel", *TASKS])
def test_transformers_loads_what_we_save(class_name, tmp_path):
    sizes = SIZES["three heads, gelu"]
    settings = TASKS.get(class_name, {})
    reference(class_name, sizes, **settings).save_pretrained(tmp_path / "theirs", safe_serialization=True)
    ours, batch = tfmodels.from_hf(tmp_path / "theirs"), batch_of_pairs()
    random = np.random.default_rng(1)
    for variable in ours.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.2, variable.shape))
    tfmodels.to_hf(ours, tmp_path / "ours")

    theirs, report = getattr(transformers, class_name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    # The output layer of a language model is the embedding table: it is tied, not saved.
    missing = [key for key in report["missing_keys"] if not key.startswith("cls.predictions.decoder")]
    assert missing == report["unexpected_keys"] == report["mismatched_keys"] == []
    assert type(transformers.AutoConfig.from_pretrained(tmp_path / "ours")) is transformers.BertConfig
    outputs = reference_outputs(theirs.eval(), batch)
    names = {"sequence_output": "last_hidden_state", "pooled_output": "pooler_output"}
    actual = to_numpy(ours(batch))
    expected = {name: outputs[names.get(name, name)].detach() for name in actual}
    check_parity(f"{class_name}: loaded by transformers", actual, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_read(dtype, tmp_path):
    theirs, batch = reference("BertModel", SIZES["three heads, gelu"]), batch_of_pairs()
    theirs.to(dtype).save_pretrained(tmp_path, safe_serialization=True)
    actual = to_numpy(tfmodels.from_hf(tmp_path)(batch))["sequence_output"]
    expected = reference_outputs(theirs.float(), batch).last_hidden_state.detach()
    check_parity(f"{dtype} checkpoint: sequence", {"": actual}, {"": expected})


@pytest.mark.data
def test_minilm_equals_transformers_on_real_sentences():
    folder = datasets.minilm()
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = tfmodels.from_hf(folder).with_intermediates()
    texts = [review.text for review in datasets.movie_reviews()[:200]]
    assert len(set(texts)) > 190
    for start in range(0, 200, 50):
        encoded = tokenizer(texts[start : start + 50], padding=True, truncation=True, return_tensors="np")
        batch = {
            "token_ids": encoded["input_ids"].astype("int32"),
            "segment_ids": encoded["token_type_ids"].astype("int32"),
            "padding_mask": encoded["attention_mask"].astype(bool),
        }
        with torch.no_grad():
            expected = reference_outputs(theirs, batch, output_hidden_states=True)
        actual = to_numpy(ours(batch))
        # At tokens: what stands at padding is read by nobody, and there the reference itself is 1e-4 from its own
        # float64 values.
        real = batch["padding_mask"]
        check_parity(
            "MiniLM on 200 reviews: hidden states",
            {layer: states[real] for layer, states in enumerate(actual["hidden_states"])},
            {layer: states[real] for layer, states in enumerate(map(np.asarray, expected.hidden_states))},
        )
        check_parity("MiniLM on 200 reviews: pooled", {"": actual["pooled_output"]}, {"": expected.pooler_output})
