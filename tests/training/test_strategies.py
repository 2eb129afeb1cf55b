"""Where a model trains is one word of the recipe, and changes neither its weights nor its figures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.processes import free_addresses, python_environment
from tests.support.tensors import assert_close
from tests.training.keywords import classify, keyword_batches, tiny_classifier
from tests.training.test_micro_batches import ROUNDING
from tests.training.workers import RECIPES, train
from tfmodels.clusters import this_cluster
from tfmodels.errors import UserError
from tfmodels.training import FitConfig, checkpoints, fit, strategies
from tfmodels.training.strategies import distribute, is_chief, on_chief, strategy_for, sum_over_workers

PATIENCE = 240  # seconds


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one device makes of the recipes, by name."""
    directory = tmp_path_factory.mktemp("one")
    return {name: train(name, "one", directory) for name in RECIPES}


def start(strategy, directory, output, *options, cluster=(), index=0):
    """A process of `tests.training.workers`."""
    environment = python_environment()
    if cluster:
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(cluster)}, "task": task})
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.workers", strategy, str(directory), str(output), *options],
        cwd=Path(__file__).parents[2],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_done(process):
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors[-3000:]


def assert_same_runs(path, one):
    """All weights and all figures of every epoch are those of one device."""
    found = np.load(path)
    for name, (model, history) in one.items():
        for index, variable in enumerate(model.trainable_variables):
            tolerance = 1e-4 if variable.path.endswith(ROUNDING) else 2e-6
            assert_close(found[f"{name}/{index}"], variable.numpy(), tolerance, variable.path)
        for figure, values in history.items():
            np.testing.assert_allclose(found[f"{name}/history/{figure}"], values, rtol=1e-5, atol=1e-7, err_msg=figure)


@pytest.mark.e2e
def test_two_devices_of_one_machine_train_as_one(one, tmp_path):
    assert_done(start("mirrored", tmp_path, tmp_path / "found.npz"))
    assert_same_runs(tmp_path / "found.npz", one)


@pytest.mark.e2e
def test_workers_one_of_which_is_killed_train_as_one_process(one, tmp_path):
    """A cluster manager starts all of them again; the first model was finished by then, the second was not."""
    outputs = [tmp_path / f"{index}.npz" for index in range(2)]
    cluster = free_addresses(2)
    first, second = (
        start("multi_worker", tmp_path, output, *(["kill"] if index else []), cluster=cluster, index=index)
        for index, output in enumerate(outputs)
    )
    try:
        _, errors = second.communicate(timeout=PATIENCE)
        assert second.returncode == -signal.SIGKILL, errors[-3000:]
    finally:
        first.kill()
        first.communicate()
    kept = tmp_path / "classifier" / "checkpoints"
    assert sorted(os.listdir(kept)) == ["best.safetensors", "state.safetensors"]
    cluster = free_addresses(2)
    for process in [
        start("multi_worker", tmp_path, output, cluster=cluster, index=index) for index, output in enumerate(outputs)
    ]:
        assert_done(process)
    for output in outputs:
        assert_same_runs(output, one)


def test_the_clipping_of_these_recipes_bites(one):
    model, _ = one["classifier"]
    x, y = next(iter(keyword_batches(41).dataset()))
    with tf.GradientTape() as tape:
        loss = classify()["loss"]["logits"](y["logits"], model(x, training=True)["logits"])
    gradients = tape.gradient(loss, model.trainable_variables)
    assert float(tf.linalg.global_norm(gradients)) > RECIPES["classifier"].clip_norm


def test_replicas_share_every_batch_without_rest():
    class Context:
        num_input_pipelines = 2

        def __init__(self, index):
            self.input_pipeline_id = index

    class Workers:
        """Two workers of two replicas each."""

        num_replicas_in_sync = 4

        def __init__(self, index):
            self.index = index

        def distribute_datasets_from_function(self, make):
            return make(Context(self.index))

    batches = keyword_batches(37, batch_size=16)
    whole = [targets["logits"].numpy() for _, targets in batches.dataset()]
    parts = [[targets["logits"].numpy() for _, targets in distribute(Workers(w), batches.dataset())] for w in (0, 1)]
    for number, rows in enumerate(whole):
        replicas = [parts[worker][2 * number + replica] for worker in (0, 1) for replica in (0, 1)]
        assert max(map(len, replicas)) - min(map(len, replicas)) <= 1
        for replica, found in enumerate(replicas):
            np.testing.assert_array_equal(found, rows[replica::4])
    assert len(parts[0]) == len(parts[1]) == 2 * len(whole)


def test_one_device_has_nothing_to_share():
    strategy = strategy_for("one")
    dataset = keyword_batches(8).dataset()
    assert distribute(strategy, dataset) is dataset
    assert is_chief(strategy) and sum_over_workers(strategy, 3) == 3
    done = []
    on_chief(strategy, lambda: done.append(1))
    assert done == [1]
    with pytest.raises(OSError, match="full"):
        on_chief(strategy, lambda: (_ for _ in ()).throw(OSError("full")))


def test_one_device_of_a_machine_trains_as_no_strategy(one, tmp_path):
    model, history = train("pretrainer", "mirrored", tmp_path)
    assert history == one["pretrainer"][1]
    for variable, other in zip(model.trainable_variables, one["pretrainer"][0].trainable_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)


