"""Hugging Face checkpoints: what we write we read, and what is wrong with a checkpoint is told in one sentence.

That transformers reads what we write, and we what it writes, is shown in tests/parity.
"""

import json
import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tfmodels
from tests.models.tiny import tiny
from tests.support import to_numpy, token_batch
from tfmodels.errors import UserError
from tfmodels.layers import MeanPooling
from tfmodels.models import (
    Backbone,
    BertBackbone,
    MaskedLM,
    PairClassifier,
    PairedMaskedLM,
    SpanClassifier,
    TextClassifier,
    TextEmbedder,
    TokenClassifier,
)

KINDS = {
    "backbone": lambda backbone: backbone,
    "text classifier": lambda backbone: TextClassifier(backbone, 3),
    "token classifier": lambda backbone: TokenClassifier(backbone, 5),
    "span classifier": SpanClassifier,
    "masked language model": MaskedLM,
    "masked language model with pairs": PairedMaskedLM,
    "pair classifier": PairClassifier,
}


FAMILIES = {
    "BERT": ("bert_tiny", {}),
    "BERT with relative keys": ("bert_tiny", {"positions": "relative_key"}),
    "RoBERTa": ("roberta_base", {"padding_id": 3}),
    "RoBERTa with relative keys": ("roberta_base", {"positions": "relative_key_query"}),
    "ALBERT": ("albert_base", {"num_groups": 2}),
    "NEZHA": ("nezha_base", {}),
    "ERNIE": ("ernie2_base", {"num_tasks": 3, "task_id": 1}),
}


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) * 0.3 for weight in model.weights])
    return model


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint of a tiny text classifier, for the tests to break."""
    tfmodels.to_hf(with_random_weights(TextClassifier(tiny(), 3)), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def change_config(directory, **changes):
    values = json.loads((directory / "config.json").read_text())
    values = {name: value for name, value in {**values, **changes}.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(values))


def change_tensors(directory, change):
    """Rewrites the tensors by `change(dict)`."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name, overrides", FAMILIES.values(), ids=FAMILIES)
