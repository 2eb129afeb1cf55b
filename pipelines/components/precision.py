"""The precision of a Trainer's model, where the recipe leaves it to the machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipelines.components.epoch_lines import progress
from tfmodels.files import atomic_file
from tfmodels.training import FitConfig, choose_precision

_FILE = "precision.txt"


def settled(config: FitConfig, name: str, make_model, batches, directory: Path, *, loss=None) -> FitConfig:
    """A recipe whose precision is no longer "auto": what `choose_precision` finds, which the user is told.

    Args:
        config: The recipe.
        name: What is trained.
        make_model: `make_model(precision)`, a model as it will be trained.
        batches: What it is trained on.
        directory: Where training keeps its state; the choice is kept there, for a run that goes on.
        loss: As `fit` takes it.
    """
    if config.precision != "auto":
        return config
    file = directory / _FILE
    if file.exists():
        return dataclasses.replace(config, precision=file.read_text(encoding="utf-8"))
    probe = choose_precision(config.precision, make_model, batches, loss=loss)
    progress.info("%s: %s", name, probe)
    with atomic_file(file) as partial:
        partial.write_text(probe.precision, encoding="utf-8")
    return dataclasses.replace(config, precision=probe.precision)
