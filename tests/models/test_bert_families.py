"""The families that derive from BERT: what each adds to the registry's sweep and to parity."""

import itertools

import keras
import numpy as np
import pytest

from tests.models.tiny import tiny, tiny_config
from tests.support import check_backbone, to_numpy, token_batch
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.models import AlbertBackbone

VARIANTS = {
    "ALBERT, groups that share attention": ("albert_base", {"sharing": "attention", "num_groups": 2}),
    "ALBERT, shared feed-forward": ("albert_base", {"sharing": "feed_forward"}),
    "ALBERT, nothing shared": ("albert_base", {"sharing": "none"}),
    "ALBERT, groups of two layers, E = D": (
        "albert_base",
        {"num_layers": 4, "num_groups": 2, "inner_layers": 2, "embedding_dim": 14},
    ),
    "ERNIE with tasks": ("ernie2_base", {"num_tasks": 3, "task_id": 1}),
    "ERNIE with tasks, relative keys, E < D": (
        "ernie2_base",
        {"num_tasks": 3, "positions": "relative_key", "embedding_dim": 6},
    ),
    "BERT, relative keys": ("bert_base", {"positions": "relative_key"}),
    "BERT, relative keys and queries": ("bert_base", {"positions": "relative_key_query"}),
    "BERT, positions of Shaw et al.": ("bert_base", {"positions": "relative_key_value", "max_distance": 4}),
    "RoBERTa, relative keys": ("roberta_base", {"positions": "relative_key"}),
}


def with_random_weights(backbone):
    random = np.random.default_rng(0)
    backbone.set_weights([random.normal(size=weight.shape) * 0.5 for weight in backbone.weights])
    return backbone


