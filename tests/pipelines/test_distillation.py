"""Distilling from a teacher of another run: finding it, what is refused, its stored answers, the wiring, and a run."""

import dataclasses
import gzip
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

import tfmodels
from pipelines.components.configuration import from_json, to_json
from pipelines.components.losses import LOSSES, make_losses, teacher_outputs
from pipelines.components.model_artifact import save_keras
from pipelines.components.resolvers import LatestBlessedElsewhere, latest_blessed
from pipelines.distillation import components, unlabelled
from pipelines.distillation.configs import DistillationConfig
from pipelines.distillation.job import JobConfig, pipeline_config, run_job
from pipelines.distillation.pipeline import create_pipeline
from pipelines.distillation.teacher import agreed_labels, check_tokenizer, find_teacher, locate
from pipelines.distillation.unlabelled import UnlabelledConfig
from pipelines.text_classification.data import prepare
from pipelines.text_classification.tables import TableConfig
from tests.pipelines.test_data import write_csv, write_parquet
from tfmodels.cli import main
from tfmodels.distillation import HiddenStates
from tfmodels.errors import UserError
from tfmodels.models import MaskedLM, TextClassifier
from tfmodels.text import TextPreprocessor

WORDS = [
    "a",
    "good",
    "bad",
    "film",
    "number",
    "is",
    "it",
    "was",
    "and",
    "the",
    "plot",
    "of",
    "actors",
    "scenes",
    "worth",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"0123456789", *(f"##{d}" for d in range(10)), ","]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 32, "max_sequence_length": 32}
# The teacher's order is not the sorted order of the table's classes.
LABELS = ("good", "bad")
ROWS = [
    (
        f"the {['plot', 'actors', 'scenes'][i % 3]} of film number {i} was {LABELS[i % 2]} and it is worth it",
        LABELS[i % 2],
    )
    for i in range(160)
]
SMALL = {**SIZES, "num_layers": 1, "hidden_dim": 16}
FIT = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-2}
SETTINGS = {
    "student": {"overrides": SMALL, "stages": [{"hard_label_weight": 0.1, "fit": FIT}]},
    "rows": {"spans_per_text": 1},
    "evaluation": {"teacher_fraction": 0.9},
    "serving": {"latency_seconds": 0.02, "warmup_texts": 2, "gate_texts": 10},
}


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    """A classifier that knows good from bad, as transformers would save it."""
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    keras.utils.set_random_seed(0)
    model = TextClassifier(
        tfmodels.create_model("bert_tiny", vocabulary_size=len(VOCABULARY), dropout=0.0, **SIZES), 2, dropout=0.0
    )
    preprocessor = TextPreprocessor.from_hf(folder, 32)
    texts, labels = zip(*ROWS)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss={"logits": loss}, metrics={"logits": ["accuracy"]})
    inputs = {name: value.numpy() for name, value in preprocessor(list(texts)).items()}
    targets = {"logits": np.array([LABELS.index(label) for label in labels])}
    history = model.fit(inputs, targets, batch_size=16, epochs=6, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
    tfmodels.to_hf(model, folder, labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return TableConfig(str(write_csv(tmp_path_factory.mktemp("table") / "films.csv", ROWS)))


@pytest.fixture(scope="module")
def prepared(table, tmp_path_factory):
    return prepare(table, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def teacher(teacher_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("found")
    return find_teacher(locate(str(teacher_folder)), output, pairs=False, sequence_length=None)


def configured(prepared, teacher, folder, settings=SETTINGS, **job):
    data, report = prepared
    labels, _ = agreed_labels(teacher.labels, report.classes)
    return pipeline_config(JobConfig(str(folder), "somewhere", settings=settings, **job), data, report, teacher, labels)


# --- the losses of a configuration


def test_losses_are_made_by_name_and_layers_count_from_one():
    chosen = {
        "logit_regression": {"weight": 2.0},
        "hidden_states": {"layer_map": {"1": 2, "-1": -1}},
        "attention_scores": {"layer_map": {"2": 4}},
        "soft_labels": {"weight": 0.0, "temperature": 4.0},
    }
    losses = make_losses(chosen, student_layers=2, teacher_layers=4)
    assert [loss.name for loss in losses] == ["logit_regression", "hidden_states", "attention_scores"]
    assert losses[0].weight == 2.0
    assert losses[1].layer_map == {1: 2, 2: 4} and losses[2].layer_map == {1: 3}
    # Attention scores are too large to store.
    assert teacher_outputs(losses) == ["hidden_states/2", "hidden_states/4", "logits"]


def test_a_further_loss_joins_by_a_line(monkeypatch):
    class Other(HiddenStates):
        pass

    monkeypatch.setitem(LOSSES, "other", LOSSES["hidden_states"]._replace(make=Other))
    (loss,) = make_losses({"other": {"layer_map": {"-1": -1}, "weight": 3.0}}, 2, 4)
    assert type(loss) is Other and loss.layer_map == {2: 4} and loss.weight == 3.0


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"logits_regression": {}}, "no distillation loss 'logits_regression': did you mean 'logit_regression'"),
        ({"soft_labels": {"temprature": 2}}, "no setting 'temprature': did you mean 'temperature'"),
        ({"soft_labels": {"temperature": 0}}, "temperature=0 must be positive"),
        ({"hidden_states": {}}, "'hidden_states' needs a layer_map"),
        ({"hidden_states": {"layer_map": {"3": 1}}}, "layer 3 of the student to layer 1 of the teacher"),
    ],
)
def test_a_mistake_in_the_losses_is_told(chosen, message):
    with pytest.raises(UserError, match=message):
        make_losses(chosen, 2, 4)