def test_what_is_saved_is_loaded_again(name, overrides, make, tmp_path):
    lacking = {"roberta_base": (PairedMaskedLM, PairClassifier), "albert_base": (PairClassifier,)}
    if make in lacking.get(name, ()):
        with pytest.raises(UserError, match=f"no counterpart of this {make.__name__}"):
            tfmodels.to_hf(make(tiny(name)), tmp_path)
        return
    backbone = tiny(name, activation="relu", layer_norm_epsilon=1e-4, **overrides)
    model, batch = with_random_weights(make(backbone)), token_batch([6, 3])
    assert tfmodels.to_hf(model, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    twin = tfmodels.from_hf(tmp_path / "new" / "folder")
    assert type(twin) is type(model)
    config = getattr(twin, "backbone", twin).config
    assert config == backbone.config and type(config) is type(backbone.config)
    ours, theirs = to_numpy(model(batch)), to_numpy(twin(batch))
    for name, value in ours.items():
        # Token, span and language models have no pooler in transformers; theirs is not saved.
        np.testing.assert_array_equal(theirs[name], value)


def test_labels_are_written_with_their_numbers(tmp_path):
    tfmodels.to_hf(TextClassifier(tiny(), 3), tmp_path, labels=["bad", "so-so", "good"])
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["id2label"] == {"0": "bad", "1": "so-so", "2": "good"}
    assert values["label2id"] == {"bad": 0, "so-so": 1, "good": 2}
    assert values["architectures"] == ["BertForSequenceClassification"] and values["model_type"] == "bert"


def test_as_many_labels_as_classes_are_needed(tmp_path):
    with pytest.raises(UserError, match="2 labels were given for 3 classes"):
        tfmodels.to_hf(TextClassifier(tiny(), 3), tmp_path / "new", labels=["bad", "good"])
    assert not (tmp_path / "new").exists()


def test_a_backbone_is_loaded_out_of_a_task(checkpoint):
    backbone, task = tfmodels.from_hf(checkpoint, task=Backbone), tfmodels.from_hf(checkpoint)
    assert type(backbone) is BertBackbone and type(task) is TextClassifier
    for ours, theirs in zip(backbone.get_weights(), task.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_task_is_put_on_a_backbone_with_a_random_head(tmp_path):
    backbone = with_random_weights(tiny())
    tfmodels.to_hf(backbone, tmp_path)
    model = tfmodels.from_hf(tmp_path, task=TextClassifier, num_classes=7, dropout=0.3, pooling=MeanPooling())
    assert model.settings["num_classes"] == 7 and model.settings["dropout"] == 0.3
    for ours, theirs in zip(model.backbone.trainable_variables, backbone.trainable_variables, strict=True):
        np.testing.assert_array_equal(to_numpy(ours.value), to_numpy(theirs.value))
    embedder = tfmodels.from_hf(tmp_path, task=TextEmbedder, pooling=MeanPooling(), dtype="mixed_bfloat16")
    assert embedder.backbone.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize("name", ["bert_tiny", "roberta_base"])
def test_a_head_on_another_pooling_stays_random(name, tmp_path):
    saved = with_random_weights(TextClassifier(tiny(name), 3))
    tfmodels.to_hf(saved, tmp_path)
    for settings in ({}, {"task": TextClassifier}):
        model = tfmodels.from_hf(tmp_path, pooling=MeanPooling(), **settings)
        assert type(model.head.pooling) is MeanPooling
        assert not np.array_equal(to_numpy(model.head.logits.kernel.value), to_numpy(saved.head.logits.kernel.value))
        for ours, theirs in zip(model.backbone.parts["blocks"][0].weights, saved.backbone.parts["blocks"][0].weights):
            np.testing.assert_array_equal(to_numpy(ours.value), to_numpy(theirs.value))


def test_another_head_than_the_saved_one_may_be_asked_for(checkpoint):
    model = tfmodels.from_hf(checkpoint, task=TokenClassifier, num_classes=4)
    assert type(model) is TokenClassifier and model.settings["num_classes"] == 4
    saved = load_file(checkpoint / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(to_numpy(model.backbone.parts["embeddings"].tokens.value), saved)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_other_floating_point_types_are_read_as_float32(checkpoint, dtype):
    kept = {}

    def convert(tensors):
        for name, value in tensors.items():
            tensors[name] = value.astype(dtype)
            kept[name] = tensors[name].astype("float32")

    change_tensors(checkpoint, convert)
    model = tfmodels.from_hf(checkpoint)
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    np.testing.assert_array_equal(
        to_numpy(model.backbone.parts["blocks"][1].attention.query.kernel.value),
        kept["bert.encoder.layer.1.attention.self.query.weight"].T,
    )


def test_integer_buffers_are_left_out(checkpoint):
    change_tensors(checkpoint, lambda t: t.update({"bert.embeddings.position_ids": np.arange(16)[None]}))
    tfmodels.from_hf(checkpoint)


def test_the_old_names_of_normalisations_are_understood(checkpoint):
    def rename(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)

    expected = tfmodels.from_hf(checkpoint).get_weights()
    change_tensors(checkpoint, rename)
    for ours, theirs in zip(tfmodels.from_hf(checkpoint).get_weights(), expected):
        np.testing.assert_array_equal(ours, theirs)


def test_a_missing_folder_or_configuration_is_named(tmp_path, checkpoint):
    with pytest.raises(UserError, match=r"nowhere.config\.json does not exist"):
        tfmodels.from_hf(tmp_path / "nowhere")
    (checkpoint / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize(
    "text, told", [("{", "is not JSON"), ("[1]", "holds no JSON object"), (b"\xff\xfe", "is not JSON")]
)
def test_a_broken_configuration_is_told(checkpoint, text, told):
    (checkpoint / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=told):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize("model_type", ["t5", None])
def test_another_family_is_refused(checkpoint, model_type):
    change_config(checkpoint, model_type=model_type)
    with pytest.raises(UserError, match=f"of type {model_type!r}; supported: .*bert"):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"position_embedding_type": "rotary"}, "rotary"),
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"architectures": ["BertForMultipleChoice"]}, "BertForMultipleChoice"),
        ({"num_attention_heads": 5}, "5"),
    ],
)
def test_what_we_cannot_compute_is_refused(checkpoint, change, told):
    change_config(checkpoint, **change)
    with pytest.raises(UserError, match=told):
        tfmodels.from_hf(checkpoint)


