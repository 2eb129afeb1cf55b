"""Long documents: the table, and the shipped configuration, as far as it goes without running the pipeline."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from pipelines.text_classification import configs, job, long_documents
from pipelines.text_classification.data import TableReport
from tests.pipelines.test_command import run, started  # noqa: F401 (a fixture)
from tests.pipelines.test_data import write_csv
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.models import BertConfig, BigBirdAttention, LocalAttention

CONFIGURATION = Path(long_documents.__file__).with_suffix(".json")
POSTS = [
    datasets.Post(f"post {number} on {group}", group, "test" if number % 3 == 0 else "train")
    for group in ("alt.a", "sci.b", "talk.c", "talk.d")
    for number in range(30)
]


@pytest.fixture
def posts(monkeypatch):
    monkeypatch.setattr(long_documents.datasets, "newsgroups", lambda: POSTS)


def test_posts_of_one_group_and_split_are_joined_until_they_are_long_enough(posts):
    documents = list(long_documents.long_documents(words=8, groups=2))
    assert {document.group for document in documents} == {"alt.a", "talk.c"}
    for document in documents:
        assert document.text.count("post") == 2 and document.text.count(document.group) == 2
        numbers = [int(part.split()[1]) for part in document.text.split("\n\n")]
        assert all((number % 3 == 0) == (document.split == "test") for number in numbers)
    counts = [sum(document.split == split for document in documents) for split in ("train", "validation", "test")]
    assert counts == [18, 2, 10]


def test_the_table_is_written_as_the_command_reads_it(posts, tmp_path):
    answer = CliRunner().invoke(long_documents.main, ["--output", str(tmp_path / "long.jsonl"), "--words", "8"])
    assert answer.exit_code == 0 and "wrote 60 documents" in answer.output
    first = json.loads((tmp_path / "long.jsonl").read_text().splitlines()[0])
    assert set(first) == {"text", "group", "split"}


def prepared(settings, attention=None, labels=("a", "b")):
    """The pipeline's configuration for a table that has been read."""
    words = {"min": 1, "quartiles": [2.0, 3.0, 4.0], "mean": 3.0, "p95": 4.0, "max": 5}
    report = TableReport("t", "csv", False, 4, labels, {}, words, (), 0, 0, 0, 0)
    return job.JobConfig("unused", settings=settings, attention=attention), report


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """Makes a configuration without a pretrained model's vocabulary."""
    from pipelines.text_classification import sources
    from tests.serving.support import tiny_preprocessor

    monkeypatch.setattr(sources, "make_preprocessor", lambda *arguments: tiny_preprocessor())

    def configure(settings, attention=None):
        made, report = prepared(settings, attention)
        return job.pipeline_config(job.dataclasses.replace(made, output=str(tmp_path)), tmp_path, report)

    return configure


def test_the_shipped_configuration_reads_4096_tokens_with_kinds_that_are_linear(configured):
    config = configured(json.loads(CONFIGURATION.read_text()))
    assert config.text.sequence_length == 4096
    teacher, student = (BertConfig.from_dict(part.overrides) for part in (config.teacher, config.student))
    assert isinstance(teacher.attention, BigBirdAttention) and isinstance(student.attention, LocalAttention)
    for part in (teacher, student):
        assert part.max_sequence_length == 4096 and part.kind.guide.power == 1


def test_the_flag_gives_models_with_random_weights_a_kind_and_as_many_positions(configured):
    settings = {"text": {"sequence_length": 1000}, "teacher": {"source": "bert_tiny"}}
    kind = {"kind": "LocalAttention", "chunk_length": 32}
    config = configured(settings, kind)
    for part in (config.teacher, config.student):
        assert part.overrides["attention"] == kind and part.overrides["max_sequence_length"] == 1000
    assert config.student.overrides["hidden_dim"] == 128  # the recipe's sizes stay
    assert configs.PipelineConfig.__name__ == type(config).__name__
    with pytest.raises(UserError, match="no kind of attention 'LocalAtention': did you mean 'LocalAttention'"):
        configured(settings, {"kind": "LocalAtention"})


@pytest.mark.parametrize(("length", "rows"), [(128, 128), (1024, 128), (4096, 32), (2**18, 1)])
def test_a_trained_model_is_asked_in_batches_of_fewer_texts_where_they_are_long(length, rows):
    from pipelines.text_classification.trainer import TrainingTask

    task = object.__new__(TrainingTask)
    task.preprocessor = SimpleNamespace(sequence_length=length)
    assert task.asking.batch_size == rows


@pytest.mark.parametrize(("length", "largest"), [(128, 256), (512, 256), (4096, 32)])
def test_the_gate_asks_for_smaller_batches_of_long_texts(length, largest, monkeypatch, tmp_path):
    from pipelines.components import serving_gate

    asked = []
    preprocessor = SimpleNamespace(sequence_length=length, pair=False)
    monkeypatch.setattr(serving_gate, "load_keras", lambda uri: (None, preprocessor))
    monkeypatch.setattr(serving_gate, "check_savedmodel", lambda *_, batch_sizes, **__: asked.append(batch_sizes))
    settings = {"tolerance": 1e-4, "latency_seconds": 0.1}
    serving_gate.ServingGateExecutor._check(None, str(tmp_path), [], settings)
    assert asked == [(1, 7, largest)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("LocalAttention", {"kind": "LocalAttention"}),
        ('{"kind": "LSHAttention", "num_hashes": 4}', {"kind": "LSHAttention", "num_hashes": 4}),
    ],
)
def test_the_flag_takes_a_name_or_json(started, tmp_path, given, expected):  # noqa: F811
    assert run("--data", write_csv(tmp_path / "t.csv"), "--attention", given)[0] == 0
    assert started[0].attention == expected


def test_a_flag_that_is_no_json_is_told(started, tmp_path):  # noqa: F811
    code, text = run("--data", write_csv(tmp_path / "t.csv"), "--attention", '{"kind": ')
    assert code == 2 and "is not JSON" in text and not started