# --- the teacher


def test_a_teacher_of_hugging_face_becomes_an_artifact_once(teacher, teacher_folder):
    assert teacher.labels == LABELS
    assert teacher.preprocessor.sequence_length == 32  # no more than it has positions
    output = teacher.artifact.parents[1]
    made = (teacher.artifact / "Keras" / "model.keras").stat().st_mtime_ns
    again = find_teacher(locate(str(teacher_folder)), output, pairs=False, sequence_length=None)
    assert again.fingerprint == teacher.fingerprint and again.artifact == teacher.artifact
    assert (teacher.artifact / "Keras" / "model.keras").stat().st_mtime_ns == made
    theirs = tfmodels.from_hf(teacher_folder)
    inputs = teacher.preprocessor(["the plot was bad"])
    np.testing.assert_allclose(teacher.task(inputs)["logits"], theirs(inputs)["logits"], atol=1e-6)


def test_a_teacher_is_found_by_its_run_its_artifact_and_its_keras_folder(teacher, tmp_path):
    results = {"models": {"teacher": {"export": f"{teacher.artifact}/Format-Serving"}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    for place in (tmp_path, teacher.artifact, teacher.artifact / "Keras"):
        assert locate(str(place)) == teacher.artifact
    # Of a distillation, the student is what it made.
    results = {
        "pipeline": "distillation",
        "models": {"teacher": {"export": "/x/y"}, "student": results["models"]["teacher"]},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert locate(str(tmp_path)) == teacher.artifact


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no teacher .*nowhere: give a run of text_classification"),
        ({}, "holds no model: give a run"),
        ({"results.json": "{}"}, "results.json is of no run that made a classifier"),
        ({"results.json": "{"}, "results.json is of no run that made a classifier"),
        (
            {"results.json": '{"models": {"teacher": {"export": "/gone/Format-Serving"}}}'},
            "says that the teacher is in /gone, where it is not: run it again",
        ),
        ({"Keras/model.keras": ""}, "has no export beside it"),
    ],
)
def test_a_folder_without_a_teacher_is_told(tmp_path, files, message):
    folder = tmp_path / ("nowhere" if files is None else "there")
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    if files == {}:
        folder.mkdir()
    with pytest.raises(UserError, match=message):
        locate(str(folder))


def test_a_model_without_a_head_for_classes_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tfmodels.to_hf(MaskedLM(tfmodels.create_model("bert_tiny", vocabulary_size=len(VOCABULARY), **SIZES)), tmp_path)
    with pytest.raises(UserError, match="holds a MaskedLM without a head for classes: fine-tune it first"):
        find_teacher(locate(str(tmp_path)), tmp_path / "out", pairs=False, sequence_length=None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pairs": True}, "the teacher takes single texts and the table has pairs: leave --text-pair-column out"),
        ({"sequence_length": 64}, "the teacher takes at most 32 tokens: give --sequence-length 32 or less"),
        ({"labels": ("a", "b", "c")}, "--teacher-labels names 3 classes and the teacher has 2"),
    ],
)
def test_a_teacher_of_other_inputs_or_classes_is_refused(teacher, tmp_path, asked, message):
    with pytest.raises(UserError, match=message):
        find_teacher(teacher.artifact, tmp_path, **{"pairs": False, "sequence_length": None, **asked})


