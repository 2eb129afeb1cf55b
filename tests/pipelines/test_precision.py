"""The precision that a Trainer settles on: tried once, told, kept for a run that goes on."""

import logging

import pytest

from pipelines.components.precision import settled
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, policy_for


def test_the_choice_is_told_and_kept(tmp_path, caplog):
    made = []

    def make(precision):
        made.append(precision)
        return tiny_classifier(dtype=policy_for(precision))

    config = FitConfig(precision="auto")
    with caplog.at_level(logging.INFO, logger="tfmodels.progress"):
        first = settled(config, "teacher", make, keyword_batches(32), tmp_path / "run", loss=classify()["loss"])
    assert made == ["float32", "bfloat16"] and first.precision in made
    assert caplog.messages[0].startswith(f"teacher: computing in {first.precision} (a step: float32 ")
    # Whatever would be faster now: a run that goes on computes as it did.
    for kept in ("bfloat16", "float32"):
        (tmp_path / "run" / "precision.txt").write_text(kept)
        assert settled(config, "teacher", make, None, tmp_path / "run").precision == kept
    assert len(made) == 2


def test_a_named_precision_is_taken_as_it_is(tmp_path):
    config = FitConfig(precision="bfloat16")
    assert settled(config, "teacher", None, None, tmp_path / "run") is config
    assert not (tmp_path / "run").exists()


def test_several_devices_want_a_name():
    with pytest.raises(UserError, match="not the strategy 'mirrored': name a precision"):
        FitConfig(precision="auto", strategy="mirrored")
