"""Explicit attention masks beside transformers, which takes one for every row; its ALBERT takes none."""

import numpy as np
import pytest
import torch
import transformers

import tfmodels
from tests.parity.support import batch_of_pairs, compare_gradients, reference
from tests.support import check_parity, to_numpy
from tfmodels.interop import bert, electra, ernie, nezha, roberta
from tfmodels.objectives import UNILM_SEGMENTS, by_document, unilm

pytestmark = pytest.mark.parity

SIZES = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 20,
    "type_vocab_size": 6,
}
ENCODERS = {
    "BERT": (bert.FAMILY, "Bert", {}),
    "BERT, relative keys and queries": (bert.FAMILY, "Bert", {"position_embedding_type": "relative_key_query"}),
    "RoBERTa": (roberta.FAMILY, "Roberta", {"pad_token_id": 0}),
    "NEZHA": (nezha.FAMILY, "Nezha", {"max_relative_position": 4}),
    "ERNIE": (ernie.FAMILY, "Ernie", {}),
    "ELECTRA": (electra.FAMILY, "Electra", {"embedding_size": 10}),
}


def of_four_language_models():
    """Every row under another of UniLM's masks; the third has a hole."""
    batch = batch_of_pairs()
    batch["token_ids"] *= batch["padding_mask"]  # transformers' RoBERTa tells padding by its id
    mask = np.zeros((4, 11, 11), bool)
    for row, query, key in np.ndindex(4, 11, 11):
        is_source = batch["segment_ids"][row] == 0
        allowed = (
            key >= query,  # right to left
            True,
            is_source[key] or key <= query,
            key <= query,
        )[row]
        mask[row, query, key] = allowed and batch["padding_mask"][row, key]
    kinds = np.array([3, 0, 1, 2])
    batch["segment_ids"] = np.array(UNILM_SEGMENTS, "int32")[kinds[:, None], batch["segment_ids"]]
    return batch, mask, unilm


def of_documents():
    """Rows of up to three documents."""
    batch = batch_of_pairs()
    batch["token_ids"] *= batch["padding_mask"]
    batch["document_ids"] = np.array([[0, 0, 0, 1, 1, 1, 1, 2, 2, 0, 0]] * 4)
    mask = np.zeros((4, 11, 11), bool)
    for row, query, key in np.ndindex(4, 11, 11):
        together = batch["document_ids"][row, query] == batch["document_ids"][row, key]
        mask[row, query, key] = together and batch["padding_mask"][row, key]
    return batch, mask, by_document


@pytest.mark.parametrize("rows", [of_four_language_models, of_documents])
@pytest.mark.parametrize(("family", "name", "settings"), ENCODERS.values(), ids=ENCODERS)
def test_masked_encoders_equal_transformers(family, name, settings, rows, tmp_path):
    theirs = reference(f"{name}Model", getattr(transformers, f"{name}Config")(**{**SIZES, **settings}))
    theirs.save_pretrained(tmp_path, safe_serialization=True)
    ours = tfmodels.from_hf(tmp_path)
    batch, mask, make_mask = rows()
    expected = theirs(
        input_ids=torch.tensor(batch["token_ids"]).long(),
        token_type_ids=torch.tensor(batch["segment_ids"]).long(),
        attention_mask=torch.tensor(mask).long(),
    )
    outputs = {"sequence_output": expected.last_hidden_state}
    if "pooler_output" in expected:
        outputs["pooled_output"] = expected.pooler_output
    masked = ours.with_attention_mask()

    def apply(batch):
        given = {**batch, "attention_mask": to_numpy(make_mask(batch))}
        return masked({key: given[key] for key in masked.input})

    real, actual = batch["padding_mask"], to_numpy(apply(batch))
    title = f"{name}Model under masks {rows.__name__}, {settings.get('position_embedding_type', 'its own positions')}"
    check_parity(
        f"{title}: outputs",
        {key: actual[key][real] if key == "sequence_output" else actual[key] for key in outputs},
        {
            key: (value[torch.tensor(real)] if key == "sequence_output" else value).detach()
            for key, value in outputs.items()
        },
    )
    compare_gradients(title, family, ours, theirs, outputs, batch, apply)
