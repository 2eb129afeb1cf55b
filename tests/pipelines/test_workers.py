"""Several workers share the training of one run: they meet, train in processes of their own, and end together."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines import workers
from pipelines.text_classification import trainer
from pipelines.workers import shared, together
from tests.pipelines.callbacks import write
from tests.pipelines.trainers import arguments, multi_worker_recipes, write_rows
from tests.support.processes import free_addresses, python_environment
from tfmodels.clusters import Cluster
from tfmodels.errors import UserError

PATIENCE = 500  # seconds


@pytest.fixture
def start(tmp_path):
    """Starts a worker of a cluster of two; all that still run are killed afterwards."""
    cluster, processes = {"worker": free_addresses(2)}, []

    def worker(index, callback):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipelines.callbacks", callback, str(tmp_path / "output")],
            cwd=Path(__file__).parents[2],
            env=python_environment(TF_CONFIG=json.dumps(config)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # With its training, which a failing test may have left behind.
        )
        processes.append(process)
        return process

    yield worker
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process):
    """A worker's exit status, and its last line."""
    said, noise = process.communicate(timeout=PATIENCE)
    return process.returncode, (said or noise).strip().rpartition("\n")[2]


def both_ended(start, callback):
    processes = [start(index, callback) for index in (1, 0)]  # The one that waits is there first.
    return [ended(process) for process in reversed(processes)]


def seen(tmp_path, index):
    """What a worker's callback wrote, as soon as it is whole."""
    file, until = tmp_path / "output" / f"seen-{index}.json", time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError):
            time.sleep(0.1)
    pytest.fail(f"worker {index} wrote nothing")


def is_gone(process):
    """Whether a process ends within seconds."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            # One whose parent is dead may wait for a parent that asks how it ended.
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_callback_runs_once_on_every_worker_in_a_process_of_its_own(start, tmp_path):
    # A run that was killed has left where it listened.
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "workers.json").write_text(
        json.dumps({"address": free_addresses(1)[0].split(":"), "secret": "old"})
    )
    processes = [start(index, "write") for index in (1, 0)]
    assert [ended(process)[0] for process in processes] == [0, 0]
    told = [seen(tmp_path, index) for index in (0, 1)]
    assert [each["code"] for each in told] == ["abc", "abc"] and told[0]["base_model"] is None
    assert len({each["process"] for each in told} | {process.pid for process in processes}) == 4
    assert not (tmp_path / "output" / "workers.json").exists()


def test_the_reason_of_a_worker_that_fails_is_told_and_all_end(start, tmp_path):
    (code, told), (other, own) = both_ended(start, "second_fails")
    assert (code, told) == (2, "worker 1: the folder is no folder: give another.")
    assert (other, own) == (2, "worker 1 of 2: the folder is no folder: give another.")
    assert is_gone(seen(tmp_path, 0)["process"])


def test_the_first_workers_reason_goes_before_the_others(start):
    assert both_ended(start, "both_fail")[0] == (2, "the disk is full: make room.")


def test_a_bug_is_told_as_one(start):
    (code, told), _ = both_ended(start, "has_a_bug")
    assert code == 1 and told == "RuntimeError: ZeroDivisionError: division by zero"


def test_a_training_that_is_killed_ends_all(start, tmp_path):
    (code, told), (other, own) = both_ended(start, "is_killed")
    assert code == other == 2 and "went away" in own
    assert told.startswith("worker 1") and "went away: start the same command on all workers again" in told
    assert is_gone(seen(tmp_path, 0)["process"])


@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_is_killed_ends_all(start, tmp_path, killed):
    processes = {index: start(index, "waits") for index in (1, 0)}
    training = [seen(tmp_path, index)["process"] for index in (0, 1)]
    processes[killed].send_signal(signal.SIGKILL)
    code, told = ended(processes[1 - killed])
    assert code == 2
    assert told.startswith("worker 1 went away" if killed else "worker 0 has gone")
    assert "start the same command on all workers again" in told
    assert all(map(is_gone, training))


def test_strangers_are_sent_away(start, tmp_path):
    first, file = start(0, "write"), tmp_path / "output" / "workers.json"
    until = time.monotonic() + PATIENCE
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert file.stat().st_mode & 0o077 == 0
    where = json.loads(file.read_text())
    greeting = {"index": 1, "version": __import__("tfmodels").__version__, "secret": where["secret"]}

    def answer(**changes):
        with socket.create_connection(tuple(where["address"]), timeout=PATIENCE) as line:
            line.sendall(json.dumps({**greeting, **changes}).encode() + b"\n")
            return line.makefile().readline()

    assert answer(secret="guessed") == answer(secret=None) == ""
    assert "install the same" in answer(version="0.0")
    assert "has no 2" in answer(index=2) and "has no 0" in answer(index=0)
    with socket.create_connection(tuple(where["address"]), timeout=PATIENCE) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert line.recv(100) == b""
    assert first.poll() is None
    second = start(1, "write")
    assert [ended(process)[0] for process in (first, second)] == [0, 0]


def test_a_worker_that_went_away_with_its_work_done_is_not_waited_for(monkeypatch):
    class Training:
        def __init__(self, call, events):
            for who, message in ((1, {"done": True}), (1, None), (self, {"done": True})):
                events.put((who, message))

        def end(self):
            pass

    monkeypatch.setattr(workers, "_Training", Training)
    leader = workers._Leader(Cluster(("a:1", "b:1"), 0), None, "")
    leader._lines[1] = workers._Line(io.StringIO(), io.StringIO())
    leader.train({})
    with pytest.raises(UserError, match="worker 1 went away: start the same command"):
        leader.train({})


def test_another_machines_address_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"this machine is not 203\.0\.113\.1"):
        together(Cluster(("203.0.113.1:1", "203.0.113.1:2"), 0), tmp_path, lambda: True)
    assert not os.listdir(tmp_path)


def test_without_other_workers_the_caller_trains():
    assert not shared(write, "one", None) and not shared(write, "multi_worker", None)


@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_trainers_on_two_workers_make_what_one_makes(start, tmp_path):
    folders = {name: tmp_path / name for name in ("one", "output")}
    for folder in folders.values():
        write_rows(folder)
    processes = [start(index, "trainers") for index in (1, 0)]
    for process in reversed(processes):
        said, noise = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said + noise[-3000:]
    teacher, student = multi_worker_recipes("one")
    trainer.run_teacher(arguments(folders["one"], "teacher", teacher))
    given = folders["one"] / "teacher" / "Format-Serving"
    trainer.run_student(arguments(folders["one"], "student", student, given))
    for role in ("teacher", "student"):
        one, two = (np.load(folder / role / "run" / "predictions.npz")["test_logits"] for folder in folders.values())
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
        histories = [json.loads((folder / role / "run" / "history.json").read_text()) for folder in folders.values()]
        one, two = (next(iter(each["history"].values())) for each in histories)
        for figure, values in one.items():
            np.testing.assert_allclose(two[figure], values, rtol=1e-4, atol=1e-6, err_msg=figure)
