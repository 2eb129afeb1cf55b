"""The export: its files, its signatures, its card; and that a failure leaves nothing."""

import hashlib
import json
import shutil
from collections import namedtuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmodels
from serving import SavedModel, StatusError, export_savedmodel
from serving.card import read_card
from serving.operations import used_operations
from serving.status import Code
from serving.warmup import WARMUP_FILE, read_recorded, serialized_examples
from tests.serving.support import LABELS, VOCABULARY, make_exported, tiny_classifier, tiny_preprocessor
from tfmodels.errors import UserError
from tfmodels.layers.pooling import MeanPooling
from tfmodels.models.tasks import TextEmbedder
from tfmodels.text import TextPreprocessor, WordPieceTokenizer


@pytest.fixture(scope="module")
def model(exported):
    with SavedModel(exported.path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def small():
    return tiny_classifier(seed=4)


def test_the_folder_holds_all_that_serving_needs(exported):
    files = {path.relative_to(exported.path).as_posix() for path in exported.path.rglob("*") if path.is_file()}
    assert files == {
        "MODEL_CARD.md",
        "assets.extra/tf_serving_warmup_requests",
        "assets/labels.txt",
        "assets/preprocessor.json",
        "assets/vocab.txt",
        "fingerprint.pb",
        "model_card.json",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert (exported.path / "assets" / "labels.txt").read_text() == "negative\npositive\n"


def test_the_saved_preprocessor_is_the_exported_one(exported):
    loaded = TextPreprocessor.load(exported.path / "assets")
    texts = tf.constant(["good film", "bad"])
    for name, values in exported.preprocessor(texts).items():
        np.testing.assert_array_equal(loaded(texts)[name], values)


def test_serve_examples_answers_as_serving_default_does(model, exported):
    texts = ["good film", "", "bad plot"]
    examples = serialized_examples({"text": texts})
    for name, expected in exported.answers(texts).items():
        np.testing.assert_allclose(model.run({"examples": examples}, "serve_examples")[name], expected, atol=1e-6)


def test_the_models_graph_is_made_once(small, tmp_path, monkeypatch):
    traced, predictions = [], small.predictions
    monkeypatch.setattr(small, "predictions", lambda outputs: traced.append(outputs) or predictions(outputs))
    export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor(), labels=LABELS)
    assert len(traced) == 1


def test_pairs_have_one_input_for_each_text(exported_pairs):
    inputs = {"text": ["good film", "bad"], "text_pair": ["the plot", "good " * 30]}
    with SavedModel(exported_pairs.path) as model:
        assert list(model.signature().inputs) == ["text", "text_pair"]
        outputs = model.run(inputs)
        from_examples = model.run({"examples": serialized_examples(inputs)}, "serve_examples")
        with pytest.raises(StatusError):
            model.run({"text": ["good", "bad"], "text_pair": ["good"]})
    for name, expected in exported_pairs.reference(inputs).items():
        np.testing.assert_allclose(outputs[name], expected, atol=1e-6)
        np.testing.assert_allclose(from_examples[name], expected, atol=1e-6)


def test_an_example_without_the_feature_is_told_so(model):
    with pytest.raises(StatusError, match="text") as caught:
        model.run({"examples": serialized_examples({"words": ["good"]})}, "serve_examples")
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_further_features_of_an_example_are_ignored(model, exported):
    examples = serialized_examples({"text": ["good"], "label": ["1"]})
    answer = model.run({"examples": examples}, "serve_examples")["logits"]
    np.testing.assert_allclose(answer, exported.answers(["good"])["logits"], atol=1e-6)


def test_bytes_that_are_not_utf8_are_answered(model):
    outputs = model.run({"text": [b"good \xff film", "good \ufffd film".encode()]})
    np.testing.assert_allclose(outputs["logits"][0], outputs["logits"][1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16"])
def test_outputs_are_float32_whatever_the_model_computes_in(tmp_path, dtype):
    exported = make_exported(tmp_path / "1", seed=5, dtype=dtype)
    with SavedModel(exported.path) as model:
        outputs = model.run({"text": ["good film"]})
    for name, expected in exported.answers(["good film"]).items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], expected, atol=0.02)


def test_dropout_is_off(model):
    first, second = (model.run({"text": ["good film"]})["logits"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not [name for name in used_operations(model.meta_graph) if "Random" in name or "Dropout" in name]


def test_only_variables_that_are_read_are_saved(exported):
    saved = dict(tf.train.list_variables(str(exported.path / "variables" / "variables")))
    weights = [shape for name, shape in saved.items() if name.startswith("weights/")]
    assert sum(np.prod(shape) for shape in weights) <= exported.model.count_params()


def test_warmup_requests_cover_both_signatures_and_every_batch_size(exported):
    recorded = list(read_recorded(exported.path / WARMUP_FILE))
    sizes = [(request.signature, len(next(iter(request.inputs.values())))) for request in recorded]
    assert sizes == [(name, size) for size in (1, 2, 4, 8, 16, 32) for name in ("serving_default", "serve_examples")]


def test_the_card_states_what_is_known(small, tmp_path):
    card = {
        "name": "reviews",
        "intended_use": "Sentiment of English film reviews.",
        "limits": ["Irony is often missed.", "Texts over 32 tokens are cut."],
        "metrics": {"test": {"accuracy": 0.85123456, "rows": 1000}},
    }
    path = export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor(), labels=LABELS, card=card)
    written = read_card(path)
    assert written["schema_version"] == 1
    assert written["parameters"] == small.count_params()
    assert written["labels"] == LABELS
    assert written["metrics"] == card["metrics"]
    assert written["made_with"]["keras"] == keras.__version__
    assert written["signatures"]["serving_default"] == {
        "inputs": {"text": "string[None]"},
        "outputs": {"logits": "float32[None, 2]", "probabilities": "float32[None, 2]"},
    }
    for name, checksum in written["sha256"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == checksum
    markdown = (path / "MODEL_CARD.md").read_text()
    assert markdown.startswith("# reviews\n")
    assert "| test / accuracy | 0.8512 |" in markdown
    assert "- Irony is often missed." in markdown
    assert "## Training data\n\nNot stated." in markdown


def test_equal_weights_have_equal_checksums(tmp_path):
    first, second, other = (
        read_card(export_savedmodel(tiny_classifier(seed), tmp_path / name, preprocessor=tiny_preprocessor()))
        for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert first["weights_sha256"] == second["weights_sha256"] != other["weights_sha256"]


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"labels": ["a", "b", "c"]}, "3 labels but the model has 2 classes"),
        ({"labels": ["a\nb", "c"]}, "line break"),
        ({"labels": ["a", "a"]}, "the same"),
        ({"card": {"metric": {}}}, "did you mean 'metrics'"),
        ({"card": {"metrics": {"accuracy": np.float32(1)}}}, "cannot be written as JSON"),
        ({"warmup_batch_sizes": [0]}, "none below 1"),
        ({"warmup_texts": [("good", "film")]}, "A row has 2 texts: give one for each of text"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(small, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_preprocessor_of_another_model_is_told_and_leaves_nothing(small, tmp_path):
    larger = TextPreprocessor(WordPieceTokenizer([*VOCABULARY, "more"]), sequence_length=32)
    longer = TextPreprocessor(WordPieceTokenizer(VOCABULARY), sequence_length=small.backbone.max_length + 1)
    size = len(VOCABULARY)
    for preprocessor, told in (
        (larger, f"has {size + 1} pieces but the model knows {size}"),
        (longer, "rows of up to 513 tokens but the model takes at most 512"),
    ):
        with pytest.raises(UserError, match=told):
            export_savedmodel(small, tmp_path / "1", preprocessor=preprocessor)
    assert not (tmp_path / "1").exists()


def test_an_existing_version_is_kept_unless_asked(small, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "kept").touch()
    with pytest.raises(UserError, match="already exists"):
        export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor())
    assert (tmp_path / "1" / "kept").exists()
    export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor(), overwrite=True)
    assert not (tmp_path / "1" / "kept").exists()


def test_a_failure_half_way_leaves_nothing(small, tmp_path, monkeypatch):
    def fail(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.export.write_card", fail)
    with pytest.raises(OSError, match="No space left"):
        export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_written(small, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="make room"):
        export_savedmodel(small, tmp_path / "1", preprocessor=tiny_preprocessor())
    assert list(tmp_path.iterdir()) == []


def test_an_embedder_exports_as_a_classifier_does(tmp_path):
    backbone = tfmodels.create_model(
        "bert_tiny", num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, vocabulary_size=len(VOCABULARY)
    )
    path = export_savedmodel(TextEmbedder(backbone, MeanPooling()), tmp_path / "1", preprocessor=tiny_preprocessor())
    with SavedModel(path) as model:
        embedding = model.run({"text": ["good film", "bad"]})["embedding"]
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)
    assert json.loads((path / "model_card.json").read_text())["labels"] == []