def test_classes_are_numbered_as_the_teacher_does_it():
    assert agreed_labels(("a", "b"), ("a", "b")) == (("a", "b"), [])
    labels, (note,) = agreed_labels(("good", "bad"), ("bad", "good"))
    assert labels == ("good", "bad") and "numbered as the teacher does it: 'good', 'bad'" in note
    labels, (note,) = agreed_labels(("a", "b", "c"), ("a", "c"))
    assert labels == ("a", "b", "c") and "no rows of 'b'" in note


def test_classes_that_the_teacher_does_not_know_are_refused():
    with pytest.raises(
        UserError, match="class 'so-so' is none of the teacher's, which are 'bad', 'good': take a teach"
    ):
        agreed_labels(("bad", "good"), ("bad", "good", "so-so"))
    with pytest.raises(UserError, match="classes 'bad', 'good' are none of the teacher's"):
        agreed_labels(("LABEL_0", "LABEL_1"), ("bad", "good"))


@pytest.mark.parametrize(
    ("change", "part"),
    [("swapped", "vocabulary"), ("cased", "options"), (None, None)],
)
def test_a_pretrained_student_of_another_tokeniser_is_refused(teacher, teacher_folder, tmp_path, change, part):
    pieces = list(VOCABULARY)
    if change == "swapped":
        pieces[6], pieces[7] = pieces[7], pieces[6]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (tmp_path / "config.json").write_text((teacher_folder / "config.json").read_text())
    if change == "cased":
        (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    if part is None:
        check_tokenizer(teacher.preprocessor, tmp_path)
    else:
        with pytest.raises(UserError, match=rf"another tokeniser than its teacher \({part}\)"):
            check_tokenizer(teacher.preprocessor, tmp_path)


# --- the latest blessed model of another pipeline


def put(store, kind, pipeline, **properties):
    """Registers an artifact that a pipeline has made; returns its id."""
    artifact_type = metadata_store_pb2.ArtifactType(name=kind)
    artifact = metadata_store_pb2.Artifact(
        type_id=store.put_artifact_type(artifact_type), uri=f"/{pipeline}", state=metadata_store_pb2.Artifact.LIVE
    )
    for name, value in properties.items():
        artifact.custom_properties[name].int_value = value
    execution = metadata_store_pb2.Execution(
        type_id=store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    )
    context = metadata_store_pb2.Context(
        type_id=store.put_context_type(metadata_store_pb2.ContextType(name="pipeline")), name=pipeline
    )
    event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
    _, (number,), _ = store.put_execution(execution, [(artifact, event)], [context], True)
    return number


def test_the_latest_blessed_model_of_another_pipeline_is_resolved(tmp_path):
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    with metadata.Metadata(connection) as handle:
        store = handle.store
        assert latest_blessed(store, "distillation") is None
        first, second, third = (put(store, "Model", "text-classification") for _ in range(3))
        own = put(store, "Model", "distillation")

        def bless(model, blessed=1):
            put(store, "ModelBlessing", "any", current_model_id=model, blessed=blessed)

        assert latest_blessed(store, "distillation") is None
        for model in (first, second, own):
            bless(model)
        assert latest_blessed(store, "distillation").id == second
        # One of two Evaluators is not enough.
        bless(third)
        bless(third, blessed=0)
        resolved = LatestBlessedElsewhere("distillation").resolve_artifacts(store, {"model": []})
        assert [(model.id, model.type_name, model.uri) for model in resolved["model"]] == [
            (second, "Model", "/text-classification")
        ]
        assert LatestBlessedElsewhere("distillation").resolve_artifacts(store, {}) is not None
        assert latest_blessed(store, "text-classification").id == own


# --- texts without labels


def rows_of(folder):
    files = sorted(str(file) for file in folder.glob("data-*"))
    found = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        found.append({name: feature.bytes_list.value[0].decode() for name, feature in features.items()})
    return found


@pytest.mark.parametrize("name", ["more.txt", "more.txt.gz"])
def test_lines_become_rows_without_a_label_each_once(tmp_path, name):
    content = "one film\n\n  another, \u00fcber \none film\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    folder, count = unlabelled.prepare(UnlabelledConfig(str(tmp_path / name)), tmp_path / "data")
    assert count == 2
    assert rows_of(folder) == [{"text": "one film", "label": ""}, {"text": "another, \u00fcber", "label": ""}]
    assert unlabelled.prepare(UnlabelledConfig(str(tmp_path / name)), tmp_path / "data") == (folder, 2)


def test_a_table_needs_no_column_of_labels(tmp_path):
    path = write_csv(tmp_path / "more.csv", [("a", "b"), ("c", "d"), ("e", "")], header=("review", "other"))
    folder, count = unlabelled.prepare(UnlabelledConfig(str(path), "review", "other"), tmp_path / "data")
    assert count == 2 and rows_of(folder)[1] == {"text": "c", "text_pair": "d", "label": ""}
    folder, count = unlabelled.prepare(UnlabelledConfig(str(path), "review"), tmp_path / "data")
    assert count == 3
    path = write_parquet(tmp_path / "more.parquet", [("a", "b")])
    assert unlabelled.prepare(UnlabelledConfig(str(path)), tmp_path / "data")[1] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("more.txt", b"", "holds no texts"),
        ("more.txt", b"\n  \n", "holds no texts"),
        ("more.csv", b"text\n", "holds no texts"),
        ("more.csv", b"", "is empty"),
        ("more.txt", b"\xff\xfea\x00", "is UTF-16"),
        # Without a time: both workers of the suite must make the same name of this.
        ("more.txt.gz", gzip.compress(b"one\n" * 100, mtime=0)[:-9], "damaged gzip file"),
        ("more.csv", b"review\nfilm\n", "no column 'text'"),
        ("more.odd", b"film\n", "does not say by its extension what it is"),
        (None, None, "there is no file"),
    ],
)
def test_a_file_without_texts_is_told_and_leaves_nothing(tmp_path, name, content, message):
    path = tmp_path / (name or "nowhere.txt")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        unlabelled.prepare(UnlabelledConfig(str(path)), tmp_path / "data")
    assert not list((tmp_path / "data").glob("*"))


