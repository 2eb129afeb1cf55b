"""Encoders beside transformers: outputs, every layer, and the gradient of every weight; loading and saving.

A family's file states its sizes and its batch, and calls `check_encoder`, `check_head` and `check_what_we_save`.

One difference is by design: torch never trains the row of the padding token. Here padding is masked and the losses look
at real tokens alone, so that the row has no gradient on either side.
"""

import re

import numpy as np
import torch
import transformers
from keras import ops

import tfmodels
from tests.support import check_parity, to_numpy, token_batch
from tests.support.gradients import gradients_of
from tests.support.oracles import softmax

# How transformers calls the heads that every encoder has, and the settings of the reference.
HEADS = {
    "ForSequenceClassification": {"num_labels": 3},
    "ForTokenClassification": {"num_labels": 5},
    "ForQuestionAnswering": {},
    "ForMaskedLM": {},
}
# What transformers calls its head of pre-training, where a family has one.
PRETRAINING = {"ForPreTraining": {}}
# Ours -> transformers', the names that differ; those of pre-training are the family's own.
_OUTPUTS = {
    "sequence_output": ("last_hidden_state",),
    "pooled_output": ("pooler_output",),
    "logits": ("logits", "prediction_logits"),
    "pair_logits": ("seq_relationship_logits", "sop_logits"),
}


def batch_of_pairs():
    """Rows of different lengths, pairs in segments 0 and 1, and a row with a hole in its middle."""
    batch = token_batch([9, 4, 11, 1])
    batch["padding_mask"][2, 5] = False
    return batch


def reference(class_name, config):
    """A model of transformers with random weights, large enough for every part to matter."""
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if re.search(r"norm\.weight$", name, re.IGNORECASE) else 0.0, 0.2)
    return model


def reference_outputs(model, batch, **settings):
    """What transformers makes of a batch of ours."""
    return model(
        input_ids=torch.tensor(batch["token_ids"]).long(),
        token_type_ids=torch.tensor(batch["segment_ids"]).long(),
        attention_mask=torch.tensor(batch["padding_mask"]).long(),
        **settings,
    )


def named_as_ours(outputs, names):
    """What transformers returned, by our names."""
    return {name: next(outputs[key] for key in _OUTPUTS.get(name, (name,)) if key in outputs) for name in names}


def factors_for(outputs, batch):
    """One random number for every number of the outputs, zero at padding."""
    random, real = np.random.default_rng(0), batch["padding_mask"]
    factors = {}
    for name, value in sorted(outputs.items()):
        factors[name] = random.normal(size=tuple(value.shape)).astype("float32")
        if value.shape[:2] == real.shape:
            factors[name] *= real.reshape(*real.shape, *[1] * (len(value.shape) - 2))
    return factors


def compare_gradients(name, family, ours, theirs, their_outputs, batch):
    """The gradient of a random sum of the outputs, for every weight that transformers uses."""
    factors = factors_for(their_outputs, batch)
    sum((their_outputs[key] * torch.tensor(factor)).sum() for key, factor in factors.items()).backward()
    used = [e for e in family.entries(ours) if not e.optional and not isinstance(e.variable, np.ndarray)]
    _, gradients = gradients_of(
        lambda: sum(ops.sum(ours(batch)[key] * factor) for key, factor in factors.items()),
        [entry.variable for entry in used],
    )
    check_parity(
        f"{name}: gradient of every weight",
        {e.name: gradient.T if e.transpose else gradient for e, gradient in zip(used, gradients)},
        {key: parameter.grad.numpy() for key, parameter in theirs.named_parameters() if parameter.grad is not None},
    )


def check_encoder(name, family, theirs, batch, directory, *, unused=0, layers_per_state=1):
    """What transformers saves of its encoder we load, and compute the same: outputs, layers, attention, gradients.

    Args:
        name: What is compared, for the report.
        family: The `Family`.
        theirs: transformers' encoder.
        batch: Inputs of ours.
        directory: A temporary directory.
        unused: The number of weights that transformers keeps and never uses.
        layers_per_state: How many of our layers transformers counts as one.
    """
    theirs.save_pretrained(directory, safe_serialization=True)
    ours = tfmodels.from_hf(directory)
    assert type(ours) is family.backbone
    assert ours.count_params() + unused == sum(p.numel() for p in theirs.parameters())

    expected = reference_outputs(theirs, batch, output_hidden_states=True, output_attentions=True)
    actual = to_numpy(ours.with_intermediates()(batch))
    mask = batch["padding_mask"][:, None, None]
    attentions = [softmax(np.where(mask, scores.astype("float64"), -np.inf)) for scores in actual["attention_scores"]]
    check_parity(
        f"{name}: outputs",
        {"sequence": actual["sequence_output"], "pooled": actual["pooled_output"]},
        {"sequence": expected.last_hidden_state.detach(), "pooled": expected.pooler_output.detach()},
    )
    check_parity(
        f"{name}: hidden states",
        dict(enumerate(actual["hidden_states"][::layers_per_state])),
        {index: state.detach() for index, state in enumerate(expected.hidden_states)},
    )
    check_parity(
        f"{name}: attention",
        dict(enumerate(attentions)),
        {index: attention.detach() for index, attention in enumerate(expected.attentions)},
    )
    outputs = named_as_ours(expected, ours.output)
    compare_gradients(name, family, ours, theirs, outputs, batch)


def check_head(name, family, theirs, batch, directory):
    """What transformers saves of a model with a head we load, and compute the same: outputs and gradients."""
    theirs.save_pretrained(directory, safe_serialization=True)
    ours = tfmodels.from_hf(directory)
    outputs = reference_outputs(theirs, batch)
    expected = named_as_ours(outputs, ours.output)
    check_parity(f"{name}: logits", to_numpy(ours(batch)), {key: value.detach() for key, value in expected.items()})
    compare_gradients(name, family, ours, theirs, expected, batch)


def check_what_we_save(name, theirs, batch, directory):
    """What we save transformers loads, with no tensor missing or unexpected, and computes the same.

    Args:
        name: What is compared, for the report.
        theirs: A model of transformers, for its class and its configuration.
        batch: Inputs of ours.
        directory: A temporary directory.
    """
    theirs.save_pretrained(directory / "theirs", safe_serialization=True)
    ours = tfmodels.from_hf(directory / "theirs")
    random = np.random.default_rng(1)
    for variable in ours.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.2, variable.shape))
    tfmodels.to_hf(ours, directory / "ours")

    loaded, report = type(theirs).from_pretrained(directory / "ours", output_loading_info=True)
    # The output layer of a language model is the embedding table: it is tied, not saved.
    missing = set(report["missing_keys"]) - set(getattr(theirs, "_tied_weights_keys", None) or ())
    missing = {key for key in missing if ".decoder." not in key}
    assert missing == set() and report["unexpected_keys"] == report["mismatched_keys"] == []
    saved = transformers.AutoConfig.from_pretrained(directory / "ours")
    assert type(saved) is type(theirs.config)
    outputs = reference_outputs(loaded.eval(), batch)
    actual = to_numpy(ours(batch))
    expected = {name: value.detach() for name, value in named_as_ours(outputs, actual).items()}
    check_parity(f"{name}: loaded by transformers", actual, expected)
