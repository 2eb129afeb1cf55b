"""What the folder that a model server watches may ever hold: whole versions, each once."""

import errno
import multiprocessing
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from pipelines.components import atomic_pusher
from pipelines.components.atomic_pusher import AtomicPusherExecutor
from pipelines.components.versions import latest_version, push_version, versions
from tfmodels.errors import UserError


def make_export(directory, content="1"):
    for name in ("variables/variables.index", "variables/variables.data", "assets/vocab.txt", "saved_model.pb"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{name} {content}")
    return directory


def tree(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_version_is_a_copy_of_the_export(tmp_path):
    export = make_export(tmp_path / "export")
    version = push_version(export, tmp_path / "serving")
    assert version.parent == tmp_path / "serving" and version.name.isdecimal()
    assert tree(version) == tree(export)
    assert version.stat().st_mode & 0o055 == 0o055  # a server under another user reads it


def test_versions_rise_even_within_a_second(tmp_path):
    pushed = [push_version(make_export(tmp_path / str(i), str(i)), tmp_path / "serving") for i in range(3)]
    assert len(set(pushed)) == 3 and pushed == versions(tmp_path / "serving")
    assert latest_version(tmp_path / "serving") == pushed[-1]


def test_a_version_from_the_future_is_not_overtaken_by_the_clock(tmp_path):
    make_export(tmp_path / "serving" / "9999999999", "old")
    assert push_version(make_export(tmp_path / "export"), tmp_path / "serving").name == "10000000000"


def test_the_same_model_is_pushed_once(tmp_path):
    first = push_version(make_export(tmp_path / "a"), tmp_path / "serving")
    assert push_version(make_export(tmp_path / "b"), tmp_path / "serving") == first
    assert versions(tmp_path / "serving") == [first]


def test_an_older_model_can_be_pushed_again(tmp_path):
    pushed = [push_version(make_export(tmp_path / f"{i}", c), tmp_path / "serving") for i, c in enumerate("aba")]
    assert len(set(pushed)) == 3


@pytest.mark.parametrize("copied_files", [0, 1, 3])
def test_a_kill_leaves_no_version_and_the_next_push_cleans_up(tmp_path, copied_files):
    export, serving = make_export(tmp_path / "export"), tmp_path / "serving"
    program = f"""
import os, shutil, signal
from pipelines.components.versions import push_version
copies, copyfile = [], shutil.copyfile
def copy(*arguments, **options):
    if len(copies) == {copied_files}:
        os.kill(os.getpid(), signal.SIGKILL)
    copies.append(arguments)
    return copyfile(*arguments, **options)
shutil.copyfile = copy
push_version({str(export)!r}, {str(serving)!r})
"""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert versions(serving) == []
    # What is left is hidden from a server: its name is no integer.
    assert [path.name for path in serving.iterdir() if not path.name.startswith(".")] == []
    assert list(serving.glob(".*.partial-*"))

    version = push_version(export, serving)
    assert tree(version) == tree(export)
    assert not list(serving.glob(".*.partial-*"))


def _push(export, serving, barrier, results):
    barrier.wait()
    results.put(str(push_version(export, serving)))


def test_two_pushers_at_once_make_two_versions(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    exports = [make_export(tmp_path / name, name) for name in "ab"]
    processes = [
        context.Process(target=_push, args=(export, tmp_path / "serving", barrier, results)) for export in exports
    ]
    for process in processes:
        process.start()
    pushed = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(pushed) == 2
    assert sorted(map(str, (tree(version) for version in versions(tmp_path / "serving")))) == sorted(
        map(str, (tree(export) for export in exports))
    )


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        push_version(make_export(tmp_path / "export"), tmp_path / "serving")
    assert versions(tmp_path / "serving") == [] and not list((tmp_path / "serving").glob("*.partial*"))


# The executor, as the Pusher component calls it.


def artifact(cls, path, **properties):
    made = cls()
    made.uri = str(path)
    for name, value in properties.items():
        made.set_int_custom_property(name, value)
    return made


def push(tmp_path, *, blessed=1, infra_blessed=1, base=None):
    (tmp_path / "pushed").mkdir()
    make_export(tmp_path / "model" / "Format-Serving")
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(base or tmp_path / "serving"))
    )
    pushed = artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
    AtomicPusherExecutor().Do(
        {
            "model": [artifact(standard_artifacts.Model, tmp_path / "model")],
            "model_blessing": [artifact(standard_artifacts.ModelBlessing, tmp_path / "b", blessed=blessed)],
            "infra_blessing": [artifact(standard_artifacts.InfraBlessing, tmp_path / "i", blessed=infra_blessed)],
        },
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(destination)},
    )
    return pushed


def test_a_blessed_model_is_pushed_and_archived(tmp_path):
    pushed = push(tmp_path)
    version = latest_version(tmp_path / "serving")
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == version.name
    assert tree(tmp_path / "pushed") == tree(version)


@pytest.mark.parametrize("refused", [{"blessed": 0}, {"infra_blessed": 0}])
def test_a_refused_model_is_not_pushed(tmp_path, refused):
    pushed = push(tmp_path, **refused)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


def test_remote_folders_are_left_to_tfx(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(atomic_pusher.standard_executor.Executor, "Do", lambda self, *args: called.append(args))
    push(tmp_path, base="gs://bucket/serving")
    assert len(called) == 1
