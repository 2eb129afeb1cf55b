"""Every task on a tiny backbone: the shared contract, and what each adds to it."""

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_task, to_numpy, token_batch
from tests.support.oracles import gelu, layer_norm, named_weights, softmax
from tests.support.tensors import assert_close
from tfmodels.layers import FirstTokenPooling, MeanPooling
from tfmodels.models import (
    MaskedLM,
    PairClassifier,
    PairedMaskedLM,
    SpanClassifier,
    TextClassifier,
    TextEmbedder,
    TokenClassifier,
)

V, D, C = 51, 14, 3

TASKS = {
    "text classifier": (
        lambda backbone: TextClassifier(backbone, C),
        lambda batch, length: {"logits": (batch, C)},
        (),
    ),
    "text classifier on the mean": (
        lambda backbone: TextClassifier(backbone, C, pooling=MeanPooling()),
        lambda batch, length: {"logits": (batch, C)},
        ("pooler",),
    ),
    "token classifier": (
        lambda backbone: TokenClassifier(backbone, C),
        lambda batch, length: {"logits": (batch, length, C)},
        ("pooler",),
    ),
    "span classifier": (
        SpanClassifier,
        lambda batch, length: {"start_logits": (batch, length), "end_logits": (batch, length)},
        ("pooler",),
    ),
    "masked language model": (
        MaskedLM,
        lambda batch, length: {"logits": (batch, length, V)},
        ("pooler",),
    ),
    "masked language model with pairs": (
        PairedMaskedLM,
        lambda batch, length: {"logits": (batch, length, V), "pair_logits": (batch, 2)},
        (),
    ),
    "pair classifier": (
        PairClassifier,
        lambda batch, length: {"logits": (batch, 2)},
        (),
    ),
    "embedder": (
        TextEmbedder,
        lambda batch, length: {"embedding": (batch, D)},
        (),
    ),
    "embedder on the mean": (
        lambda backbone: TextEmbedder(backbone, pooling=MeanPooling(), normalize=False),
        lambda batch, length: {"embedding": (batch, D)},
        ("pooler",),
    ),
}


def test_a_family_may_classify_by_a_layer_of_its_own(tmp_path):
    def make(dtype=None):
        return TextClassifier(tiny("roberta_base", dtype), C, dropout=0.1)

    check_task(make, tmp_path, lambda batch, length: {"logits": (batch, C)}, unused=("pooler",))
    classifier, batch = make(), token_batch([6, 3])
    dense, head = classifier.head.pooling.dense, named_weights(classifier.head)
    first = to_numpy(classifier.backbone(batch))["sequence_output"][:, 0].astype("float64")
    pooled = np.tanh(first @ to_numpy(dense.kernel.value) + to_numpy(dense.bias.value))
    assert_close(to_numpy(classifier(batch))["logits"], pooled @ head["logits/kernel"] + head["logits/bias"], 1e-6)
    # What is handed in stands.
    assert type(TextClassifier(tiny("roberta_base"), C, pooling=MeanPooling()).head.pooling) is MeanPooling


@pytest.mark.parametrize("make, shapes, unused", TASKS.values(), ids=TASKS)
def test_every_task_keeps_to_the_contract(make, shapes, unused, tmp_path):
    check_task(lambda dtype=None: make(tiny(dtype=dtype)), tmp_path, shapes, unused=unused)


@pytest.mark.parametrize("embedding_dim", [5, None])
def test_the_masked_language_model_shares_the_embedding_table(embedding_dim, tmp_path):
    model, batch = MaskedLM(tiny(embedding_dim=embedding_dim)), token_batch([6, 3])
    tables = [variable for variable in model.variables if tuple(variable.shape) == (V, embedding_dim or D)]
    assert len(tables) == 1
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.5 for weight in model.weights])
    hidden = to_numpy(model.backbone(batch))["sequence_output"].astype("float64")
    head = named_weights(model.head)
    x = gelu(hidden @ head["transform/kernel"] + head["transform/bias"])
    x = layer_norm(x, head["norm/gamma"], head["norm/beta"], model.backbone.config.layer_norm_epsilon)
    expected = x @ to_numpy(tables[0].value).T + head["bias"]
    assert_close(to_numpy(model(batch))["logits"], expected, 1e-5)
    # The table is one after a round trip too.
    model.save(tmp_path / "lm.keras")
    twin = keras.saving.load_model(tmp_path / "lm.keras")
    assert twin.head.embeddings is twin.backbone.parts["embeddings"]
    assert len(twin.variables) == len(model.variables)


