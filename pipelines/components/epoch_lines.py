"""Tells the user how far training is."""

from __future__ import annotations

import logging
import time

import keras

from tfmodels.training import FitConfig

# A job shows these lines to the user; elsewhere they are ordinary log lines.
progress = logging.getLogger("tfmodels.progress")


class EpochLines(keras.callbacks.Callback):
    """A line for every epoch, and one in passing every few seconds.

    Args:
        name: What is trained.
        config: The recipe.
        figures: The figures of an epoch's line, where there are such.
        every_seconds: Between lines in passing.
    """

    def __init__(self, name: str, config: FitConfig, figures=("loss", "val_accuracy"), every_seconds: float = 2.0):
        super().__init__()
        self.name = name
        self.epochs = config.epochs
        self.figures = figures
        self.every_seconds = every_seconds

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.started = epoch + 1, time.monotonic()
        self.told = self.started

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if now - self.told >= self.every_seconds:
            self.told = now
            place = f"epoch {self.epoch} of {self.epochs}, batch {batch + 1} of {self.params['steps']}"
            progress.info("%s: %s", self.name, place, extra={"passing": True})

    def on_epoch_end(self, epoch, logs=None):
        figures = ", ".join(f"{name} {float(logs[name]):.4f}" for name in self.figures if name in logs)
        seconds = time.monotonic() - self.started
        progress.info("%s: epoch %d of %d, %s (%.0f s)", self.name, self.epoch, self.epochs, figures, seconds)