def test_pairs_come_from_no_file_of_lines(tmp_path):
    (tmp_path / "more.txt").write_text("one\n")
    with pytest.raises(UserError, match="give a table of two columns"):
        unlabelled.preview(UnlabelledConfig(str(tmp_path / "more.txt"), text_pair_column="other"))


# --- what the teacher says of the rows


def transformed(path, preprocessor, texts):
    """A file as Transform writes it."""
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for text, ids in zip(texts, preprocessor.tokenize(texts).to_list()):
            example = tf.train.Example()
            example.features.feature["text"].bytes_list.value[:] = [text.encode()]
            example.features.feature["label"].int64_list.value[:] = [1]
            example.features.feature["token_ids$ragged_values"].int64_list.value[:] = ids
            writer.write(example.SerializeToString())
    return str(path)


def read(path, features):
    records = list(tf.data.TFRecordDataset([path], "GZIP"))
    return tf.io.parse_example(tf.stack(records), features)


@pytest.fixture(scope="module")
def answered(teacher, tmp_path_factory):
    """Seven rows of unlike lengths in two chunks and an odd number of batches, answered; and their spans."""
    folder = tmp_path_factory.mktemp("rows")
    texts = ["the " * (1 + 3 * (i % 4)) + f"plot {i} was {LABELS[i % 2]}" for i in range(7)]
    source = transformed(folder / "in" / "rows.gz", teacher.preprocessor, texts)
    keras_folder, outputs = str(teacher.artifact / "Keras"), ["hidden_states/1", "logits"]
    patch = pytest.MonkeyPatch()
    patch.setattr(components, "_ROWS_A_CHUNK", 4)
    patch.setattr(components, "_ROWS_A_BATCH", 2)
    components._answer_file((source, str(folder / "rows.gz"), 0), keras_folder, outputs, 0)
    components._answer_file((source, str(folder / "spans.gz"), 3), keras_folder, outputs, 0)
    patch.undo()
    return texts, folder


