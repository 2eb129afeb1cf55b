"""A run that was killed goes on, in another process, to the very result of a run that was not."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.processes import python_environment
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, checkpoints, fit
from tfmodels.training.checkpoints import restore_variables, save_variables

CONFIG = FitConfig(epochs=4, learning_rate=1e-2)


class Killed(BaseException):
    """What no code that catches exceptions catches."""


class KillAt(keras.callbacks.Callback):
    """Ends the run after a batch of an epoch; with batch None at the end of the epoch."""

    def __init__(self, epoch, batch, kill):
        super().__init__()
        self.at, self.kill = (epoch, batch), kill

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            self.kill()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.at:
            self.kill()


def run(directory, seed=0, callbacks=(), config=CONFIG):
    """Trains a new model, whose first weights and dropout depend on the seed; returns it and the history."""
    random.seed(seed)
    model = tiny_classifier()
    train, validation = keyword_batches(), keyword_batches(48, seed=1)
    return model, fit(model, train, validation, config, directory, callbacks=callbacks, **classify())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


def assert_same_run(ours, theirs):
    (model, history), (other_model, other_history) = ours, theirs
    assert history == other_history
    for variable, other in zip(model.variables, other_model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)


def raise_killed():
    raise Killed


def test_two_runs_with_one_seed_are_one(uninterrupted, tmp_path):
    assert_same_run(run(tmp_path), uninterrupted)


def test_another_seed_is_another_run(uninterrupted, tmp_path):
    assert run(tmp_path, seed=1)[1] != uninterrupted[1]


@pytest.mark.parametrize("epoch, batch", [(0, 2), (1, 3), (3, 5), (1, None)])
@pytest.mark.learns
def test_a_killed_run_goes_on_to_the_same_result(epoch, batch, uninterrupted, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, callbacks=[KillAt(epoch, batch, raise_killed)])
    # Everything comes from the checkpoint: the new model begins elsewhere, unless nothing was saved yet.
    assert_same_run(run(tmp_path, seed=0 if epoch == 0 else 99), uninterrupted)


@pytest.mark.learns
def test_a_run_killed_twice_goes_on_too(uninterrupted, tmp_path):
    for epoch, seed in ((1, 0), (2, 5)):
        with pytest.raises(Killed):
            run(tmp_path, seed, callbacks=[KillAt(epoch, 1, raise_killed)])
    assert_same_run(run(tmp_path, seed=99), uninterrupted)


@pytest.mark.learns
def test_a_kill_between_the_two_files_of_an_epoch_repeats_the_epoch(uninterrupted, tmp_path, monkeypatch):
    calls = []

    def save(variables, path, notes=None):
        calls.append(path.name)
        if calls.count("state.safetensors") == 2:
            raise Killed
        save_variables(variables, path, notes)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["tfmodels.training.fit"], "save_variables", save)
        with pytest.raises(Killed):
            run(tmp_path)
    assert_same_run(run(tmp_path, seed=99), uninterrupted)


@pytest.mark.learns
def test_a_real_kill_of_a_process_loses_nothing(uninterrupted, tmp_path):
    code = (
        "import os, signal\n"
        "from tests.training.test_resume import KillAt, run\n"
        f"run({str(tmp_path)!r}, callbacks=[KillAt(1, 3, lambda: os.kill(os.getpid(), signal.SIGKILL))])"
    )
    environment = python_environment()
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.safetensors", "state.safetensors"]
    assert_same_run(run(tmp_path, seed=99), uninterrupted)


def test_models_built_before_do_not_matter(uninterrupted, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, callbacks=[KillAt(1, 3, raise_killed)])
    keras.utils.clear_session()  # Keras numbers names from the start again, as a new process does
    assert_same_run(run(tmp_path, seed=99), uninterrupted)


@pytest.fixture
def killed(tmp_path):
    """The directory of a run that was killed in its second epoch."""
    with pytest.raises(Killed):
        run(tmp_path, callbacks=[KillAt(1, 3, raise_killed)])
    return tmp_path


@pytest.mark.parametrize("overrides", [{"num_layers": 2}, {"hidden_dim": 16}, {"vocabulary_size": 52}])
def test_the_checkpoint_of_another_model_is_refused(killed, overrides):
    model = tiny_classifier(**overrides)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"state\.safetensors is the checkpoint of another model.*remove its directory"):
        fit(model, keyword_batches(), keyword_batches(), CONFIG, killed, **classify())
    for value, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 1000])
def test_a_damaged_checkpoint_is_told(killed, damage):
    path = killed / "checkpoints" / "state.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"state\.safetensors is damaged .*remove its directory"):
        run(killed)


def test_variables_and_notes_come_back(tmp_path):
    values = [np.float32(3.5), np.arange(6, dtype="float32").reshape(2, 3), np.array([1, 2**31 + 5], "uint32")]
    variables = [keras.Variable(value, dtype=value.dtype.name, name=f"v{i}") for i, value in enumerate(values)]
    save_variables(variables, tmp_path / "new" / "file", {"epoch": 3, "history": {"loss": [0.1, 1e-300]}})
    for variable in variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    assert restore_variables(variables, tmp_path / "new" / "file") == {"epoch": 3, "history": {"loss": [0.1, 1e-300]}}
    for variable, value in zip(variables, values):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    variable = keras.Variable(np.ones(3, "float32"))
    save_variables([variable], tmp_path / "file", {"epoch": 1})

    def full_disk(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(UserError, match=r"file cannot be written .*No space left.*the checkpoint before it is whole"):
        save_variables([variable], tmp_path / "file", {"epoch": 2})
    assert restore_variables([variable], tmp_path / "file") == {"epoch": 1}
    assert json.dumps(os.listdir(tmp_path)) == '["file"]'
