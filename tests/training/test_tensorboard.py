"""TensorBoard's own readers see the hyperparameters, the attention pictures and the vectors of a run."""

import csv
import json
import time
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfmodels
from tfmodels.layers import MeanPooling
from tfmodels.models import TextClassifier
from tfmodels.text import TextPreprocessor, WordPieceTokenizer
from tfmodels.training import Batches, FitConfig, fit
from tfmodels.training.tensorboard import (
    AttentionPictures,
    Hyperparameters,
    sentence_attention,
    sentence_vectors,
    write_projector,
)

_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "##s", "not", "very", "$", "!", "好"]
_TEXTS = ["a good film !", "bad films", "not bad", "a\tvery good\nfilm $ !"]
_SENTENCE = "a very good film 好 $"
_CONFIG = FitConfig(epochs=2, batch_size=8, learning_rate=1e-3, patience=None)


def classifier(pooling=None) -> TextClassifier:
    sizes = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16}
    backbone = tfmodels.create_model("bert_tiny", vocabulary_size=len(_PIECES), **sizes)
    return TextClassifier(backbone, 2, pooling=pooling)


@pytest.fixture(scope="module")
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(_PIECES), sequence_length=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory, preprocessor):
    """A folder of runs with one small run in it, and its task and batches."""
    root = tmp_path_factory.mktemp("training")
    keras.utils.set_random_seed(0)
    task = classifier(MeanPooling())
    labels = np.array([1, 0, 1, 1] * 4)
    batches = Batches(preprocessor.tokenize(tf.constant(_TEXTS * 4)), {"logits": labels}, 8)
    logs = root / "teacher" / "logs"
    values = {"fit": _CONFIG, "source": "minilm", "stages": (FitConfig(), {"weight": 1.0}), "layer_map": {}}
    history = fit(
        task,
        batches,
        batches,
        _CONFIG,
        root / "teacher",
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={"logits": [keras.metrics.SparseCategoricalAccuracy("accuracy")]},
        callbacks=[Hyperparameters(logs, values), AttentionPictures(logs, task, preprocessor, _SENTENCE)],
        verbose=0,
    )
    vectors = sentence_vectors(task, batches)
    write_projector(logs, "validation rows", vectors, {"label": labels, "text": _TEXTS * 4})
    write_projector(logs, "tokens", task.backbone.parts["embeddings"].tokens, {"piece": _PIECES})
    return {"root": root, "logs": logs, "task": task, "batches": batches, "history": history, "vectors": vectors}


