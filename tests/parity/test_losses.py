"""Our pre-trainers' losses beside those that transformers makes of `labels`: values, and the gradient of every weight.

Rows and predictions are ragged: what does not count has weight 0 here and the label -100 there.
"""

import numpy as np
import pytest
import torch
from keras import ops

from tests.parity import test_transformer_xl, test_xlnet
from tests.parity.support import reference_outputs, save_and_load
from tests.parity.test_albert import TestAlbert as Albert
from tests.parity.test_bert import TestBert as Bert
from tests.parity.test_electra import TestElectra as Electra
from tests.parity.test_ernie import TestErnie as Ernie
from tests.parity.test_nezha import TestNezha as Nezha
from tests.parity.test_roberta import TestRoberta as Roberta
from tests.parity.weights import compare_gradients
from tests.support import check_parity
from tfmodels.interop import electra, transformer_xl, xlnet
from tfmodels.interop.weights import linear_entries, load_entries, read_checkpoint
from tfmodels.objectives import (
    CausalPretrainer,
    ElectraPretrainer,
    MaskedLanguageModel,
    NextSentence,
    PermutationPretrainer,
    Pretrainer,
    SentenceOrder,
)
from tfmodels.objectives.objectives import logits_at

pytestmark = pytest.mark.parity

# At real tokens; RoBERTa's rows have other holes.
POSITIONS = np.array([[4, 3, 8, 0], [2, 0, 0, 0], [3, 6, 10, 9], [0, 0, 0, 0]], "int32")
WEIGHTS = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], "float32")
LABELS = np.random.default_rng(0).integers(1, 50, POSITIONS.shape).astype("int32")
# The third row has no pair.
PAIRS = np.array([1, 0, -1, 1], "int32")

# transformers' class -> the family's tests, and what we call the pairs' objective, its target and their head's tensors.
NEXT = (NextSentence, "next_sentence", "cls.seq_relationship")
PRETRAINERS = {
    "BertForMaskedLM": (Bert, None),
    "BertForPreTraining": (Bert, NEXT),
    "RobertaForMaskedLM": (Roberta, None),
    "AlbertForMaskedLM": (Albert, None),
    "AlbertForPreTraining": (Albert, (SentenceOrder, "sentence_order", "sop_classifier.classifier")),
    "NezhaForPreTraining": (Nezha, NEXT),
    "ErnieForPreTraining": (Ernie, NEXT),
}


def as_labels(values, counts):
    """What transformers wants for our targets."""
    return torch.tensor(np.where(counts, values, -100)).long()


def over_tokens(values, shape):
    """Values at `POSITIONS` for every token, -100 where none is predicted."""
    labels = np.full(shape, -100)
    rows, columns = np.nonzero(WEIGHTS)
    labels[rows, POSITIONS[rows, columns]] = values[rows, columns]
    return torch.tensor(labels).long()


def loss_of(pretrainer, inputs, targets):
    """What `fit` makes small."""
    inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    return pretrainer.compute_loss(inputs, targets, pretrainer(inputs, training=False), training=False)


def check_loss(name, entries, ours, theirs, their_loss):
    """Values, and the gradients of all weights."""
    check_parity(f"{name}: loss", {"": ours()}, {"": their_loss.detach()})
    compare_gradients(f"{name}: loss", entries, ours, theirs, their_loss)


@pytest.mark.parametrize("class_name, sizes", [(name, s) for name, case in PRETRAINERS.items() for s in case[0].sizes])
def test_masked_tokens_and_pairs_cost_what_they_cost_transformers(class_name, sizes, tmp_path):
    tests, pairs = PRETRAINERS[class_name]
    sizes = tests.sizes[sizes]
    theirs, batch = tests().make(class_name.removeprefix(tests.name), sizes), tests().batch(sizes)
    theirs.save_pretrained(tmp_path, safe_serialization=True)
    targets = {"positions": POSITIONS, "labels": LABELS, "weights": WEIGHTS}
    wanted = {"labels": over_tokens(LABELS, batch["token_ids"].shape)}
    objectives = [MaskedLanguageModel()]
    if pairs:
        objective, key, head = pairs
        objectives.append(objective())
        targets[key], wanted[f"{key}_label"] = PAIRS, as_labels(PAIRS, PAIRS >= 0)
    backbone = tests.family.backbone(tests.family.config_from_hf(theirs.config.to_dict()))
    pretrainer = Pretrainer(backbone, objectives)
    entries = list(tests.family.entries(objectives[0].task))
    if pairs:
        # With the pooler that pairs need.
        entries = [entry._replace(optional=False) for entry in entries]
        entries += linear_entries(head, objectives[1].logits)
    load_entries(entries, read_checkpoint(tmp_path), tmp_path)
    their_loss = reference_outputs(theirs, batch, **wanted).loss
    check_loss(class_name, entries, lambda: loss_of(pretrainer, batch, targets), theirs, their_loss)


