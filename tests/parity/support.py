"""Encoders beside transformers: outputs, every layer, and the gradient of every weight; loading and saving.

A family's file states its sizes, its heads and its batch in a class that derives from `FamilyChecks`, and tests what it
has beyond them.

One difference is by design: torch never trains the row of the padding token. Here padding is masked and the losses look
at real tokens alone, so that the row has no gradient on either side.
"""

import re

import numpy as np
import torch
import transformers
from keras import ops

import tfmodels
from tests.parity import weights
from tests.parity.weights import factors, randomise
from tests.support import check_parity, to_numpy, token_batch
from tests.support.oracles import softmax

# How transformers calls the heads that every encoder has, and the settings of the reference.
HEADS = {
    "ForSequenceClassification": {"num_labels": 3},
    "ForTokenClassification": {"num_labels": 5},
    "ForQuestionAnswering": {},
    "ForMaskedLM": {},
}
# The heads of pre-training, where a family has them: both of BERT's together, and that of pairs alone.
PRETRAINING = {"ForPreTraining": {}}
NEXT_SENTENCE = {"ForNextSentencePrediction": {}}
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


def save_and_load(theirs, directory):
    """Ours, out of what transformers saves of its model."""
    theirs.save_pretrained(directory, safe_serialization=True)
    return tfmodels.from_hf(directory)


def compare_gradients(name, family, ours, theirs, their_outputs, batch, apply=None):
    """The gradient of a random sum of the outputs, for every weight that transformers has.

    `apply(batch)`, where it is not `ours`, is a model on the same weights.
    """
    apply, real = apply or ours, batch["padding_mask"]
    drawn = {
        key: factors(value.shape, real if value.shape[:2] == real.shape else None, seed=number)
        for number, (key, value) in enumerate(sorted(their_outputs.items()))
    }
    weights.compare_gradients(
        name,
        family.entries(ours),
        lambda: sum(ops.sum(apply(batch)[key] * factor) for key, factor in drawn.items()),
        theirs,
        sum((their_outputs[key] * torch.tensor(factor)).sum() for key, factor in drawn.items()),
    )


def check_encoder(name, family, theirs, batch, directory):
    """What transformers saves of its encoder we load, and compute the same: outputs, layers, attention, gradients.

    Args:
        name: What is compared, for the report.
        family: The `Family`.
        theirs: transformers' encoder.
        batch: Inputs of ours.
        directory: A temporary directory.
    """
    ours = save_and_load(theirs, directory)
    assert type(ours) is family.backbone
    # transformers keeps some arrays that it never uses, such as absolute positions beside relative ones.
    unused = sum(e.variable.size for e in family.entries(ours) if isinstance(e.variable, np.ndarray))
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
        # ALBERT's inner layers are one to transformers.
        dict(enumerate(actual["hidden_states"][:: getattr(ours.config, "inner_layers", 1)])),
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
    ours = save_and_load(theirs, directory)
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
    ours = randomise(save_and_load(theirs, directory / "theirs"))
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


class FamilyChecks:
    """What every family of encoders is held to; `conftest.py` runs each test on every size and every head.

    Attributes:
        name: How transformers' classes of the family begin.
        family: The `Family`.
        sizes: Settings of transformers' configuration, by what is special about them.
        heads: How transformers' classes with a head end -> their settings.
    """

    heads = HEADS

    def batch(self, sizes):
        """Inputs of ours for a size."""
        return batch_of_pairs()

    def make(self, head, sizes):
        """A model of transformers with random weights."""
        config = getattr(transformers, f"{self.name}Config")(**sizes, **self.heads.get(head, {}))
        return reference(f"{self.name}{head}", config)

    def test_the_encoder_equals_transformers(self, sizes, tmp_path):
        check_encoder(f"{self.name}Model", self.family, self.make("Model", sizes), self.batch(sizes), tmp_path)

    def test_heads_equal_transformers(self, head, sizes, tmp_path):
        check_head(f"{self.name}{head}", self.family, self.make(head, sizes), self.batch(sizes), tmp_path)

    def test_transformers_loads_what_we_save(self, head, sizes, tmp_path):
        check_what_we_save(f"{self.name}{head}", self.make(head, sizes), self.batch(sizes), tmp_path)

    def test_transformers_loads_an_encoder_that_we_save(self, sizes, tmp_path):
        check_what_we_save(f"{self.name}Model", self.make("Model", sizes), self.batch(sizes), tmp_path)