def test_stored_answers_are_what_the_teacher_says_row_by_row(teacher, answered):
    texts, folder = answered
    widths = {"logits": 2, "hidden_states/1": 32}
    found = components.decode_outputs(read(str(folder / "rows.gz"), components.output_features(widths)), widths)
    full = teacher.task.with_intermediates()
    for row, text in enumerate(texts):
        said = full(teacher.preprocessor([text]))
        length = len(teacher.preprocessor.tokenize([text])[0])
        np.testing.assert_allclose(found["teacher/logits"][row], said["logits"][0], atol=1e-5)
        states = found["teacher/hidden_states/1"][row]
        assert states.shape == (length, 32)
        np.testing.assert_allclose(states, said["hidden_states"][1][0, :length], atol=2e-3)
    kept = read(str(folder / "rows.gz"), {"text": tf.io.FixedLenFeature([], tf.string)})["text"].numpy()
    assert [text.decode() for text in kept] == texts


def test_spans_have_no_label_and_the_answer_of_their_tokens(teacher, answered):
    texts, folder = answered
    features = {
        "label": tf.io.FixedLenFeature([], tf.int64),
        "text": tf.io.FixedLenFeature([], tf.string),
        "token_ids": tf.io.RaggedFeature(tf.int64, "token_ids$ragged_values"),
        **components.output_features({"logits": 2}),
    }
    found = read(str(folder / "spans.gz"), features)
    assert len(found["label"]) == 3 * len(texts) and set(found["label"].numpy()) == {-1}
    inputs = teacher.preprocessor.pad(found["token_ids"])
    np.testing.assert_allclose(found["teacher/logits"], teacher.task(inputs)["logits"], atol=1e-5)


# --- configuration and wiring