def test_pairs_are_told_from_the_pooled_vector():
    model, batch = PairedMaskedLM(tiny()), token_batch([6, 3])
    outputs, pooled = to_numpy(model(batch)), to_numpy(model.backbone(batch))["pooled_output"]
    logits = model.head.pair.logits
    expected = pooled @ to_numpy(logits.kernel.value) + to_numpy(logits.bias.value)
    assert_close(outputs["pair_logits"], expected, 1e-6)
    # The pair's half alone.
    alone = PairClassifier(model.backbone)
    alone.head.set_weights(model.head.pair.get_weights())
    predictions = to_numpy(alone.predictions(alone(batch)))
    np.testing.assert_array_equal(predictions["logits"], outputs["pair_logits"])
    assert_close(predictions["probabilities"], softmax(outputs["pair_logits"].astype("float64")), 1e-6)


def test_a_text_classifier_predicts_probabilities():
    classifier, batch = TextClassifier(tiny(), C), token_batch([6, 3])
    predictions = to_numpy(classifier.predictions(classifier(batch)))
    assert set(predictions) == {"logits", "probabilities"}
    assert_close(predictions["probabilities"], softmax(predictions["logits"].astype("float64")), 1e-6)


def test_poolings_choose_what_is_classified():
    backbone, batch = tiny(), token_batch([6, 3])
    states = to_numpy(backbone(batch))
    for pooling, pooled in (
        (None, states["pooled_output"]),
        (FirstTokenPooling(), states["sequence_output"][:, 0]),
        (MeanPooling(), np.stack([states["sequence_output"][0].mean(0), states["sequence_output"][1, :3].mean(0)])),
    ):
        classifier = TextClassifier(backbone, C, pooling=pooling)
        head = named_weights(classifier.head)
        expected = pooled @ head["logits/kernel"] + head["logits/bias"]
        assert_close(to_numpy(classifier(batch))["logits"], expected, 1e-6)


def test_embeddings_have_length_one():
    batch = token_batch([6, 3, 0])
    embedding = to_numpy(TextEmbedder(tiny(), pooling=MeanPooling())(batch))["embedding"]
    np.testing.assert_allclose(np.linalg.norm(embedding[:2], axis=-1), [1, 1], rtol=1e-6)
    # A text of no tokens has no direction.
    np.testing.assert_array_equal(embedding[2], np.zeros(D))
    raw = to_numpy(TextEmbedder(tiny(), pooling=MeanPooling(), normalize=False)(batch))["embedding"]
    assert not np.allclose(np.linalg.norm(raw[:2], axis=-1), 1)


def test_heads_drop_out_in_training_only():
    backbone, batch = tiny(dropout=0.0, attention_dropout=0.0), token_batch([6, 3])
    for task in (TextClassifier(backbone, C, dropout=0.5), TokenClassifier(backbone, C, dropout=0.5)):
        still = to_numpy(task(batch))["logits"]
        np.testing.assert_array_equal(to_numpy(task(batch))["logits"], still)
        assert (to_numpy(task(batch, training=True))["logits"] != still).any()


def test_two_tasks_share_one_backbone():
    backbone = tiny()
    first, second = TextClassifier(backbone, C), TokenClassifier(backbone, C)
    ours = {id(variable) for variable in backbone.variables}
    assert ours <= {id(v) for v in first.variables} and ours <= {id(v) for v in second.variables}