@pytest.mark.parametrize("name, overrides", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_keeps_to_the_contract(name, overrides, tmp_path):
    check_backbone(lambda dtype=None: tiny(name, dtype, **overrides), tmp_path)


SWEPT = {**VARIANTS, "RoBERTa": ("roberta_base", {}), "NEZHA": ("nezha_base", {}), "ALBERT": ("albert_base", {})}


@pytest.mark.parametrize("name, overrides", SWEPT.values(), ids=SWEPT)
def test_compiled_graphs_take_any_length(name, overrides):
    backbone = with_random_weights(tiny(name, **overrides))
    # TensorFlow compiles for unknown lengths from the second shape on.
    for lengths in ([5, 3], [9, 2], [4, 7]):
        batch = token_batch(lengths)
        compiled, eager = backbone.predict_on_batch(batch), to_numpy(backbone(batch))
        for output, value in eager.items():
            assert_close(compiled[output], value, 1e-5, output)


# arXiv:1909.11942, table 4, the rows of E = 128, in millions.
@pytest.mark.parametrize("sharing, millions", [("all", 12), ("attention", 64), ("feed_forward", 38), ("none", 89)])
def test_albert_shares_as_in_the_papers_table(sharing, millions):
    config = tiny_config("albert_base").replace(
        vocabulary_size=30_000,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        intermediate_dim=3072,
        embedding_dim=128,
        max_sequence_length=512,
        sharing=sharing,
    )
    with keras.StatelessScope(initialize_variables=False):
        count = AlbertBackbone(config).count_params()
    keras.utils.clear_session()
    assert abs(count / 1e6 - millions) < 1


@pytest.mark.parametrize(
    "overrides, attention, feed_forward, blocks",
    [
        ({}, "aaaaaa", "aaaaaa", "aaaaaa"),
        ({"num_groups": 2}, "aaabbb", "aaabbb", "aaabbb"),
        ({"num_groups": 4}, "aabccd", "aabccd", "aabccd"),
        ({"inner_layers": 3}, "abcabc", "abcabc", "abcabc"),
        ({"sharing": "attention", "num_groups": 3}, "aabbcc", "abcdef", "abcdef"),
        ({"sharing": "feed_forward", "inner_layers": 2}, "abcdef", "ababab", "abcdef"),
        ({"sharing": "none"}, "abcdef", "abcdef", "abcdef"),
    ],
)
def test_shared_layers_are_one_instance(overrides, attention, feed_forward, blocks):
    backbone = tiny("albert_base", num_layers=6, **overrides)

    def letters(layers):
        seen = list(dict.fromkeys(layers))
        return "".join("abcdef"[seen.index(layer)] for layer in layers)

    assert letters(backbone.parts["blocks"]) == blocks
    assert letters([block.attention for block in backbone.parts["blocks"]]) == attention
    assert letters([block.feed_forward for block in backbone.parts["blocks"]]) == feed_forward


@pytest.mark.parametrize("sharing", ["all", "attention", "feed_forward"])
def test_shared_weights_and_their_optimizer_slots_exist_once(sharing):
    backbone = tiny("albert_base", sharing=sharing)
    variables = backbone.trainable_variables
    assert len({id(variable) for variable in variables}) == len(variables)
    part = {"attention": "query/kernel", "feed_forward": "intermediate/kernel"}.get(sharing, "query/kernel")
    assert sum(variable.path.endswith(part) for variable in variables) == 1
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    assert sum(np.prod(v.shape) for v in optimizer.variables) - 2 == 2 * backbone.count_params()


def test_all_shared_is_one_layer_applied_again_and_again():
    backbone, batch = with_random_weights(tiny("albert_base")), token_batch([6, 3])
    states = to_numpy(backbone.with_intermediates()(batch))["hidden_states"]
    block, mask = backbone.parts["blocks"][0], batch["padding_mask"][:, None, None]
    for before, after in itertools.pairwise(states):
        assert_close(to_numpy(block(before, attention_mask=mask)), after, 1e-5)


@pytest.mark.parametrize(
    "name, overrides, told",
    [
        ("albert_base", {"sharing": "atention"}, "did you mean 'attention'"),
        ("albert_base", {"num_groups": 0}, "num_groups=0 is not between 1 and the 3 places"),
        ("albert_base", {"num_groups": 4}, "num_groups=4"),
        ("albert_base", {"inner_layers": 2}, "inner_layers=2 does not divide num_layers=3"),
        ("ernie2_base", {"num_tasks": 3, "task_id": 3}, "task_id=3 is none of 3 tasks"),
        ("bert_base", {"positions": "relative_keys"}, "did you mean 'relative_key'"),
    ],
)
def test_impossible_configurations_are_refused(name, overrides, told):
    with pytest.raises(UserError, match=told):
        tiny(name, **overrides)


def test_roberta_has_one_segment_and_counts_around_holes():
    backbone, batch = with_random_weights(tiny("roberta_base")), token_batch([7])
    plain = to_numpy(backbone(batch))["sequence_output"]
    other = {**batch, "segment_ids": 1 - batch["segment_ids"]}
    np.testing.assert_array_equal(to_numpy(backbone(other))["sequence_output"], plain)
    # A hole anywhere is as if the tokens stood together.
    holed = {name: np.insert(value, [0, 3, 3], 0, axis=1) for name, value in batch.items()}
    keep = [1, 2, 3, 6, 7, 8, 9]
    assert_close(to_numpy(backbone(holed))["sequence_output"][:, keep], plain, 1e-5)


def test_nezha_reads_rows_of_any_length_and_knows_distances_alone():
    backbone = with_random_weights(tiny("nezha_base", max_sequence_length=4))
    batch = token_batch([40])
    assert np.isfinite(to_numpy(backbone(batch))["sequence_output"]).all()
    # Padding in front moves every token and changes nothing.
    moved = {name: np.pad(value, [(0, 0), (3, 0)]) for name, value in batch.items()}
    assert_close(
        to_numpy(backbone(moved))["sequence_output"][:, 3:], to_numpy(backbone(batch))["sequence_output"], 1e-5
    )
    # Order matters.
    swapped = {**batch, "token_ids": batch["token_ids"][:, ::-1].copy(), "segment_ids": batch["segment_ids"] * 0}
    straight = {**batch, "segment_ids": batch["segment_ids"] * 0}
    difference = (
        to_numpy(backbone(swapped))["sequence_output"][:, ::-1] - to_numpy(backbone(straight))["sequence_output"]
    )
    assert np.abs(difference).max() > 1e-2


def test_ernie_knows_its_task():
    batch = token_batch([5, 3])
    first = with_random_weights(tiny("ernie2_base", num_tasks=2))
    second = tiny("ernie2_base", num_tasks=2, task_id=1)
    second.set_weights(first.get_weights())
    assert (to_numpy(first(batch))["pooled_output"] != to_numpy(second(batch))["pooled_output"]).any()
    assert tiny("ernie2_base", num_tasks=2).count_params() - tiny("ernie2_base").count_params() == 2 * 14
    # A batch can name the task of every row.
    named = first.with_task_ids()
    assert {id(variable) for variable in named.variables} == {id(variable) for variable in first.variables}
    mixed = to_numpy(named({**batch, "task_ids": np.array([1, 0])}))
    for name, value in mixed.items():
        expected = [to_numpy(second(batch))[name][0], to_numpy(first(batch))[name][1]]
        assert_close(value, np.stack(expected), 1e-5, name)
    with pytest.raises(UserError, match="give it num_tasks"):
        tiny("ernie2_base").with_task_ids()