def test_a_configuration_follows_the_teacher(prepared, teacher, tmp_path):
    config = configured(prepared, teacher, tmp_path, epochs=3)
    assert config.labels == LABELS and prepared[1].classes == tuple(sorted(LABELS))
    assert config.rows.outputs == ("hidden_states/2", "logits")
    assert config.student.overrides["vocabulary_size"] == len(VOCABULARY)
    assert config.student.embed_like_teacher is True and config.student.stages[0].fit.epochs == 3
    saved = TextPreprocessor.load(config.paths.preprocessor)
    assert saved.tokenizer.vocabulary_sha256() == teacher.preprocessor.tokenizer.vocabulary_sha256()
    assert from_json(DistillationConfig, to_json(config)) == config
    # A student wider than the teacher's states begins at random.
    wide = {**SETTINGS, "student": {"overrides": {**SMALL, "hidden_dim": 64}}}
    assert configured(prepared, teacher, tmp_path, wide).student.embed_like_teacher is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student": {"preset": "bert_tinny"}}, "no model 'bert_tinny': did you mean 'bert_tiny'"),
        ({"student": {"overrides": {"num_layer": 1}}}, "did you mean 'num_layers'"),
        ({"student": {"overrides": {"vocabulary_size": 500}}}, "vocabulary_size of 500 is not that of the teacher's"),
        ({"student": {"overrides": {"max_sequence_length": 16}}}, "at most 16 tokens, fewer than the 32"),
        (
            {"student": {"overrides": {"hidden_dim": 64}, "embed_like_teacher": True}},
            "lower the student's embedding_dim",
        ),
        ({"student": {"stages": []}}, "the student has no stages"),
        (
            {
                "student": {
                    "overrides": {**SMALL, "num_heads": 4},
                    "stages": [{"losses": {"attention_scores": {"layer_map": {"-1": -1}}}}],
                }
            },
            "the student has 4 attention heads and the teacher 2",
        ),
        (
            {"student": {"stages": [{"fit": {"strategy": "mirrored"}}, {}]}},
            "stages have mirrored, one as their strategy, but the student is built once",
        ),
        ({"student": {"stages": [{"losses": {"hidden_states": {"layer_map": {"1": 9}}}}]}}, "layer 9 of the teacher"),
        ({"student": {"stages": [{"loses": {}}]}}, "no field 'loses': did you mean 'losses'"),
        ({"rows": {"spans": 1}}, "no field 'spans'"),
    ],
)
def test_a_mistake_in_the_settings_is_told_before_anything_runs(prepared, teacher, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        configured(prepared, teacher, tmp_path, settings)


def test_a_pretrained_student_has_its_own_sizes(prepared, teacher, teacher_folder, tmp_path):
    student = {"preset": str(teacher_folder)}
    config = configured(prepared, teacher, tmp_path, {"student": student})
    assert config.student.overrides == {} and config.student.embed_like_teacher is False
    with pytest.raises(UserError, match="leave its overrides out"):
        configured(prepared, teacher, tmp_path, {"student": {**student, "overrides": {"num_layers": 1}}})


def by_id(config):
    return {component.id: component for component in create_pipeline(config).components}


def test_whatever_stands_before_the_student_depends_on_no_student(prepared, teacher, tmp_path):
    one = by_id(configured(prepared, teacher, tmp_path))
    other = {**SETTINGS, "student": {"preset": "bilstm", "overrides": {"hidden_dim": 8, "embedding_dim": 8}}}
    two = by_id(configured(prepared, teacher, tmp_path, other))
    assert list(one) == list(two)
    before = ["ImportExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform", "TeacherOutputs"]
    for name in (*before, "Importer.teacher"):
        assert one[name].exec_properties == two[name].exec_properties, name
    assert one["Trainer.student"].exec_properties != two["Trainer.student"].exec_properties


def test_the_wiring(prepared, teacher, tmp_path):
    components_of = by_id(configured(prepared, teacher, tmp_path))

    def sources(name):
        return {key: channel.producer_component_id for key, channel in components_of[name].inputs.items()}

    assert sources("TeacherOutputs") == {"examples": "Transform", "teacher": "Importer.teacher"}
    assert sources("Trainer.student") == {
        "examples": "TeacherOutputs",
        "transform_graph": "Transform",
        "base_model": "Importer.teacher",
    }
    assert sources("Evaluator.teacher") == {
        "examples": "Transform",
        "model": "Trainer.student",
        "baseline_model": "Importer.teacher",
    }
    assert sources("ServingGate") == {
        "examples": "Transform",
        "model": "Trainer.student",
        "model_blessing": "Evaluator.teacher",
    }
    assert sources("Pusher") == {
        "model": "Trainer.student",
        "model_blessing": "Evaluator.teacher",
        "infra_blessing": "ServingGate",
    }


def test_a_blessed_teacher_is_resolved_and_another_model_in_its_place_is_imported_anew(prepared, teacher, tmp_path):
    config = configured(prepared, teacher, tmp_path)
    blessed = dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, blessed=True))
    assert by_id(blessed)["TeacherOutputs"].inputs["teacher"].producer_component_id == "Resolver.teacher"
    importer = by_id(config)["Importer.teacher"]
    assert importer.outputs["result"].additional_custom_properties == {"fingerprint": teacher.fingerprint}
    other = TextClassifier.from_config(teacher.task.get_config())
    save_keras(other, teacher.preprocessor, str(tmp_path / "artifact" / "Keras"))
    (tmp_path / "artifact" / "Format-Serving" / "assets").mkdir(parents=True)
    (tmp_path / "artifact" / "Format-Serving" / "assets" / "labels.txt").write_text("good\nbad\n")
    found = find_teacher(tmp_path / "artifact", tmp_path, pairs=False, sequence_length=None)
    assert found.labels == teacher.labels and found.fingerprint != teacher.fingerprint


def test_without_a_teacher_or_texts_nothing_starts(tmp_path, table, teacher):
    with pytest.raises(UserError, match="there is no teacher: give --teacher"):
        run_job(JobConfig(str(tmp_path / "out"), table=table))
    with pytest.raises(UserError, match=r"there is no teacher .*nowhere"):
        run_job(JobConfig(str(tmp_path / "out"), str(tmp_path / "nowhere"), table))
    (tmp_path / "more.txt").write_text("")
    with pytest.raises(UserError, match=r"more.txt holds no texts"):
        run_job(
            JobConfig(
                str(tmp_path / "out"),
                str(teacher.artifact),
                table,
                unlabelled=UnlabelledConfig(str(tmp_path / "more.txt")),
            )
        )
    assert not (tmp_path / "out").exists()


# --- the command


def command(*arguments):
    result = CliRunner().invoke(main, ["run", "distillation", *map(str, arguments)])
    return result.exit_code, result.output