@pytest.mark.parametrize("sizes", Electra.sizes.values(), ids=Electra.sizes)
def test_electras_two_losses_are_those_of_transformers(sizes, tmp_path):
    theirs = [Electra().make(head, sizes) for head in ("ForMaskedLM", "ForPreTraining")]
    models = [save_and_load(model, tmp_path / str(place)) for place, model in enumerate(theirs)]
    pretrainer, batch = ElectraPretrainer(*models, discriminator_weight=7.0), Electra().batch(sizes)
    targets = {"positions": POSITIONS, "labels": LABELS, "weights": WEIGHTS}
    seed = np.array(pretrainer.samples.state)

    def ours():
        pretrainer.samples.state.assign(seed)
        return loss_of(pretrainer, batch, targets)

    # What the generator puts in, and what the discriminator has to say of it.
    replaced = pretrainer.replace(logits_at(models[0], pretrainer(batch), POSITIONS), batch, targets)
    changed, is_replaced = np.array(replaced["token_ids"]), np.array(replaced["is_replaced"])
    assert 2 <= is_replaced.sum() <= 8
    their_losses = [
        reference_outputs(theirs[0], batch, labels=over_tokens(LABELS, changed.shape)).loss,
        7
        * reference_outputs(theirs[1], {**batch, "token_ids": changed}, labels=torch.tensor(is_replaced).float()).loss,
    ]
    check_parity("ELECTRA: both losses", {"": ours()}, {"": sum(their_losses).detach()})
    for model, reference, loss in zip(models, theirs, their_losses):
        # Nothing flows through the samples: of the sum each model learns from its own term.
        compare_gradients("ELECTRA: both losses", electra.FAMILY.entries(model), ours, reference, loss)


def stretches_of(make, count):
    """Stretches of three texts; transformers remembers padding too, so that only the last one has any."""
    batches = [make(seed) for seed in range(count)]
    for batch in batches[:-1]:
        batch["padding_mask"][:] = True
    for number, batch in enumerate(batches):
        batch["is_start"] = np.full(3, number == 0)
    return batches


@pytest.mark.parametrize("size", ["short memory", "memory of one stretch and a bit"])
def test_permuted_tokens_cost_what_they_cost_transformers(size, tmp_path):
    sizes = next(sizes for name, sizes in test_xlnet.SIZES.items() if size in name)
    theirs = test_xlnet.xlnet("XLNetLMHeadModel", sizes)
    pretrainer = PermutationPretrainer(save_and_load(theirs, tmp_path), batch_size=3)
    batches = stretches_of(test_xlnet.pretraining_batch, 3)
    labels = np.random.default_rng(1).integers(0, 50, (3, 3, 3)).astype("int32")
    weights = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], "float32")
    memory, total = None, 0.0
    for batch, label in zip(batches, labels):
        expected = theirs(
            **test_xlnet.as_torch(batch),
            mems=memory,
            perm_mask=1 - torch.tensor(batch["permutation_mask"]).float(),
            target_mapping=torch.tensor(batch["target_mapping"]),
            use_mems=True,
            labels=as_labels(label, weights > 0),
        )
        memory, total = expected.mems, total + expected.loss

    def ours():
        return sum(
            loss_of(pretrainer, batch, {"labels": label, "weights": weights}) for batch, label in zip(batches, labels)
        )

    check_loss(f"XLNetLMHeadModel, {size}", xlnet.FAMILY.entries(pretrainer.task), ours, theirs, total)


@pytest.mark.parametrize("sizes", test_transformer_xl.SIZES.values(), ids=test_transformer_xl.SIZES)
def test_next_tokens_cost_what_they_cost_transformers(sizes, tmp_path):
    theirs = test_transformer_xl.transformer_xl("TransfoXLLMHeadModel", sizes)
    pretrainer = CausalPretrainer(save_and_load(theirs, tmp_path), batch_size=3)
    batches = stretches_of(test_transformer_xl.stretch, 3)
    batches[-1]["padding_mask"][:] = np.arange(5) < np.array([[5], [3], [4]])
    # A memory of no tokens: of its own transformers begins with one of zeros.
    memory, total = [torch.zeros(0, 3, sizes["d_model"])] * sizes["n_layer"], 0.0
    targets = []
    for batch in batches:
        ids, counts = batch["token_ids"], batch["padding_mask"].copy()
        # Transformers shifts the labels itself.
        counts[:, 0] = False
        expected = theirs(torch.tensor(ids).long(), mems=memory, labels=as_labels(ids, counts))
        memory, total = expected.mems, total + expected.loss
        targets.append({"labels": np.roll(ids, -1, 1), "weights": np.roll(counts, -1, 1).astype("float32")})

    def ours():
        return sum(loss_of(pretrainer, batch, target) for batch, target in zip(batches, targets))

    name = f"TransfoXLLMHeadModel, div_val {sizes['div_val']}"
    check_loss(name, transformer_xl.FAMILY.entries(pretrainer.task), ours, theirs, total)
