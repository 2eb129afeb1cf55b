"""ERNIE of Tsinghua: the aggregator against the paper's equations, and what a model with entities keeps to."""

import keras
import numpy as np
import pytest
from keras import ops

import tfmodels
from tests.models.tiny import tiny
from tests.support import check_layer, to_numpy, token_batch
from tests.support.attention_oracles import check_oracle, graph_attention, holed_rows
from tests.support.gradients import (
    check_gradients_reach,
    finite_differences,
    gradients_with_respect_to,
    random_sum,
)
from tests.support.oracles import gelu, layer_norm, part
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import Aggregator, EntityEmbedding, FeedForward, MultiHeadAttention, TransformerBlock
from tfmodels.models import KnowledgeEncoder

B, T, D, F, E = 3, 5, 6, 7, 4
EPSILON = 1e-3
REAL = holed_rows(B, T)
# Entities at some real tokens of the first row, at one of the second, and at none of the last.
NAMES = REAL & np.array([[True, False, True, True, False], [False, False, True, False, False], [False] * T])


def aggregator(dtype=None):
    block = TransformerBlock(
        MultiHeadAttention(3, D, dtype=dtype, name="attention"),
        FeedForward(F, dtype=dtype, name="feed_forward"),
        layer_norm_epsilon=EPSILON,
        dtype=dtype,
        name="block",
    )
    return Aggregator(block, E, num_heads=2, dtype=dtype)


def normed(weights, name, x):
    return layer_norm(x, weights[f"{name}/gamma"], weights[f"{name}/beta"], EPSILON)


def equations(weights, tokens, entities):
    """Equations 4 to 6, position by position, with the residuals of the released code."""
    heard = graph_attention(part(weights, "block/attention"), tokens, tokens, 3, REAL[:, None, None])
    tokens = normed(weights, "block/attention_norm", tokens + heard)
    met = np.zeros_like(entities)
    for row in range(B):
        (places,) = NAMES[row].nonzero()
        if len(places):
            own = entities[row : row + 1, places]
            met[row, places] = graph_attention(part(weights, "entity_attention"), own, own, 2, True)[0]
    entities = normed(weights, "entity_attention_norm", entities + met)
    first, second = (part(weights, f"block/feed_forward/{name}") for name in ("intermediate", "output_projection"))
    told, known = np.zeros_like(tokens), np.zeros_like(entities)
    for row, place in np.ndindex(B, T):
        total = tokens[row, place] @ first["kernel"] + first["bias"]
        if NAMES[row, place]:
            total = total + entities[row, place] @ weights["from_entity/kernel"]
        hidden = gelu(total)
        told[row, place] = tokens[row, place] + hidden @ second["kernel"] + second["bias"]
        known[row, place] = entities[row, place] + hidden @ weights["to_entity/kernel"] + weights["to_entity/bias"]
    known = normed(weights, "entity_norm", known) * NAMES[..., None]
    return np.concatenate([normed(weights, "block/feed_forward_norm", told), known], axis=-1)


def test_an_aggregator_is_the_papers_equations():
    random = np.random.default_rng(0)
    tokens, entities = (random.normal(size=(B, T, size)).astype("float32") for size in (D, E))
    layer = aggregator()

    def call(tokens=tokens, entities=entities):
        told, known = layer(tokens, entities, NAMES, attention_mask=REAL[:, None, None])
        return ops.concatenate([told, known * NAMES[..., None].astype("float32")], axis=-1)

    call()
    exact = [array.astype("float64") for array in (tokens, entities)]
    weights, factors = check_oracle(layer, call, lambda weights: equations(weights, *exact), REAL)
    of_tokens, of_entities = gradients_with_respect_to(
        lambda *inputs: ops.sum(call(*inputs) * factors.astype("float32")), tokens, entities
    )
    slopes = finite_differences(lambda x: (equations(weights, x, exact[1]) * factors).sum(), tokens)
    assert_close(of_tokens, slopes, 2e-5, "gradient of the tokens")
    slopes = finite_differences(lambda x: (equations(weights, exact[0], x) * factors).sum(), entities)
    assert_close(of_entities * NAMES[..., None], slopes * NAMES[..., None], 2e-5, "gradient of the entities")


def test_the_entities_vectors_are_a_table_without_a_gradient():
    layer = EntityEmbedding(5, E)
    vectors = to_numpy(layer(np.array([[1, 0, 5]])))
    assert_close(vectors[0], [to_numpy(layer.vectors)[0], np.zeros(E), to_numpy(layer.vectors)[4]], 0)
    assert not layer.trainable_variables

    def inputs(batch, length):
        return {"entities": np.random.default_rng(length).integers(0, 6, (batch, length)).astype("int32")}

    check_layer(lambda dtype=None: EntityEmbedding(5, E, dtype=dtype), inputs, lambda *shape: (*shape, E))


def knowledge(name="bert_tiny", dtype=None, **sizes):
    return KnowledgeEncoder(tiny(name, dtype=dtype), **{"num_entities": 9, "entity_dim": 6, "num_heads": 2, **sizes})


def batch_of(lengths, seed=5, length=None):
    batch = token_batch(lengths, length=length)
    numbers = np.random.default_rng(seed).integers(-9, 10, batch["token_ids"].shape)
    return {**batch, "entities": np.maximum(numbers, 0).astype("int32")}