CLUSTER = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize(
    "config, message",
    [
        (None, "need the environment variable TF_CONFIG"),
        ("", "need the environment variable TF_CONFIG"),
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "lacks a cluster or a task"),
        (json.dumps({"cluster": CLUSTER["cluster"]}), "lacks a cluster or a task"),
        (json.dumps({**CLUSTER, "task": {"type": "wroker", "index": 0}}), "lacks a cluster or a task"),
        (json.dumps({**CLUSTER, "task": {"type": "worker", "index": 2}}), "worker 2 is none of its cluster's"),
        (json.dumps({"cluster": {"ps": ["c:1"]}, "task": {"type": "ps", "index": 0}}), "ps 0 trains nothing"),
    ],
)
def test_a_cluster_that_is_none_is_refused(config, message, monkeypatch):
    strategies._multi_worker.cache_clear()
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=message):
        strategy_for("multi_worker")


def test_the_chief_is_the_first_of_all_workers(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "evaluator": ["d:1"]}
    for task, index in {("chief", 0): 0, ("worker", 0): 1, ("worker", 1): 2}.items():
        config = {"cluster": cluster, "task": dict(zip(("type", "index"), task))}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert this_cluster() == (("a:1", "b:1", "c:1"), index)


def test_what_cannot_be_had_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no strategy 'mirorred': did you mean 'mirrored'"):
        strategy_for("mirorred")
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match="there is no TPU here"):
        strategy_for("tpu")
    config = FitConfig(epochs=1, strategy="mirrored")
    with pytest.raises(UserError, match="was built outside the strategy 'mirrored': build it under"):
        fit(tiny_classifier(), keyword_batches(8), None, config, tmp_path, **classify())
    with strategy_for("mirrored").scope():
        model = tiny_classifier()
    # On several machines it would count one machine's rows.
    with pytest.raises(UserError, match="the metric accuracy was built outside the strategy 'mirrored'"):
        fit(model, keyword_batches(8), None, config, tmp_path, **classify())
    assert not os.listdir(tmp_path)


def test_a_batch_smaller_than_the_replicas_is_refused(tmp_path, monkeypatch):
    model = tiny_classifier()
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 8)
    with pytest.raises(UserError, match="batch_size=4 is less than the 8 replicas"):
        fit(model, keyword_batches(8), None, FitConfig(batch_size=4), tmp_path, **classify())


def test_workers_with_directories_of_their_own_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tfmodels.training.fit"], "sum_over_workers", lambda strategy, number: number + 1)
    with pytest.raises(UserError, match=r"find different checkpoints in .*give a directory that they share"):
        fit(tiny_classifier(), keyword_batches(8), None, FitConfig(), tmp_path, **classify())


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    batches, config = keyword_batches(32), FitConfig(epochs=3, learning_rate=1e-3)
    save, calls = checkpoints.save_file, []

    def full_disk(tensors, path, **settings):
        calls.append(path)
        if len(calls) == 3:  # The best weights and the state of the first epoch were written.
            Path(path).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        save(tensors, path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full_disk)
        with pytest.raises(UserError) as caught:
            fit(tiny_classifier(), batches, keyword_batches(16), config, tmp_path, **classify())
    message = str(caught.value)
    assert "cannot be written" in message and "No space left on device" in message and "is whole" in message
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.safetensors", "state.safetensors"]
    history = fit(tiny_classifier(), batches, keyword_batches(16), config, tmp_path, **classify())
    assert len(history["loss"]) == 3


def test_a_file_that_the_system_refuses_is_told(tmp_path):
    """The system itself stops the writing: no process may write a file of more than 4 KiB."""
    code = (
        "import resource, numpy as np, keras\n"
        "from tfmodels.errors import UserError\n"
        "from tfmodels.training.checkpoints import save_variables, restore_variables\n"
        "variable = keras.Variable(np.ones(4096, 'float32'))\n"
        f"path = __import__('pathlib').Path({str(tmp_path)!r}) / 'state'\n"
        "save_variables([variable], path, {'epoch': 1})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    save_variables([variable], path, {'epoch': 2})\n"
        "except UserError as error:\n"
        "    assert 'cannot be written' in str(error), error\n"
        "    assert restore_variables([variable], path) == {'epoch': 1}\n"
        "    raise SystemExit(7)\n"
    )
    environment = python_environment()
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 7, result.stderr[-2000:]
    assert os.listdir(tmp_path) == ["state"]


class PoisonBefore(keras.callbacks.Callback):
    """Makes a weight NaN before a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            weight = self.model.trainable_variables[-1]
            weight.assign(np.full(weight.shape, np.nan))


def test_a_loss_that_is_no_number_names_its_batch(tmp_path):
    seen = []
    counter = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
    with pytest.raises(UserError, match=r"the loss became nan in epoch 2, batch 3: .*the last good checkpoint is"):
        callbacks = [counter, PoisonBefore(1, 2)]
        fit(tiny_classifier(), keyword_batches(64), None, FitConfig(), tmp_path, callbacks=callbacks, **classify())
    assert seen == [0, 1, 2, 3, 0, 1, 2]  # It stops at once.
    assert (tmp_path / "checkpoints" / "state.safetensors").exists()