def test_missing_weights_are_told(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_unread(checkpoint, name, tmp_path):
    (checkpoint / "model.safetensors").unlink()
    trap = tmp_path / "the pickle ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(trap), "w"))

    (checkpoint / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=f"only pickled weights .{name}.*model.safetensors"):
        tfmodels.from_hf(checkpoint)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_a_truncated_file_is_told(checkpoint, keep):
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole safetensors file"):
        tfmodels.from_hf(checkpoint)


def test_a_file_of_another_kind_is_told(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"PK\x03\x04" + b"x" * 1000)
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize(
    "name", ["bert.encoder.layer.2.output.dense.bias", "classifier.weight", "bert.pooler.dense.bias"]
)
def test_a_missing_tensor_is_named(checkpoint, name):
    change_tensors(checkpoint, lambda tensors: tensors.pop(name))
    with pytest.raises(UserError, match=f"no tensor '{name}'"):
        tfmodels.from_hf(checkpoint)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(checkpoint):
    change_config(checkpoint, intermediate_size=21)
    with pytest.raises(
        UserError, match=r"'bert.encoder.layer.0.intermediate.dense.weight' has shape \(19, 14\).*\(21, 14\)"
    ):
        tfmodels.from_hf(checkpoint)
    change_config(checkpoint, intermediate_size=19, vocab_size=60)
    with pytest.raises(UserError, match=r"'bert.embeddings.word_embeddings.weight' has shape \(51, 14\).*\(60, 14\)"):
        tfmodels.from_hf(checkpoint)


def test_models_without_a_counterpart_are_refused_before_anything_is_written(tmp_path):
    for model, told in (
        (TextEmbedder(tiny()), "TextEmbedder"),
        (TextClassifier(tiny(), 3, pooling=MeanPooling()), "TextClassifier"),
        (TextClassifier(tiny("roberta_base"), 3, pooling=MeanPooling()), "TextClassifier"),
        (tiny(embedding_dim=5), "embedding_dim"),
        (tiny(num_segments=0), "num_segments"),
        (tiny(activation="elu"), "activation 'elu'"),
        (tiny(positions="relative_key_value"), "relative_key_value"),
        (tiny(positions="relative_key", max_distance=3), "max_distance"),
        (tiny("nezha_base", positions="absolute"), "sinusoid_key_value"),
        (tiny("albert_base", sharing="attention"), "sharing='attention'"),
        (tiny("albert_base", positions="relative_key"), "relative_key"),
    ):
        with pytest.raises(UserError, match=told):
            tfmodels.to_hf(model, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_the_heads_dropout_is_the_checkpoints(checkpoint):
    change_config(checkpoint, classifier_dropout=0.35, hidden_dropout_prob=0.2)
    assert tfmodels.from_hf(checkpoint).settings["dropout"] == 0.35
    change_config(checkpoint, classifier_dropout=None)
    assert tfmodels.from_hf(checkpoint).settings["dropout"] == 0.2
    assert tfmodels.from_hf(checkpoint, dropout=0.5).settings["dropout"] == 0.5


def split(directory, shards=3):
    """Rewrites model.safetensors as transformers does with a max_shard_size; returns the index's contents."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    index = {"metadata": {"total_size": sum(value.nbytes for value in tensors.values())}, "weight_map": {}}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in sorted(tensors)[number::shards]}
        save_file(part, directory / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_sharded_weights_are_gathered(checkpoint):
    expected = tfmodels.from_hf(checkpoint).get_weights()
    split(checkpoint)
    for ours, theirs in zip(tfmodels.from_hf(checkpoint).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_wrong_with_shards_is_told(checkpoint):
    index = split(checkpoint)
    shard, path = "model-00002-of-00003.safetensors", checkpoint / "model.safetensors.index.json"
    data = (checkpoint / shard).read_bytes()
    (checkpoint / shard).write_bytes(data[:-3])
    with pytest.raises(UserError, match=f"{shard} is not a whole safetensors file"):
        tfmodels.from_hf(checkpoint)
    (checkpoint / shard).unlink()
    with pytest.raises(UserError, match=f"{shard}, which model.safetensors.index.json names, does not exist"):
        tfmodels.from_hf(checkpoint)
    # A shard is a file of this directory: an index names no other.
    (checkpoint.parent / shard).write_bytes(data)
    places = {name: f"../{file}" if file == shard else file for name, file in index["weight_map"].items()}
    path.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=f"{shard}, which model.safetensors.index.json names, does not exist"):
        tfmodels.from_hf(checkpoint)
    for broken in ({}, {"weight_map": {}}, {"weight_map": [1]}, {"weight_map": {"a": 3}}):
        path.write_text(json.dumps(broken))
        with pytest.raises(UserError, match="has no weight_map"):
            tfmodels.from_hf(checkpoint)


def test_a_tensor_without_a_place_is_warned_of_by_name(checkpoint):
    change_tensors(checkpoint, lambda tensors: tensors.update({"bert.encoder.layer.3.extra.weight": np.ones(2, "f4")}))
    for task in (None, Backbone, TokenClassifier):
        with pytest.warns(UserWarning, match="'bert.encoder.layer.3.extra.weight', which .* has no place for"):
            tfmodels.from_hf(checkpoint, task=task)


def test_many_tensors_without_a_place_are_counted(checkpoint):
    change_config(checkpoint, num_hidden_layers=2)
    with pytest.warns(UserWarning, match="layer.2.attention.output.LayerNorm.bias'.* and 8 more, which TextClassifier"):
        tfmodels.from_hf(checkpoint)


@pytest.mark.parametrize("name", ["bert_tiny", "roberta_base", "albert_base"])
def test_whole_checkpoints_and_other_heads_are_loaded_without_a_warning(name, tmp_path):
    saved = {
        "backbone": (lambda backbone: backbone, [None, Backbone, TextClassifier, TokenClassifier, MaskedLM]),
        "classifier": (lambda backbone: TextClassifier(backbone, 3), [None, Backbone, TokenClassifier, MaskedLM]),
        "language model": (MaskedLM, [None, TokenClassifier, SpanClassifier]),
    }
    for kind, (make, tasks) in saved.items():
        tfmodels.to_hf(make(tiny(name)), tmp_path / kind)
        for task in tasks:
            has_pooler = kind == "backbone" or (kind == "classifier" and name != "roberta_base")
            if not has_pooler and task is Backbone:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                tfmodels.from_hf(tmp_path / kind, task=task)


def test_a_pooler_that_stays_random_is_warned_of(tmp_path):
    tfmodels.to_hf(MaskedLM(tiny()), tmp_path)
    for task in (Backbone, TextClassifier):
        with pytest.warns(UserWarning, match="without 'bert.pooler.dense.bias'.*stays random"):
            tfmodels.from_hf(tmp_path, task=task)


def test_half_a_pooler_is_told(checkpoint):
    change_tensors(checkpoint, lambda tensors: tensors.pop("bert.pooler.dense.weight"))
    for task in (Backbone, TokenClassifier, TextClassifier):
        with pytest.raises(UserError, match=r"no tensor 'bert\.pooler\.dense\.weight'"):
            tfmodels.from_hf(checkpoint, task=task)


TIED = {
    "bert_tiny": ("cls.predictions.decoder", "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"),
    "roberta_base": ("lm_head.decoder", "roberta.embeddings.word_embeddings.weight", "lm_head.bias"),
    "albert_base": ("predictions.decoder", "albert.embeddings.word_embeddings.weight", "predictions.bias"),
}


@pytest.mark.parametrize("name", TIED)
def test_tied_tensors_may_be_there_twice_or_under_either_name(name, tmp_path):
    decoder, table, bias = TIED[name]
    tfmodels.to_hf(with_random_weights(MaskedLM(tiny(name))), tmp_path)
    batch = token_batch([6, 3])
    expected = to_numpy(tfmodels.from_hf(tmp_path)(batch))["logits"]

    def twice(tensors):
        tensors |= {f"{decoder}.weight": tensors[table], f"{decoder}.bias": tensors[bias]}

    def renamed(tensors):
        del tensors[table], tensors[bias]

    for change in (twice, renamed):
        change_tensors(tmp_path, change)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = tfmodels.from_hf(tmp_path)
        np.testing.assert_array_equal(to_numpy(model(batch))["logits"], expected)


@pytest.mark.parametrize("name", TIED)
def test_untied_tensors_are_refused(name, tmp_path):
    decoder, table, _ = TIED[name]
    tfmodels.to_hf(MaskedLM(tiny(name)), tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.update({f"{decoder}.weight": tensors[table] + 1}))
    with pytest.raises(UserError, match=f"'{decoder}.weight' differs from '{table}'"):
        tfmodels.from_hf(tmp_path)
    # The encoder alone has no output layer that could differ.
    tfmodels.from_hf(tmp_path, task=Backbone)


def test_a_language_model_is_loaded_out_of_a_pretrained_one_with_its_head(tmp_path):
    model, batch = with_random_weights(PairedMaskedLM(tiny())), token_batch([6, 3])
    tfmodels.to_hf(model, tmp_path)
    alone = tfmodels.from_hf(tmp_path, task=MaskedLM)
    assert type(alone) is MaskedLM
    np.testing.assert_array_equal(to_numpy(alone(batch))["logits"], to_numpy(model(batch))["logits"])


def test_a_pairs_class_is_loaded_out_of_a_pretrained_model_with_its_head(tmp_path):
    model, batch = with_random_weights(PairedMaskedLM(tiny())), token_batch([6, 3])
    tfmodels.to_hf(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = tfmodels.from_hf(tmp_path, task=PairClassifier)
    np.testing.assert_array_equal(to_numpy(alone(batch))["logits"], to_numpy(model(batch))["pair_logits"])
    # What is saved of it alone has no language model's head.
    tfmodels.to_hf(alone, tmp_path / "alone")
    assert type(tfmodels.from_hf(tmp_path / "alone")) is PairClassifier
    change_config(tmp_path / "alone", architectures=["BertForPreTraining"])
    with pytest.raises(UserError, match=r"no tensor 'cls\.predictions"):
        tfmodels.from_hf(tmp_path / "alone")


def test_another_familys_weights_are_told_by_a_tensor(checkpoint):
    change_config(checkpoint, model_type="roberta", architectures=["RobertaForSequenceClassification"])
    with pytest.raises(UserError, match=r"no tensor 'roberta\.embeddings\.word_embeddings\.weight'"):
        tfmodels.from_hf(checkpoint)


def test_a_quantised_tensor_is_told(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["classifier.weight"] = np.ones((3, 14), "int8")
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no tensor 'classifier\.weight'"):
        tfmodels.from_hf(checkpoint)


def test_the_dropout_of_alberts_classifier_has_a_name_of_its_own(tmp_path):
    tfmodels.to_hf(TextClassifier(tiny("albert_base"), 3, dropout=0.35), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["classifier_dropout_prob"] == 0.35
    assert tfmodels.from_hf(tmp_path).settings["dropout"] == 0.35


def test_activations_have_several_names_there_and_one_here(checkpoint):
    for theirs, ours in (("gelu_pytorch_tanh", "gelu_new"), ("gelu_python", "gelu"), ("swish", "silu")):
        change_config(checkpoint, hidden_act=theirs)
        model = tfmodels.from_hf(checkpoint)
        assert model.backbone.config.activation == ours
        tfmodels.to_hf(model, checkpoint.parent / "again")
        assert json.loads((checkpoint.parent / "again" / "config.json").read_text())["hidden_act"] == ours
