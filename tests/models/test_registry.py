"""Every registered model: the contract at a tiny size, and the paper's parameter count at its own."""

from itertools import pairwise

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
    # The others of the 24 small models, by layers and width; google-research/bert has 4.4 to 110.1 millions there.
    "bert_l2_h256": 9_591_040,
    "bert_l2_h512": 22_458_880,
    "bert_l2_h768": 38_603_520,
    "bert_l4_h128": 4_782_464,
    "bert_l4_h768": 52_779_264,
    "bert_l6_h128": 5_179_008,
    "bert_l6_h256": 12_750_080,
    "bert_l6_h512": 35_068_416,
    "bert_l6_h768": 66_955_008,
    "bert_l8_h128": 5_575_552,
    "bert_l8_h256": 14_329_600,
    "bert_l8_h768": 81_130_752,
    "bert_l10_h128": 5_972_096,
    "bert_l10_h256": 15_909_120,
    "bert_l10_h512": 47_677_952,
    "bert_l10_h768": 95_306_496,
    "bert_l12_h128": 6_368_640,
    "bert_l12_h256": 17_488_640,
    "bert_l12_h512": 53_982_720,
    # The released models with other vocabularies: 28,996, 119,547, 105,879 and 21,128 pieces. SpanBERT's sizes are
    # those of the cased ones, and UniLM's, which has six segments.
    "bert_base_cased": 108_310_272,
    "bert_large_cased": 333_579_264,
    "bert_base_multilingual_cased": 177_853_440,
    "bert_base_multilingual_uncased": 167_356_416,
    "bert_base_chinese": 102_267_648,
    "spanbert_base": 108_310_272,
    "spanbert_large": 333_579_264,
    "unilm_base": 108_310_272 + 4 * 768,
    "unilm_large": 333_579_264 + 4 * 1024,
    # The papers' tables in millions: RoBERTa 125 and 355, ALBERT 12, 18, 60 and 235 (its released xlarge and xxlarge
    # have 59 and 223), NEZHA and ERNIE as BERT with other tables of words and positions.
    "roberta_base": 124_645_632,
    "roberta_large": 355_359_744,
    "albert_base": 11_683_584,
    "albert_large": 17_683_968,
    "albert_xlarge": 58_724_864,
    "albert_xxlarge": 222_595_584,
    "nezha_base": 101_874_432,
    "nezha_large": 324_998_144,
    "ernie_base": 99_866_112,
    "ernie2_base": 109_483_776,
    "ernie2_large": 335_143_936,
    # ELECTRA's 14, 110 and 335 millions; its generators have no numbers there.
    "electra_small": 13_483_008,
    "electra_base": 108_891_648,
    "electra_large": 334_092_288,
    "electra_small_generator": 4_580_928,
    "electra_base_generator": 33_511_168,
    "electra_large_generator": 50_999_552,
    # BigBird's released models: BERT's with other tables of words and positions.
    "bigbird_base": 127_468_800,
    "bigbird_large": 359_123_968,
    # ETC's 166 and 558 millions, with the labels of distances.
    "etc_base": 166_295_040,
    "etc_large": 558_879_744,
    # XLNet's paper has none; the released cased models are these.
    "xlnet_base": 116_718_336,
    "xlnet_large": 360_268_800,
    # The paper's 151 and 41, 277, 277 and 800 millions; its large one, 257, was released with 284.
    "transformer_xl_standard": 150_850_870,
    "transformer_xl_large": 283_885_936,
    "transformer_xl_enwik8": 41_066_496,
    "transformer_xl_enwik8_large": 277_278_720,
    "transformer_xl_text8": 277_097_472,
    "transformer_xl_one_billion_word": 838_381_548,
    # 149 and 3 millions, as released.
    "reformer_enwik8": 148_654_080,
    "reformer_crime_and_punishment": 2_584_064,
    # The papers' 24 and 33 millions, less the softmax's bias and one of two biases an LSTM; released: V = 238,462.
    "awd_lstm_penn_treebank": 24_200_800,
    "awd_lstm_wikitext2": 33_512_000,
    "ulmfit": 115_585_600,
    # 30,522 word vectors of 300 numbers, and one layer.
    "da_transformer": 10_089_840,
    # BERT's sizes with another attention; counted by hand, as the papers' models have other parts or no counts.
    "linformer_base": 124_776_704,
    "external_transformer": 95_406_336,
    "feed_forward_only": 106_330_368,
    "low_rank_transformer": 28_829_184,
    "routing_transformer_enwik8": 123_183_104,
    "routing_transformer_wikitext103": 203_237_888,
    # The papers' have no table of words: 30,522 vectors of D numbers.
    "set_transformer": 30_522 * 128 + 606_976,
    "set_transformer_point_cloud": 30_522 * 256 + 1_724_672,
    # BERT's and a table of relations a layer; two attentions a round and nothing else; BERT's without feed-forward
    # networks. The papers count no parameters.
    "bp_transformer": 12_785_950,
    "bp_transformer_sst": 12_053_000,
    "bp_transformer_enwik8": 38_278_912,
    "bp_transformer_text8": 38_188_288,
    "star_transformer": 10_758_000,
    "star_transformer_snli": 24_396_000,
    "multi_scale_transformer": 10_398_000,
    # Beside the table of 30,522 word pieces: 0.96 millions with the classifier's 60,602 (tests/models/test_bilstm.py).
    "bilstm": 30_522 * 600 + 901_200,
}


