"""Configurations go to JSON and back, and refuse what they do not know."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.components.configuration import from_json, to_json
from pipelines.distillation import job as distillation
from pipelines.distillation.configs import DistillationConfig
from pipelines.pretraining.configs import RowsConfig
from pipelines.text_classification import job as classification
from pipelines.text_classification.configs import PathsConfig, PipelineConfig, StageConfig, StudentConfig
from tfmodels.errors import UserError
from tfmodels.training import FitConfig

PATHS = PathsConfig("data", "preprocessor", "root", "serving", "training")


def test_a_configuration_survives_json():
    stages = (
        StageConfig(hidden_states=1.0, layer_map={"1": 3, "2": 6}, fit=FitConfig(epochs=2)),
        StageConfig(soft_labels=0.5, temperature=2.0),
    )
    config = PipelineConfig(PATHS, ("no", "yes"), student=StudentConfig(stages=stages), beam_args=("--runner=X",))
    assert from_json(PipelineConfig, to_json(config)) == config


def test_what_is_left_out_has_its_default():
    text = json.dumps({"paths": json.loads(to_json(PATHS)), "labels": ["a", "b"], "text": {"sequence_length": 64}})
    config = from_json(PipelineConfig, text)
    assert config.text.sequence_length == 64 and config.teacher == PipelineConfig(PATHS, ()).teacher
    assert config.labels == ("a", "b")


def test_a_part_that_is_left_out_has_the_default_of_its_place_and_not_of_its_class():
    paths = json.loads(to_json(PATHS))
    fit = {"fit": {"precision": "bfloat16"}}
    values = {"paths": paths, "labels": [], "teacher": fit, "student": {"stages": [{"fit": {"epochs": 3}}]}}
    config, default = from_json(PipelineConfig, json.dumps(values)), PipelineConfig(PATHS, ())
    assert config.teacher.fit == default.teacher.fit.replace(precision="bfloat16")
    assert config.student.stages[0].fit == StageConfig.fit.replace(epochs=3)
    teacher = {"artifact": "a", "fingerprint": "f"}
    values = {"paths": paths, "labels": [], "teacher": teacher, "rows": {"table": "t"}, "serving": {"gate_texts": 5}}
    assert from_json(DistillationConfig, json.dumps(values)).serving.model_name == "student"


@pytest.mark.parametrize(
    ("page", "cls", "needed"),
    [
        ("pipeline", PipelineConfig, {}),
        (
            "distillation-pipeline",
            DistillationConfig,
            {"teacher": {"artifact": "a", "fingerprint": "f"}, "rows": {"table": "t"}},
        ),
    ],
)
def test_the_examples_of_the_pages_train_a_student_as_its_recipe_does(page, cls, needed):
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (example,) = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    given = {"paths": json.loads(to_json(PATHS)), "labels": [], **needed}
    for name, value in example.items():
        given[name] = {**given.get(name, {}), **value}
    for stage in from_json(cls, json.dumps(given)).student.stages:
        assert (stage.fit.learning_rate, stage.fit.batch_size) == (1.5e-3, 128)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"techer": {}}, "PipelineConfig has no field 'techer': did you mean 'teacher'?"),
        ({"student": {"stages": [{"temprature": 2}]}}, "StageConfig has no field 'temprature': did you mean"),
        ({"teacher": {"fit": {"epoch": 2}}}, "FitConfig has no field 'epoch': did you mean 'epochs'?"),
        ({}, "PipelineConfig needs a value for"),
        ({"teacher": {"fit": 3}}, "FitConfig is made of fields and not of 3: write them in braces."),
        (
            {"teacher": {"fit": {"epochs": "3"}}},
            "FitConfig.epochs='3' is no whole number: give one, without a point or quotes.",
        ),
        ({"teacher": {"fit": {"epochs": 3.5}}}, "FitConfig.epochs=3.5 is no whole number: give one"),
        ({"teacher": {"fit": {"epochs": None}}}, "FitConfig.epochs=None is no whole number: give one"),
        (
            {"teacher": {"fit": {"learning_rate": "1e-3"}}},
            "FitConfig.learning_rate='1e-3' is no number: give one, without quotes.",
        ),
        (
            {"teacher": {"fit": {"learning_rate": float("inf")}}},
            "learning_rate=inf must be finite: give one such as 5e-5.",
        ),
        ({"teacher": {"fit": {"clip_norm": True}}}, "FitConfig.clip_norm=True is no number: give one"),
        ({"teacher": {"fit": {"recompute": 1}}}, "FitConfig.recompute=1 is no truth value: give true or false."),
        (
            {"teacher": {"fit": {"unfreeze_epochs": 2}}},
            "FitConfig.unfreeze_epochs=2 is no list: give one, in brackets.",
        ),
        ({"teacher": {"fit": {"unfreeze_epochs": ["2"]}}}, "FitConfig.unfreeze_epochs[0]='2' is no number"),
        ({"teacher": {"source": 3}}, "TeacherConfig.source=3 is no text: give one, in quotes."),
        ({"teacher": {"overrides": ["num_layers", 2]}}, " has no fields: give some, in braces."),
        ({"teacher": {"dropout": 2}}, "TeacherConfig.dropout=2 is no rate: give a fraction, at least 0 and below 1."),
        ({"student": {"stages": {"fit": {}}}}, "StudentConfig.stages={'fit': {}} is no list: give one, in brackets."),
    ],
)
def test_mistakes_are_named(values, sentence):
    needed = {"paths": json.loads(to_json(PATHS)), "labels": ["a", "b"]} if values else {}
    with pytest.raises(UserError) as caught:
        from_json(PipelineConfig, json.dumps(needed | values))
    assert sentence in str(caught.value)


def test_a_list_of_so_many_numbers_has_so_many():
    for given, sentence in (
        ([20], "is no list of 2"),
        ([20, 50, 100], "is no list of 2"),
        (["20", 50], "'20' is no whole number"),
    ):
        with pytest.raises(UserError, match=f"RowsConfig.rare_words.*{re.escape(sentence)}"):
            from_json(RowsConfig, json.dumps({"rare_words": given}))
    rows = from_json(RowsConfig, '{"rare_words": [20, 50], "copies": null, "masked": 1}')
    assert (rows.rare_words, rows.copies, rows.masked) == ((20, 50), None, 1)


@pytest.mark.parametrize(
    ("cls", "settings", "sentence"),
    [
        (PipelineConfig, {"paths": {"data": "x"}}, "the run sets paths itself: leave it out of --config."),
        (PipelineConfig, {"labels": ["a"]}, "the run sets labels itself"),
        (DistillationConfig, {"rows": {"table": "t"}}, "the run sets rows.table itself"),
        (DistillationConfig, {"rows": {"spans_per_text": "2"}}, "RowsConfig.spans_per_text='2' is no whole number"),
        (DistillationConfig, {"rows": None}, "RowsConfig is made of fields and not of None"),
        (DistillationConfig, {"rows": [1]}, "RowsConfig is made of fields and not of [1]"),
        (DistillationConfig, {"sequence_length": "64"}, "DistillationConfig.sequence_length='64' is no whole number"),
        (DistillationConfig, {"student": {"dropout": -1}}, "StudentConfig.dropout=-1 is no rate"),
        (PipelineConfig, {"teacher": {"dropout": 1}}, "TeacherConfig.dropout=1 is no rate"),
        (PipelineConfig, {"teacher": {"fit": {"epochs": 2}}}, None),
        (DistillationConfig, {"studnt": {}}, "did you mean 'student'?"),
        (DistillationConfig, {"student": {"preset": "bert_mini"}, "rows": {"spans_per_text": 2}}, None),
    ],
)
def test_what_a_user_gives_is_looked_at_before_the_table_is_read(tmp_path, monkeypatch, cls, settings, sentence):
    job = {PipelineConfig: classification, DistillationConfig: distillation}[cls]

    class TableIsRead(Exception):
        """What comes after the check."""

    def read(*arguments):
        raise TableIsRead

    monkeypatch.setattr(job, "prepare", read)
    given = (None,) if job is distillation else ()
    with pytest.raises(TableIsRead if sentence is None else UserError) as caught:
        job._run(job.JobConfig(str(tmp_path), settings=settings), *given, None, Console(quiet=True), 0.0)
    assert sentence is None or sentence in str(caught.value)


def test_what_is_not_json_is_told():
    with pytest.raises(UserError, match="is not JSON"):
        from_json(PipelineConfig, "{")