@pytest.mark.parametrize("name", ["bert_tiny", "albert_base", "nezha_base", "ernie_base", "electra_small"])
def test_a_text_without_entities_is_encoded_as_its_bert_does(name):
    model = knowledge(name)
    batch = token_batch([7, 3, 1])
    plain = to_numpy(model.backbone(batch))
    read = to_numpy(model({**batch, "entities": np.zeros_like(batch["token_ids"])}))
    for key, value in plain.items():
        assert_close(read[key], value, 1e-6, key)
    assert not read["entity_output"].any()
    # And one with entities is not: the first token hears of an entity at the fourth through the last layer but one.
    entities = np.zeros_like(batch["token_ids"])
    entities[0, 3] = 2
    told = to_numpy(knowledge(name, num_aggregators=2)({**batch, "entities": entities}))
    assert told["entity_output"][0, 3].any() and np.isfinite(told["sequence_output"]).all()


def test_an_entity_changes_its_own_row_alone():
    model = knowledge(num_aggregators=2)
    batch = batch_of([6, 4, 5])
    before = to_numpy(model(batch))["sequence_output"]
    changed = {**batch, "entities": batch["entities"].copy()}
    changed["entities"][1, 2] = 1 + changed["entities"][1, 2] % 9
    after = to_numpy(model(changed))["sequence_output"]
    assert (np.abs(after - before).max(axis=(1, 2)) > 1e-6).tolist() == [False, True, False]
    assert np.abs(after[1, 0] - before[1, 0]).max() > 1e-6, "the first token hears nothing of it"


def test_padding_changes_nothing_whatever_entities_stand_in_it():
    model, lengths = knowledge(num_aggregators=3), [6, 3, 0]
    plain = to_numpy(model(batch_of(lengths)))
    noisy = batch_of(lengths, length=11)
    noisy["entities"][:, :6] = batch_of(lengths)["entities"]
    noisy["entities"][~noisy["padding_mask"]] = 4
    padded = to_numpy(model(noisy))
    for name in ("sequence_output", "entity_output"):
        for row, length in enumerate(lengths):
            assert_close(padded[name][row, :length], plain[name][row, :length], 1e-5, name)
        assert np.isfinite(padded[name]).all()


def test_every_weight_learns_but_the_graphs_vectors():
    model = knowledge(num_aggregators=2)
    batch = batch_of([7, 5])
    check_gradients_reach(lambda: random_sum(model(batch)), model.trainable_variables)
    frozen = [variable.path for variable in model.non_trainable_variables if "seed" not in variable.path]
    assert frozen == [model.entities.vectors.path]


def test_a_saved_model_gives_the_same_and_bfloat16_nearly_so(tmp_path):
    model, batch = knowledge(num_aggregators=2), batch_of([7, 5])
    expected = to_numpy(model(batch))
    model.save(tmp_path / "model.keras")
    twin = to_numpy(keras.saving.load_model(tmp_path / "model.keras")(batch))
    low = knowledge(num_aggregators=2, dtype="mixed_bfloat16")
    low.set_weights(model.get_weights())
    low = to_numpy(low(batch))
    for name, value in expected.items():
        np.testing.assert_array_equal(twin[name], value)
        assert np.abs(low[name] - value).max() <= 0.1 * np.abs(value).max()


def test_the_papers_model_has_about_114_million_weights():
    # Section 4.1: BERT-base, six aggregators of entities of 100 numbers with four heads. One is counted here.
    bert = tfmodels.create_model("bert_base", num_layers=2, vocabulary_size=50)
    model = KnowledgeEncoder(bert, num_entities=10)
    attention, norms = 4 * (100 * 100 + 100), 2 * 2 * 100
    fusion = 100 * 3072 + 3072 * 100 + 100
    learnt = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert learnt - bert.count_params() == attention + norms + fusion == 655_300
    _, published = tfmodels.describe_model("bert_base")
    # The paper says about 114 millions, its heads among them.
    assert published.parameters + 6 * (learnt - bert.count_params()) == 113_414_040
    groups = model.layer_groups()
    assert [sum(isinstance(layer, Aggregator) for layer in group) for group in groups] == [0, 0, 1, 0]


def test_vectors_of_a_graph_are_taken_as_they_are():
    model = knowledge()
    vectors = np.random.default_rng(0).normal(size=(9, 6)).astype("float32")
    model.set_entities(vectors)
    np.testing.assert_array_equal(to_numpy(model.entities.vectors), vectors)
    with pytest.raises(UserError, match=r"\(8, 6\), not \(9, 6\)"):
        model.set_entities(vectors[1:])
    with pytest.raises(UserError, match="not all finite"):
        model.set_entities(vectors * np.nan)


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [
        ("bert_tiny", {"num_aggregators": 4}, "has 3 layers: choose fewer"),
        ("bert_tiny", {"num_heads": 4}, "does not divide entity_dim=6"),
        ("bert_tiny", {"num_entities": 0}, "num_entities=0 is no whole number"),
        ("bilstm", {}, "choose an encoder of BERT's kind"),
        ("star_transformer", {}, "choose an encoder of BERT's kind"),
        ("reformer_enwik8", {}, "choose an encoder of BERT's kind"),
    ],
)
def test_what_does_not_fit_is_said(name, sizes, says):
    with pytest.raises(UserError, match=says):
        knowledge(name, **sizes)