@pytest.fixture(scope="module")
def server(run):
    """TensorBoard itself, on a free loopback port."""
    tensorboard = program.TensorBoard()
    tensorboard.configure(
        argv=["", "--logdir", str(run["root"]), "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    )
    url = tensorboard.launch() + "data/plugin/"

    def ask(path, question=None, raw=False, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        data = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(url + path + query, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return content if raw else json.loads(content)

    limit = time.monotonic() + 60
    while not (ask("images/tags") and ask("hparams/experiment", {}).get("hparamInfos")):
        assert time.monotonic() < limit, "TensorBoard did not read the logs"
        time.sleep(0.2)
    return ask


def pictures(logs) -> dict[str, list]:
    events = EventAccumulator(str(logs), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()["tensors"]
    return {tag: events.Tensors(tag) for tag in tags if tag.startswith("attention/")}


def test_every_epoch_has_a_picture_of_the_first_and_the_last_layer(run):
    found = pictures(run["logs"])
    assert sorted(found) == ["attention/layer 1", "attention/layer 3"]
    for events in found.values():
        assert [event.step for event in events] == [0, 1]
        width, height, png = tf.make_ndarray(events[0].tensor_proto)
        picture = tf.io.decode_png(png).numpy()
        assert picture.shape[:2] == (int(height), int(width))
        assert picture.std() > 20  # neither blank nor one colour


def test_pictures_change_while_the_model_learns(run):
    for events in pictures(run["logs"]).values():
        first, second = (tf.make_ndarray(event.tensor_proto)[2] for event in events)
        assert first != second


def test_tensorboard_lists_the_pictures(server):
    (run_name,) = server("images/tags")
    assert run_name == "teacher/logs"
    assert set(server("images/tags")[run_name]) == {"attention/layer 1", "attention/layer 3"}


def test_hyperparameters_stand_in_their_tab_beside_the_last_validation_figures(run, server):
    experiment = server("hparams/experiment", {})
    assert {"fit.learning_rate", "fit.patience", "source", "stages.1.epochs", "stages.2.weight", "layer_map"} <= {
        info["name"] for info in experiment["hparamInfos"]
    }
    metrics = [info["name"] for info in experiment["metricInfos"]]
    assert {"group": "", "tag": "epoch_accuracy"} in metrics
    question = {
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": "fit.learning_rate"}, {"metric": {"group": "", "tag": "epoch_accuracy"}}],
        "sliceSize": 10,
    }
    (group,) = server("hparams/session_groups", question)["sessionGroups"]
    assert group["hparams"]["fit.learning_rate"] == pytest.approx(1e-3)
    assert group["hparams"]["fit.patience"] == "null"
    values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert values["epoch_accuracy"] == pytest.approx(run["history"]["val_accuracy"][-1])
    assert values["epoch_loss"] == pytest.approx(run["history"]["val_loss"][-1])


def test_figures_are_found_when_tensorboard_is_started_in_the_logs_themselves(run):
    events = EventAccumulator(str(run["logs"] / "validation"), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()["tensors"]
    assert "epoch_accuracy" in tags
    assert events.PluginTagToContent("hparams").keys() == {"_hparams_/session_start_info", "_hparams_/session_end_info"}


def test_the_projector_serves_the_vectors_with_their_labels_and_texts(run, server):
    assert server("projector/runs") == ["teacher/logs"]
    where = {"run": "teacher/logs", "name": "validation rows"}
    config = server("projector/info", run="teacher/logs")
    assert [(e["tensorName"], e["tensorShape"]) for e in config["embeddings"]] == [
        ("validation rows", [16, 16]),
        ("tokens", [14, 16]),
    ]
    served = np.frombuffer(server("projector/tensor", raw=True, **where), np.float32).reshape(16, 16)
    np.testing.assert_allclose(served, run["vectors"], rtol=1e-4, atol=1e-6)
    lines = server("projector/metadata", raw=True, **where).decode().splitlines()
    rows = list(csv.reader(lines, delimiter="\t"))
    assert rows[0] == ["label", "text"]
    assert rows[4] == ["1", "a very good film $ !"]
    assert len(rows) == 17
    pieces = server("projector/metadata", raw=True, run="teacher/logs", name="tokens").decode()
    assert pieces.split("\n") == [*_PIECES, ""]


def test_attention_is_the_masked_softmax_of_the_scores(run, preprocessor):
    pieces, weights = sentence_attention(run["task"], preprocessor, _SENTENCE)
    assert pieces == ["[CLS]", "a", "very", "good", "film", "好", "$", "[SEP]"]
    assert weights.shape == (3, 2, 8, 8)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    inputs = preprocessor(tf.constant([_SENTENCE]))
    scores = run["task"].with_intermediates()(inputs)["attention_scores"]
    masked = tf.where(inputs["padding_mask"][:, None, None], scores[2], -np.inf)
    np.testing.assert_allclose(weights[2], tf.nn.softmax(masked)[0, :, :8, :8], atol=1e-6)


def test_padding_does_not_change_the_attention(run):
    tokenizer = WordPieceTokenizer(_PIECES)
    short, long = (
        sentence_attention(run["task"], TextPreprocessor(tokenizer, 32, length_multiple=n), _SENTENCE) for n in (1, 32)
    )
    assert short[0] == long[0]
    np.testing.assert_allclose(short[1], long[1], atol=1e-5)


def test_pairs_have_attention_too():
    preprocessor = TextPreprocessor(WordPieceTokenizer(_PIECES), 16, pair=True)
    pieces, weights = sentence_attention(classifier(), preprocessor, ("good film", "bad"))
    assert pieces == ["[CLS]", "good", "film", "[SEP]", "bad", "[SEP]"]
    assert weights.shape[-2:] == (6, 6)


@pytest.mark.parametrize("pooling", [None, MeanPooling()])
def test_sentence_vectors_are_what_the_head_sees(preprocessor, pooling):
    task = classifier(pooling)
    batches = Batches(preprocessor.tokenize(tf.constant(_TEXTS)), {}, 3)
    vectors = sentence_vectors(task, batches)
    assert vectors.shape == (4, 16)
    logits = task.head.logits(vectors)
    for row, text in enumerate(_TEXTS):
        alone = task(preprocessor(tf.constant([text])))["logits"]
        np.testing.assert_allclose(logits[row], alone[0], atol=1e-5)


def test_vectors_of_the_same_name_are_replaced_and_others_stay(tmp_path):
    write_projector(tmp_path, "one", np.ones((2, 3)), {})
    write_projector(tmp_path, "two/../../two", np.ones((2, 3)), {"text": ["", " \t\n"]})
    write_projector(tmp_path, "one", np.zeros((4, 3)), {"text": ["a", "b", "c", "d"]})
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert config.count('tensor_name: "one"') == 1 and config.count("embeddings {") == 2
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "projector/one.metadata.tsv",
        "projector/one.vectors.tsv",
        "projector/two-two.metadata.tsv",
        "projector/two-two.vectors.tsv",
        "projector_config.pbtxt",
    ]
    assert (tmp_path / "projector" / "two-two.metadata.tsv").read_text() == "(empty)\n(empty)\n"


def test_vectors_without_rows_or_with_other_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        write_projector(tmp_path, "none", np.ones((0, 3)), {})
    with pytest.raises(ValueError, match="'text' has 1 values for 2 vectors"):
        write_projector(tmp_path, "two", np.ones((2, 3)), {"text": ["a"]})
    assert list(tmp_path.iterdir()) == []
