"""BERT against the equations, and the ways of its own: factorised embeddings, and what the sweep cannot know."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import check_backbone, check_gradients_reach, random_sum, to_numpy, token_batch
from tests.support.oracles import feed_forward, layer_norm, multi_head_attention, named_weights, part
from tests.support.tensors import assert_close


def oracle(backbone, batch, embedded=lambda x: x):
    """Embeddings, K post-norm layers and the pooler (arXiv:1810.04805, section 3), in NumPy.

    `embedded` may change the embeddings before the first layer.
    """
    config = backbone.config
    embeddings = named_weights(backbone.parts["embeddings"])

    def norm(x, weights, name):
        return layer_norm(x, weights[f"{name}/gamma"], weights[f"{name}/beta"], config.layer_norm_epsilon)

    length = batch["token_ids"].shape[1]
    x = (
        embeddings["tokens"][batch["token_ids"]]
        + embeddings["segments"][batch["segment_ids"]]
        + embeddings["positions/embeddings"][:length]
    )
    x = norm(x, embeddings, "norm")
    if config.embedding_dim:
        x = x @ embeddings["widen/kernel"] + embeddings["widen/bias"]
    x = embedded(x)
    mask = np.broadcast_to(batch["padding_mask"][:, None, None], (len(x), config.num_heads, length, length))
    states, scores = [x], []
    for block in backbone.parts["blocks"]:
        weights = named_weights(block)
        attended, logits = multi_head_attention(part(weights, "attention"), x, x, config.num_heads, mask)
        x = norm(x + attended, weights, "attention_norm")
        x = norm(x + feed_forward(part(weights, "feed_forward"), x), weights, "feed_forward_norm")
        states.append(x)
        scores.append(logits)
    pooler = named_weights(backbone.parts["pooler"])
    return {
        "sequence_output": x,
        "pooled_output": np.tanh(x[:, 0] @ pooler["kernel"] + pooler["bias"]),
        "hidden_states": states,
        "attention_scores": scores,
    }


@pytest.mark.parametrize("overrides", [{}, {"embedding_dim": 5}, {"num_heads": 7, "layer_norm_epsilon": 1e-3}])
def test_bert_is_the_papers_equations(overrides):
    backbone, batch = tiny(**overrides), token_batch([9, 5, 1])
    random = np.random.default_rng(0)
    backbone.set_weights([random.normal(size=weight.shape) * 0.3 for weight in backbone.weights])
    actual, expected = to_numpy(backbone.with_intermediates()(batch)), oracle(backbone, batch)
    for name in ("sequence_output", "pooled_output"):
        assert_close(actual[name], expected[name], 1e-5, name)
    for name in ("hidden_states", "attention_scores"):
        for index, (ours, theirs) in enumerate(zip(actual[name], expected[name], strict=True)):
            assert_close(ours, theirs, 1e-5, f"{name}/{index}")


def test_a_factorised_embedding_keeps_to_the_contract_and_is_smaller(tmp_path):
    check_backbone(lambda dtype=None: tiny(dtype=dtype, embedding_dim=5), tmp_path)
    saved = 51 * (14 - 5)
    assert tiny().count_params() - tiny(embedding_dim=5).count_params() > saved - 200


def test_segments_and_order_matter():
    backbone, batch = tiny(), token_batch([6])
    backbone.set_weights([np.random.default_rng(0).normal(size=weight.shape) for weight in backbone.weights])
    plain = to_numpy(backbone(batch))["pooled_output"]
    for changed in ({"segment_ids": 1 - batch["segment_ids"]}, {"token_ids": np.flip(batch["token_ids"], 1).copy()}):
        assert np.abs(to_numpy(backbone({**batch, **changed}))["pooled_output"] - plain).max() > 1e-3


def test_dropout_acts_in_training_only():
    backbone, batch = tiny(dropout=0.5), token_batch([6, 3])
    still = to_numpy(backbone(batch))["sequence_output"]
    np.testing.assert_array_equal(to_numpy(backbone(batch, training=False))["sequence_output"], still)
    assert (to_numpy(backbone(batch, training=True))["sequence_output"] != still).any()
    calm = tiny(dropout=0.0, attention_dropout=0.0)
    np.testing.assert_array_equal(
        to_numpy(calm(batch, training=True))["sequence_output"], to_numpy(calm(batch))["sequence_output"]
    )


def test_intermediates_carry_gradients_to_the_embeddings():
    backbone = tiny()
    full = backbone.with_intermediates()
    for name in ("hidden_states", "attention_scores"):
        check_gradients_reach(
            lambda name=name: random_sum(full(token_batch([5, 3]))[name][0]),
            [backbone.parts["embeddings"].tokens],
        )


def test_more_tokens_than_positions_are_an_error():
    with pytest.raises(Exception, match=r"(?i)shape|dimension|broadcast"):
        tiny()(token_batch([17]))
