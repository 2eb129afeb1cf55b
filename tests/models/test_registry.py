"""Every registered model: the contract at a tiny size, and the paper's parameter count at its own."""

import keras
import pytest

import tfmodels
from tests.models.tiny import tiny, tiny_config
from tests.support import check_backbone
from tfmodels.errors import UserError
from tfmodels.models import Backbone, Config, Preset

# What the papers or the released checkpoints give, written down here a second time.
PUBLISHED = {
    # google-research/bert: table of released sizes (4.4, 11.3, 29.1, 41.7, 110.1 millions with the prediction head's
    # parts); these are the encoder with its pooler, counted by hand in `counted`.
    "bert_tiny": 4_385_920,
    "bert_mini": 11_170_560,
    "bert_small": 28_763_648,
    "bert_medium": 41_373_184,
    "bert_base": 109_482_240,
    "bert_large": 335_141_888,
    "minilm_l6": 22_713_216,
}


def counted(config):
    """The parameters of BERT, counted from the paper's description."""
    d, f = config.hidden_dim, config.intermediate_dim
    embeddings = (config.vocabulary_size + config.max_sequence_length + config.num_segments) * d + 2 * d
    attention = 4 * (d * d + d) + 2 * d
    feed_forward = d * f + f + f * d + d + 2 * d
    return embeddings + config.num_layers * (attention + feed_forward) + d * d + d


def count_without_memory(name):
    """The parameters of a model whose weights are never allocated."""
    with keras.StatelessScope(initialize_variables=False):
        count = tfmodels.create_model(name).count_params()
    keras.utils.clear_session()  # forgets the weights that wait to be initialised
    return count


def distinct_at_a_tiny_size():
    """One name for every different tiny model: presets that differ in sizes alone are one model there."""
    by_configuration = {}
    for name in tfmodels.list_models():
        by_configuration.setdefault(tiny_config(name), []).append(name)
    return [pytest.param(names[0], id="=".join(names)) for names in by_configuration.values()]


@pytest.mark.parametrize("name", distinct_at_a_tiny_size())
def test_every_model_keeps_to_the_contract(name, tmp_path):
    check_backbone(lambda dtype=None: tiny(name, dtype), tmp_path)


@pytest.mark.parametrize("name", tfmodels.list_models())
def test_every_model_has_its_published_number_of_parameters(name):
    _, preset = tfmodels.describe_model(name)
    assert isinstance(preset, Preset) and isinstance(preset.config, Config) and preset.source
    assert count_without_memory(name) == preset.parameters == PUBLISHED[name] == counted(preset.config)


def test_counting_without_memory_counts_what_is_built():
    assert tfmodels.create_model("bert_tiny").count_params() == count_without_memory("bert_tiny")


def test_models_are_listed_by_pattern():
    assert set(PUBLISHED) == set(tfmodels.list_models())
    assert tfmodels.list_models("bert_*") == sorted(name for name in PUBLISHED if name.startswith("bert_"))
    assert tfmodels.list_models("no such*") == []


def test_a_model_carries_its_name_and_overrides():
    model = tiny("minilm_l6", num_layers=2)
    assert isinstance(model, Backbone)
    assert model.name == "minilm_l6"
    assert model.config.num_layers == 2 and model.config.hidden_dim == 14


@pytest.mark.parametrize(
    "name, hint", [("bert_bsae", "did you mean 'bert_base'?"), ("zzz", "choose one of bert_base, bert_large")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, hint):
    with pytest.raises(UserError, match=f"no model '{name}'") as error:
        tfmodels.create_model(name)
    assert hint in str(error.value)


def test_an_unknown_override_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no field 'hidden_size': did you mean 'hidden_dim'"):
        tfmodels.create_model("bert_tiny", hidden_size=3)