def counted(config, width=None, other_rows=None, layers=None):
    """The parameters of BERT, counted from the paper's description.

    Args:
        config: The configuration.
        width: The size of the embedding vectors.
        other_rows: The rows of the tables that are not of words.
        layers: The number of layers that have weights of their own.
    """
    d, f, e = config.hidden_dim, config.intermediate_dim, width or config.hidden_dim
    rows = config.max_sequence_length + config.num_segments if other_rows is None else other_rows
    embeddings = (config.vocabulary_size + rows) * e + 2 * e
    attention = 4 * (d * d + d) + 2 * d
    feed_forward = d * f + f + f * d + d + 2 * d
    return embeddings + (layers or config.num_layers) * (attention + feed_forward) + d * d + d


def counted_with_attention(config, other_rows=None):
    """BERT with the weights of its kind of attention, and a map after embeddings of another size."""
    d, e = config.hidden_dim, config.embedding_dim
    beside = BESIDE_FULL_ATTENTION.get(type(config.attention).__name__, lambda config, kind: 0)
    count = counted(config, width=e, other_rows=other_rows) + (e * d + d if e else 0)
    return count + beside(config, config.attention)


def beside_linformer(config, kind):
    """Maps of k rows, for every head, for keys and for values, for keys and values of a layer, or for all."""
    maps = {"none": 2 * config.num_heads * config.num_layers, "headwise": 2 * config.num_layers}
    maps |= {"key_value": config.num_layers, "layerwise": 1}
    return maps[kind.sharing] * kind.projected_length * config.max_sequence_length


