"""`tfmodels run text_classification`, as far as it goes without running the pipeline."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pipelines.text_classification import job
from tests.pipelines.test_data import write_csv
from tests.support.processes import python_environment
from tfmodels.cli import main


def run(*arguments):
    result = CliRunner().invoke(main, ["run", "text_classification", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def started(monkeypatch):
    """The jobs that would have run; all of them push."""
    jobs = []
    monkeypatch.setattr(job, "run_job", lambda config: jobs.append(config) or True)
    return jobs


@pytest.fixture
def no_pipeline(monkeypatch):
    """A pipeline that starts is a failure."""
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    monkeypatch.setattr(LocalDagRunner, "run", lambda *_: pytest.fail("the pipeline started"))


def test_help_names_the_columns_and_shows_an_example():
    code, text = run("--help")
    assert code == 0
    for word in ("--text-column", "--label-column", "--text-pair-column", "--split-column", "Examples:"):
        assert word in text


def test_mistakes_in_the_table_exit_with_2_and_one_sentence(tmp_path):
    path = write_csv(tmp_path / "t.csv")
    output = tmp_path / "output"
    code, text = run("--data", path, "--label-column", "lable", "--output", output)
    assert code == 2 and text.strip().startswith("Error: ") and "did you mean 'label'?" in text
    assert len(text.strip().splitlines()) == 1
    assert not output.exists()


def test_options_become_settings(tmp_path, started):
    config = tmp_path / "more.json"
    config.write_text(json.dumps({"teacher": {"dropout": 0.2}, "evaluation": {"predecessor_tolerance": 0.1}}))
    code, _ = run(
        *("--data", tmp_path / "my reviews.v2.csv", "--text-pair-column", "other", "--output", tmp_path),
        *("--teacher", "bert_tiny", "--student", "bert_mini", "--epochs", 3, "--student-epochs", 4),
        *("--sequence-length", 64, "--teacher-fraction", 0.9, "--no-cache", "--beam-arg", "--runner=X"),
        *("--config", config),
    )
    assert code == 0
    (made,) = started
    assert made.table.text_pair_column == "other" and made.name == "my-reviews"
    assert (made.epochs, made.student_epochs) == (3, 4)
    assert made.settings == {
        "teacher": {"dropout": 0.2, "source": "bert_tiny"},
        "student": {"preset": "bert_mini", "overrides": {}},
        "text": {"sequence_length": 64},
        "evaluation": {"predecessor_tolerance": 0.1, "teacher_fraction": 0.9},
        "beam_args": ["--runner=X"],
        "enable_cache": False,
    }


def test_without_a_table_it_runs_on_the_movie_reviews(started):
    assert run()[0] == 0
    assert started[0].table is None and started[0].name == "reviews"


def test_nothing_pushed_exits_with_1(monkeypatch):
    monkeypatch.setattr(job, "run_job", lambda config: False)
    assert run()[0] == 1


@pytest.mark.parametrize(("content", "sentence"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_a_damaged_configuration_is_told(tmp_path, content, sentence):
    (tmp_path / "c.json").write_text(content)
    code, text = run("--config", tmp_path / "c.json")
    assert code == 2 and sentence in text


def test_a_part_of_a_configuration_that_is_no_object_is_told(tmp_path):
    (tmp_path / "c.json").write_text('{"text": 3}')
    code, text = run("--config", tmp_path / "c.json", "--sequence-length", "64")
    assert code == 2 and "'text' is 3 in --config" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--teacher", "bert_tinny"], "there is no teacher 'bert_tinny'"),
        (["--student", "bert_tinny"], "there is no model 'bert_tinny': did you mean 'bert_tiny'?"),
        (["--teacher", "bert_tiny", "--sequence-length", "4096"], "tokens: give --sequence-length"),
    ],
)
def test_settings_are_checked_before_the_pipeline_starts(tmp_path, options, sentence, no_pipeline):
    code, text = run("--data", write_csv(tmp_path / "t.csv"), "--output", tmp_path / "output", *options)
    assert code == 2 and sentence in text
    assert not (tmp_path / "output" / "serving").exists()


_LAST = {"layer_map": {"-1": -1}}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"student": {"stages": [{"temperature": 0}]}}, "temperature=0 must be positive"),
        ({"student": {"stages": [{"attention_scores": 1.0, **_LAST}]}}, "has 4 attention heads and the teacher 2"),
        ({"student": {"stages": [{"hidden_states": 1.0, "layer_map": {"3": 1}}]}}, "but they have 2 and 2"),
        ({"student": {"stages": [{"fit": {"schedule": "cosin"}}]}}, "there is no schedule 'cosin'"),
        (
            {"student": {"stages": [{"fit": {"precision": "bfloat16"}}, {}]}},
            "have bfloat16, float32 as their precision",
        ),
        ({"student": {"stages": [{"fit": {"strategy": "multi_worker"}}]}}, "need the environment variable TF_CONFIG"),
    ],
)
def test_what_a_student_cannot_learn_is_told_before_its_teacher_learns(
    tmp_path, settings, sentence, no_pipeline, monkeypatch
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "c.json").write_text(json.dumps(settings))
    table = write_csv(tmp_path / "t.csv")
    options = ("--teacher", "bert_tiny", "--config", tmp_path / "c.json", "--output", tmp_path / "output")
    code, text = run("--data", table, *options)
    assert code == 2 and sentence in text


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Reviews.csv", "reviews"),
        ("2024 über.tsv.gz", "model-2024-ber"),
        ("データ.parquet", "model"),
        ("a_b.csv", "a-b"),
    ],
)
def test_the_model_is_named_after_the_table_as_servers_and_clusters_take_it(file, name, started):
    assert run("--data", file)[0] == 0
    assert started[0].name == name


def test_an_impossible_name_is_refused(started):
    code, text = run("--name", "My Model")
    assert code == 2 and "cannot be a model's name" in text and not started


def test_a_mistake_is_told_before_tensorflow_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from tfmodels.cli import main\n"
        "try:\n"
        f"    main(['run', 'text_classification', '--data', {str(tmp_path / 'none.csv')!r}])\n"
        "except SystemExit:\n"
        "    print([name for name in ('tensorflow', 'keras', 'tfx') if name in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", code], env=python_environment(), capture_output=True, text=True)
    assert "there is no file" in told.stderr and told.stdout == "[]\n", told