def test_options_become_a_job(tmp_path, monkeypatch):
    jobs = []
    monkeypatch.setattr("pipelines.distillation.job.run_job", lambda job: jobs.append(job) or True)
    (tmp_path / "c.json").write_text(json.dumps({"student": {"dropout": 0.2}, "rows": {"spans_per_text": 2}}))
    code, _ = command(
        *("--teacher", "runs/x", "--data", "t.csv", "--text-column", "review", "--unlabelled", "more.txt"),
        *("--model", "bert_mini", "--teacher-labels", "no, yes", "--epochs", 2, "--teacher-fraction", 0.8),
        *("--sequence-length", 64, "--config", tmp_path / "c.json", "--no-cache", "--output", tmp_path),
    )
    (made,) = jobs
    assert code == 0 and made.teacher == "runs/x" and made.name == "bert-mini" and made.epochs == 2
    assert made.table.text_column == "review" and made.unlabelled == UnlabelledConfig("more.txt", "review")
    assert made.teacher_labels == ("no", "yes")
    assert made.settings == {
        "student": {"dropout": 0.2, "preset": "bert_mini"},
        "rows": {"spans_per_text": 2},
        "evaluation": {"teacher_fraction": 0.8},
        "sequence_length": 64,
        "enable_cache": False,
    }
    assert command("--teacher", "runs/x")[0] == 0 and jobs[1].table is None and jobs[1].name == "bert-tiny"


def test_help_teaches_and_a_mistake_is_one_sentence(tmp_path, table):
    code, text = command("--help")
    assert code == 0
    for word in ("--teacher", "--unlabelled", "--teacher-labels", "students/NAME", "Examples:"):
        assert word in text
    code, text = command("--teacher", tmp_path / "nowhere", "--data", table.path, "--output", tmp_path / "out")
    assert code == 2 and text.startswith("Error: there is no teacher") and len(text.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- the pipeline


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_student_is_pushed_and_another_one_finds_the_answers_made(teacher_folder, table, tmp_path):
    from pipelines.reports.comparison import read_models
    from serving import SavedModel

    (tmp_path / "more.txt").write_text("".join(f"the plot {i} is {LABELS[i % 2]}\n" for i in range(12)))
    texts = UnlabelledConfig(str(tmp_path / "more.txt"))
    output = tmp_path / "out"
    job = JobConfig(str(output), str(teacher_folder), table, texts, settings=SETTINGS, name="first")
    assert run_job(job)
    results = json.loads((output / "students" / "first" / "results.json").read_text())
    student = results["models"]["student"]
    # The table's order of classes is the other one: a student of it would be wrong every time.
    assert results["table"]["classes"] == ["good", "bad"] and student["accuracy"] > 0.9
    assert (output / "serving" / "first" / str(results["pushed"]["version"]) / "assets" / "labels.txt").read_text() == (
        "good\nbad\n"
    )
    assert results["ratios"]["parameters"] > 1 and results["gate"]["passed"]
    # A student learns from all that the teacher was asked about, labelled or not.
    answered = tmp_path / results["artifacts"]["TeacherOutputs"]["answered"]
    splits = {folder.name for folder in answered.iterdir() if folder.is_dir()}
    assert splits == {"Split-train", "Split-validation", "Split-test", "Split-unlabelled", "Split-spans"}
    card = json.loads((tmp_path / student["export"] / "model_card.json").read_text())
    trained = results["table"]["counts"]["train"]
    assert card["training_data"].startswith(f"{sum(trained.values())} labelled rows")
    (unlabelled_file,) = (answered / "Split-unlabelled").iterdir()
    rows = read(str(unlabelled_file), {"label": tf.io.FixedLenFeature([], tf.int64)})
    assert rows["label"].numpy().tolist() == [-1] * 12

    # Another student, which asks too much: the teacher is not asked again, and nothing is pushed.
    other = {**SETTINGS, "student": {"overrides": {**SMALL, "hidden_dim": 8}}, "evaluation": {"teacher_fraction": 1.5}}
    assert not run_job(dataclasses.replace(job, settings=other, name="second", epochs=1))
    results = json.loads((output / "students" / "second" / "results.json").read_text())
    before = {"ImportExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform", "TeacherOutputs"}
    assert before <= set(results["seconds"]["cached"]) and "Trainer.student" not in results["seconds"]["cached"]
    assert results["pushed"] is None and "150.0% is the least" in results["refused"][0]

    models = read_models([str(output)])
    assert [model.role for model in models].count("teacher") == 1 and len(models) == 3
    assert {model.name.split(":")[0] for model in models} == {"out/first", "out/second"}
    assert SavedModel(student["export"]).signature().inputs