def beside_external(config, kind):
    """Two memories of a head's width in place of the projections to keys and values."""
    d = config.hidden_dim
    return config.num_layers * (2 * kind.memory_size * d // config.num_heads - 2 * (d * d + d))


def beside_feed_forward_only(config, kind):
    """Two maps along the length, four times as wide between, in place of four projections."""
    d, length = config.hidden_dim, config.max_sequence_length
    return config.num_layers * (8 * length * length + 5 * length - 4 * (d * d + d))


def beside_routing(config, kind):
    """Causal: the centroids of half of the heads, and no projection to keys."""
    d = config.hidden_dim
    return config.num_layers * (kind.num_clusters * d // 2 - (d * d + d))


# By the kind of attention: the weights that it has more than full attention.
BESIDE_FULL_ATTENTION = {
    "Linformer": beside_linformer,
    "External": beside_external,
    "FeedForwardOnly": beside_feed_forward_only,
    "LowRank": lambda config, kind: config.num_layers * 2 * kind.rank * config.hidden_dim,
    "Routing": beside_routing,
}


def counted_electra(config):
    """BERT without the pooler, and the map from the embeddings to the layers."""
    d, e = config.hidden_dim, config.embedding_dim
    return counted(config, width=e) - (d * d + d) + (0 if e == d else e * d + d)


def counted_da_transformer(config):
    """BERT without tables of positions and segments, wider after the embeddings; two numbers a head."""
    d, e = config.hidden_dim, config.embedding_dim
    return counted(config, width=e, other_rows=0) + e * d + d + config.num_layers * 2 * config.num_heads


def counted_set_transformer(config):
    """A block is attention and one matrix: two a layer, beside its points; one of the seeds; those of the decoder."""
    d = config.hidden_dim
    block = 5 * (d * d + d) + 2 * 2 * d
    layers = config.num_layers * (2 * block + config.attention.num_points * d)
    pooler = block + d * d + d + config.num_seeds * d
    return config.vocabulary_size * d + 2 * d + layers + pooler + config.num_decoder_layers * block


def counted_etc(config):
    """BERT without positions; 2 queries, 4 keys, 4 values and 2 outputs a layer, and two tables of labels.

    The paper's 166 and 558 millions; 109 with the projections of BERT.
    """
    d, kind = config.hidden_dim, config.attention
    layer = (12 - 4) * (d * d + d) + 2 * (2 * kind.max_distance + 1 + 2) * d
    return counted(config, other_rows=config.num_segments) + d + config.num_layers * layer


def counted_bp_transformer(config):
    """BERT without pooler and positions; a layer has a vector for the token and for k nodes a level and side."""
    d, kind = config.hidden_dim, config.attention
    relations = 1 + (1 if kind.causal else 2) * kind.num_levels * kind.density
    own = config.num_layers * relations * d // config.num_heads
    return counted(config, other_rows=config.num_segments) - (d * d + d) + own


def counted_without_feed_forward(config, attentions):
    """Tables and their norm; so many attentions and two norms a layer."""
    d = config.hidden_dim
    rows = config.vocabulary_size + config.max_sequence_length + config.num_segments
    return rows * d + 2 * d + config.num_layers * (attentions * 4 * (d * d + d) + 2 * 2 * d)


def counted_xlnet(config):
    """No positions and no biases of projections; five matrices, three biases of queries and two segments a layer."""
    d, f = config.hidden_dim, config.intermediate_dim
    layer = 5 * d * d + 3 * d + 2 * d + 4 * d + 2 * d * f + f + d
    return (config.vocabulary_size + 1) * d + config.num_layers * layer


def counted_transformer_xl(config):
    """Adaptive embeddings, and XLNet's layer with two biases of queries and no segments."""
    d, f, shrinkage = config.hidden_dim, config.intermediate_dim, config.shrinkage
    ends = (0, *config.cutoffs, config.vocabulary_size)
    clusters = [(last - first, d // shrinkage**index) for index, (first, last) in enumerate(pairwise(ends))]
    embeddings = sum(rows * size + (size * d if shrinkage > 1 else 0) for rows, size in clusters)
    return embeddings + config.num_layers * (5 * d * d + 2 * d + 4 * d + 2 * d * f + f + d)


def counted_reformer(config):
    """Four matrices a layer without biases, three where queries are keys; two axial tables; norms, the last one 2 D."""
    d, f, inner = config.hidden_dim, config.intermediate_dim, config.num_heads * config.head_dim
    kinds = [config.attention[index % len(config.attention)] for index in range(config.num_layers)]
    attention = sum((3 if type(kind).__name__ == "LSHAttention" else 4) * d * inner for kind in kinds)
    positions = sum(rows * size for rows, size in zip(config.axial_shape, config.axial_dims))
    return (
        config.vocabulary_size * d
        + positions
        + attention
        + config.num_layers * (d * f + f + f * d + d + 4 * d)
        + 2 * 2 * d
    )


def counted_bilstm(config):
    """Four gates a direction, each of the input, the state and a bias; the next layer reads both directions."""
    e, d, h = config.embedding_dim, config.hidden_dim, config.hidden_dim // 2
    layers = [2 * 4 * (width * h + h * h + h) for width in [e] + [d] * (config.num_layers - 1)]
    return config.vocabulary_size * e + sum(layers)


def counted_awd_lstm(config):
    """Embeddings, and four gates an LSTM, each of the input, the state and a bias."""
    widths = [config.hidden_dim, *[config.intermediate_dim] * (config.num_layers - 1), config.hidden_dim]
    return config.vocabulary_size * widths[0] + sum(4 * h * (d + h + 1) for d, h in pairwise(widths))


# By the name of the configuration's class: a family's count, from its paper.
COUNTED = {
    "AwdLSTMConfig": counted_awd_lstm,
    "BertConfig": counted_with_attention,
    "BigBirdConfig": counted,
    "BPTransformerConfig": counted_bp_transformer,
    "BilstmConfig": counted_bilstm,
    "MultiScaleConfig": lambda config: counted_without_feed_forward(config, 1),
    "StarTransformerConfig": lambda config: counted_without_feed_forward(config, 2),
    "ReformerConfig": counted_reformer,
    "RobertaConfig": lambda config: counted_with_attention(config, other_rows=514 + 1),
    "NezhaConfig": lambda config: counted(config, other_rows=2),
    "DATransformerConfig": counted_da_transformer,
    "ErnieConfig": counted,
    "ElectraConfig": counted_electra,
    "ETCConfig": counted_etc,
    "XLNetConfig": counted_xlnet,
    "SetTransformerConfig": counted_set_transformer,
    "TransformerXLConfig": counted_transformer_xl,
    "AlbertConfig": lambda config: counted(config, width=128, layers=1) + 128 * config.hidden_dim + config.hidden_dim,
}


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
    return [pytest.param(names[0], id=f"{names[0]}+{len(names) - 1}") for names in by_configuration.values()]


@pytest.mark.parametrize("name", distinct_at_a_tiny_size())
def test_every_model_keeps_to_the_contract(name, tmp_path):
    check_backbone(lambda dtype=None: tiny(name, dtype), tmp_path)


@pytest.mark.parametrize("name", tfmodels.list_models())
def test_every_model_has_its_published_number_of_parameters(name):
    _, preset = tfmodels.describe_model(name)
    assert isinstance(preset, Preset) and isinstance(preset.config, Config) and preset.source
    assert count_without_memory(name) == preset.parameters == PUBLISHED[name]
    assert preset.parameters == COUNTED[type(preset.config).__name__](preset.config)


def test_counting_without_memory_counts_what_is_built():
    assert tfmodels.create_model("bert_tiny").count_params() == count_without_memory("bert_tiny")


def test_models_are_listed_by_pattern():
    assert set(PUBLISHED) == set(tfmodels.list_models())
    assert tfmodels.list_models("bert_*") == sorted(name for name in PUBLISHED if name.startswith("bert_"))
    assert len(tfmodels.list_models("bert_*")) == 24 + 1 + 5
    assert tfmodels.list_models("no such*") == []


def test_a_model_carries_its_name_and_overrides():
    model = tiny("minilm_l6", num_layers=2)
    assert isinstance(model, Backbone)
    assert model.name == "minilm_l6"
    assert model.config.num_layers == 2 and model.config.hidden_dim == 14


@pytest.mark.parametrize(
    "name, hint", [("bert_bsae", "did you mean 'bert_base'?"), ("zzz", "choose one of albert_base, albert_large")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, hint):
    with pytest.raises(UserError, match=f"no model '{name}'") as error:
        tfmodels.create_model(name)
    assert hint in str(error.value)


def test_an_unknown_override_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no field 'hidden_size': did you mean 'hidden_dim'"):
        tfmodels.create_model("bert_tiny", hidden_size=3)
