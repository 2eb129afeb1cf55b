"""ELECTRA's own ways: its heads, and embeddings that generator and discriminator share. Parity holds the rest."""

import numpy as np
import pytest
from keras import ops

from tests.models.tiny import tiny
from tests.support import check_task, gradients_of, to_numpy, token_batch
from tests.support.oracles import gelu, named_weights
from tests.support.tensors import assert_close
from tfmodels.models import ElectraBackbone, MaskedLM, ReplacedTokenDetector, TextClassifier

V, D, E = 51, 14, 6

TASKS = {
    "detector": (ReplacedTokenDetector, lambda batch, length: {"logits": (batch, length)}),
    "generator": (MaskedLM, lambda batch, length: {"logits": (batch, length, V)}),
    "classifier": (lambda backbone: TextClassifier(backbone, 3), lambda batch, length: {"logits": (batch, 3)}),
}


def electra(dtype=None, **overrides):
    return tiny("electra_small", dtype, **overrides)


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.4 for weight in model.weights])
    return model


@pytest.mark.parametrize("make, shapes", TASKS.values(), ids=TASKS)
def test_every_task_keeps_to_the_contract(make, shapes, tmp_path):
    check_task(lambda dtype=None: make(electra(dtype)), tmp_path, shapes)


def test_the_detector_is_a_dense_layer_and_a_logit_for_every_token():
    model, batch = with_random_weights(ReplacedTokenDetector(electra())), token_batch([6, 3])
    head, hidden = named_weights(model.head), to_numpy(model.backbone(batch))["sequence_output"].astype("float64")
    x = gelu(hidden @ head["transform/kernel"] + head["transform/bias"])
    expected = (x @ head["logits/kernel"] + head["logits/bias"])[..., 0]
    outputs = model(batch)
    assert_close(to_numpy(outputs)["logits"], expected, 1e-5)
    assert_close(to_numpy(model.predictions(outputs))["probabilities"], 1 / (1 + np.exp(-expected)), 1e-6)


def test_the_first_token_stands_for_the_text():
    outputs = to_numpy(with_random_weights(electra())(token_batch([6, 3])))
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])


@pytest.mark.parametrize("embedding_dim", [E, 14])
def test_generator_and_discriminator_share_their_embeddings(embedding_dim):
    discriminator = electra(embedding_dim=embedding_dim)
    config = discriminator.config.replace(hidden_dim=10, intermediate_dim=11, num_layers=2)
    generator = ElectraBackbone(config, shared=discriminator.shared_embeddings())
    alone = ElectraBackbone(config)
    assert generator.parts["embeddings"] is discriminator.parts["embeddings"]
    both = {id(v) for v in generator.variables} & {id(v) for v in discriminator.variables}
    assert both == {id(v) for v in discriminator.parts["embeddings"].variables}
    # The map to its own width is each encoder's own, and nothing else of it is lost.
    assert generator.count_params() == alone.count_params()
    assert ("embeddings_project" in discriminator.parts) == (embedding_dim != D)

    batch, table = token_batch([6, 3]), discriminator.parts["embeddings"].tokens
    with_random_weights(generator), with_random_weights(discriminator)

    def total(*models):
        return lambda: sum(ops.sum(ops.square(model(batch)["sequence_output"][:, 0, :3])) for model in models)

    of_both, of_one, of_other = (
        gradients_of(total(*models), [table])[1][0]
        for models in ((generator, discriminator), (generator,), (discriminator,))
    )
    assert of_one.any() and of_other.any()
    assert_close(of_both, of_one + of_other, 1e-5)
    # Heads of both stand on the one table.
    assert MaskedLM(generator).head.embeddings.tokens is table
