"""Every value of `positions` in every encoder of BERT's family: lengths, order, causal masks, files."""

import numpy as np
import pytest

from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tests.support.backbones import check_padding_invariance, check_round_trip
from tests.support.tensors import assert_close
from tfmodels.errors import UserError
from tfmodels.layers import BucketedBias, DistanceRescaling, LinearBias
from tfmodels.layers.xl import XLPositions
from tfmodels.models import BertConfig, FullAttention

SCHEMES = {
    "transformer_xl": XLPositions,
    "t5_bias": BucketedBias,
    "alibi": LinearBias,
    "distance_aware": DistanceRescaling,
    "none": None,
}
OLDER = ["absolute", "relative_key", "relative_key_query", "relative_key_value", "sinusoid_key_value"]
FAMILIES = ["bert_tiny", "roberta_base", "albert_base", "electra_small", "ernie_base", "nezha_base"]


def model(positions, **overrides):
    backbone = tiny(positions=positions, num_layers=1, **overrides)
    random = np.random.default_rng(0)
    for variable in backbone.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, 0.4, variable.shape))
    return backbone


def states(backbone, batch):
    return to_numpy(backbone(batch))["sequence_output"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_every_scheme(name):
    """And reads more tokens than `max_sequence_length`, which is 16 here."""
    for positions, scheme in SCHEMES.items():
        backbone = tiny(name, positions=positions, num_layers=1, max_distance=None)
        attention = backbone.parts["blocks"][0].attention
        assert attention.positions is None if scheme is None else type(attention.positions) is scheme
        assert backbone.parts["embeddings"].positions is None and backbone.max_length is None
        assert np.isfinite(states(backbone, token_batch([23, 0, 5]))).all()


@pytest.mark.parametrize("positions", [*SCHEMES, *OLDER])
def test_no_scheme_lets_the_future_through_a_causal_mask(positions):
    """Every position in its turn is another token: none before it notices, it does itself."""
    backbone = model(positions, attention=FullAttention(causal=True))
    batch = token_batch([6])
    plain = states(backbone, batch)[0]
    changed = {name: np.repeat(values, 6, axis=0) for name, values in batch.items()}
    changed["token_ids"][range(6), range(6)] = 50
    for place, row in enumerate(states(backbone, changed)):
        assert_close(row[:place], plain[:place], 1e-5, f"before {place}")
        assert (np.abs(row - plain).max(axis=-1)[place:] > 1e-6).all()


@pytest.mark.parametrize("positions", SCHEMES)
def test_a_scheme_knows_order_and_no_scheme_does_not(positions):
    backbone, batch = model(positions, num_segments=0), token_batch([7])
    order = np.array([1, 0, 2, 6, 4, 5, 3])
    turned = {name: values[:, order] for name, values in batch.items()}
    difference = np.abs(states(backbone, turned) - states(backbone, batch)[:, order]).max()
    assert difference < 1e-5 if positions == "none" else difference > 1e-2
    # Of all schemes DA-Transformer's and ALiBi's do not tell before from after.
    mirrored = {name: values[:, ::-1].copy() for name, values in batch.items()}
    difference = np.abs(states(backbone, mirrored) - states(backbone, batch)[:, ::-1]).max()
    assert difference < 1e-4 if positions in ("none", "alibi", "distance_aware") else difference > 1e-2


@pytest.mark.parametrize("positions", SCHEMES)
def test_padding_changes_nothing_and_files_give_the_model_back(positions, tmp_path):
    backbone = model(positions)
    check_padding_invariance(backbone)
    check_round_trip(backbone, tmp_path)


def test_buckets_are_those_of_t5_unless_told_otherwise():
    causal = tiny(positions="t5_bias", attention=FullAttention(causal=True), max_distance=30)
    for backbone, is_causal, farthest in ((tiny(positions="t5_bias"), False, 128), (causal, True, 30)):
        scheme = backbone.parts["blocks"][0].attention.positions
        assert (scheme.num_buckets, scheme.max_distance, scheme.is_causal) == (32, farthest, is_causal)
    with pytest.raises(UserError, match="leave no ranges"):
        tiny(positions="t5_bias", max_distance=4)


def test_unknown_positions_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="no positions 'distance_awar': did you mean 'distance_aware'"):
        BertConfig(positions="distance_awar")
