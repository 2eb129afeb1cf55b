"""Trains two models by `fit` under a strategy and writes their weights and histories.

    python -m tests.training.workers STRATEGY DIRECTORY OUTPUT.npz [kill]

"mirrored" has two replicas, logical CPUs; for "multi_worker" TF_CONFIG names the workers. With "kill" the process kills
itself in the second epoch of the second model. Devices and clusters must be made before TensorFlow starts.
"""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.models.tiny import tiny
from tests.objectives.topics import topic_backbone, topic_batches
from tests.training.keywords import classify, keyword_batches
from tests.training.test_resume import KillAt
from tfmodels.models import TextClassifier
from tfmodels.objectives import MaskedLanguageModel, Pretrainer
from tfmodels.training import FitConfig, fit
from tfmodels.training.strategies import is_chief, strategy_for

# The last batch of 33 rows has one: a replica of two sees nothing of it.
RECIPES = {
    "pretrainer": FitConfig(epochs=1, learning_rate=1e-2, clip_norm=0.05, monitor="val_loss"),
    "classifier": FitConfig(epochs=3, learning_rate=1e-2, clip_norm=0.05, optimizer="lamb", micro_batches=2),
}


def train(name, strategy, directory, callbacks=()):
    """The model and the history after `fit` under a strategy, which must be there already."""
    keras.utils.set_random_seed(0)
    config = RECIPES[name].replace(strategy=strategy)
    with strategy_for(strategy).scope():
        if name == "classifier":
            backbone = tiny(num_layers=2, dropout=0.0, attention_dropout=0.0)
            model, settings = TextClassifier(backbone, 2, dropout=0.0), classify()
            rows = keyword_batches(41), keyword_batches(33, seed=1)
        else:
            model, settings = Pretrainer(topic_backbone(), [MaskedLanguageModel()]), {"verbose": 0}
            rows = topic_batches(72), topic_batches(33)
        history = fit(model, *rows, config, Path(directory) / name, callbacks=callbacks, **settings)
    return model, history


def forbid_writing():
    """Makes every way by which `fit` writes fail."""

    def write(*arguments, **settings):
        raise AssertionError("only the chief writes")

    tf.summary.create_file_writer = write
    sys.modules["tfmodels.training.checkpoints"].save_file = write


def main(strategy, directory, path, kill=""):
    """See the module."""
    if strategy == "mirrored":
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    assert strategy_for(strategy).num_replicas_in_sync == 2
    if not is_chief(strategy_for(strategy)):
        forbid_writing()
    found = {}
    for name in RECIPES:
        at = [KillAt(1, 1, lambda: os.kill(os.getpid(), signal.SIGKILL))] if kill and name == "classifier" else []
        model, history = train(name, strategy, directory, at)
        found |= {f"{name}/{index}": np.asarray(variable) for index, variable in enumerate(model.trainable_variables)}
        found |= {f"{name}/history/{figure}": values for figure, values in history.items()}
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
