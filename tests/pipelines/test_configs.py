"""Configurations go to JSON and back, and refuse what they do not know."""

import json

import pytest

from pipelines.components.configuration import from_json, to_json
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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"techer": {}}, "PipelineConfig has no field 'techer': did you mean 'teacher'?"),
        ({"student": {"stages": [{"temprature": 2}]}}, "StageConfig has no field 'temprature': did you mean"),
        ({"teacher": {"fit": {"epoch": 2}}}, "FitConfig has no field 'epoch': did you mean 'epochs'?"),
        ({}, "PipelineConfig needs a value for"),
    ],
)
def test_mistakes_are_named(values, sentence):
    needed = {"paths": json.loads(to_json(PATHS)), "labels": ["a", "b"]} if values else {}
    with pytest.raises(UserError) as caught:
        from_json(PipelineConfig, json.dumps(needed | values))
    assert sentence in str(caught.value)


def test_what_is_not_json_is_told():
    with pytest.raises(UserError, match="is not JSON"):
        from_json(PipelineConfig, "{")
