"""The gate component: what it blesses, what it refuses, and that the Pusher would know."""

import json

import keras
import pytest
import tensorflow as tf
from tfx.components.util.model_utils import is_infra_validated
from tfx.types import standard_artifacts

import tfmodels
from pipelines.components import serving_gate
from pipelines.components.model_artifact import keras_uri, save_keras
from pipelines.components.serving_gate import ServingGate, ServingGateExecutor
from serving import export_savedmodel
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor, WordPieceTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "!", "##s"]
SETTINGS = {"split": "test", "texts": 5, "tolerance": 1e-4, "latency_seconds": 0.05}


def classifier(pair=False, seed=0):
    keras.utils.set_random_seed(seed)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16, "max_sequence_length": 32}
    backbone = tfmodels.create_model("bert_tiny", vocabulary_size=len(PIECES), **sizes)
    return TextClassifier(backbone, 2), TextPreprocessor(WordPieceTokenizer(PIECES), 32, pair=pair)


@pytest.fixture(scope="module")
def good_model(tmp_path_factory):
    """A Model artifact's folder as our Trainer leaves it."""
    folder = tmp_path_factory.mktemp("model")
    model, preprocessor = classifier()
    export_savedmodel(model, folder / "Format-Serving", preprocessor=preprocessor, labels=["bad", "good"])
    save_keras(model, preprocessor, keras_uri(str(folder / "Format-Serving")))
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    (folder / "Split-test").mkdir()
    with tf.io.TFRecordWriter(str(folder / "Split-test" / "part-0.gz"), "GZIP") as writer:
        for number in range(20):
            text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"a good film, {number}!".encode()]))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"text": text})).SerializeToString())
    made = standard_artifacts.Examples()
    made.uri, made.split_names = str(folder), json.dumps(["test"])
    return made


def run_gate(tmp_path, model_folder, *, examples=None, blessed=None):
    model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
    model.uri, blessing.uri = str(model_folder), str(tmp_path / "blessing")
    inputs = {"model": [model]}
    if examples is not None:
        inputs["examples"] = [examples]
    if blessed is not None:
        verdict = standard_artifacts.ModelBlessing()
        verdict.set_int_custom_property("blessed", blessed)
        inputs["model_blessing"] = [verdict]
    ServingGateExecutor().Do(inputs, {"blessing": [blessing]}, {"settings": json.dumps(SETTINGS)})
    files = {path.name for path in (tmp_path / "blessing").iterdir()}
    report = json.loads((tmp_path / "blessing" / "gate_report.json").read_text())
    assert files == {"gate_report.json", "INFRA_BLESSED" if report["passed"] else "INFRA_NOT_BLESSED"}
    assert is_infra_validated(blessing) is report["passed"]
    return report


def test_a_model_that_serves_is_blessed_on_real_texts(tmp_path, good_model, examples, monkeypatch):
    asked = []
    check = serving_gate.check_savedmodel
    monkeypatch.setattr(serving_gate, "check_savedmodel", lambda *a, **k: asked.extend(k["texts"]) or check(*a, **k))
    report = run_gate(tmp_path, good_model, examples=examples, blessed=1)
    assert report["passed"] and report["rows_compared"] > 0 and report["max_difference"] < 1e-4
    assert b"a good film, 4!" in asked and b"a good film, 5!" not in asked


def test_what_an_evaluator_refused_is_refused_without_running_it(tmp_path, good_model, monkeypatch):
    monkeypatch.setattr(serving_gate, "check_savedmodel", lambda *_, **__: pytest.fail("the model was run"))
    report = run_gate(tmp_path, good_model, blessed=0)
    assert not report["passed"] and "below its bound" in report["problems"][0]


def test_an_export_with_other_answers_than_the_keras_model_is_refused(tmp_path, good_model):
    folder = tmp_path / "model"
    other, preprocessor = classifier(seed=1)
    export_savedmodel(other, folder / "Format-Serving", preprocessor=preprocessor, labels=["bad", "good"])
    model, _ = classifier(seed=0)
    save_keras(model, preprocessor, keras_uri(str(folder / "Format-Serving")))
    report = run_gate(tmp_path, folder)
    assert not report["passed"] and report["checks"]["outputs"] == "failed"


def test_the_export_of_the_official_examples_is_refused(tmp_path):
    """`tf.saved_model.save(keras_3_model)`: Python loads it, the Evaluator blesses it, the C++ loader fails."""
    folder = tmp_path / "model"
    model, preprocessor = classifier()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        return model.predictions(model(preprocessor(text), training=False))

    tf.saved_model.save(model, str(folder / "Format-Serving"), signatures={"serving_default": serve})
    save_keras(model, preprocessor, keras_uri(str(folder / "Format-Serving")))
    report = run_gate(tmp_path, folder)
    assert not report["passed"] and report["problems"]


def test_a_change_of_the_serving_code_changes_what_the_cache_sees():
    from tfx.types.channel import Channel

    model = Channel(type=standard_artifacts.Model)
    settings = [ServingGate(model, code=code).exec_properties["settings"] for code in ("1", "2")]
    assert settings[0] != settings[1]
