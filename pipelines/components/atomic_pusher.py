"""A Pusher whose versions are whole or absent, whatever kills it, and never collide.

TFX's Pusher copies file by file into the folder that the server watches and numbers versions by the second: a kill
leaves half a version there, and two pushes within a second are one. Here a version is copied to a hidden sibling,
flushed to the disk, and renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfx.components.pusher import executor as standard_executor
from tfx.components.pusher.component import Pusher
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, proto_utils

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory


class AtomicPusherExecutor(standard_executor.Executor):
    """Pushes blessed models by `push_version`; to remote file systems, as TFX's own executor does."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Pushes the model if it is blessed, and marks the PushedModel artifact as TFX's executor does."""
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base = destination.filesystem.base_directory
        if "://" in base:
            # Object stores have no rename of folders; copying saved_model.pb last is the best there is.
            super().Do(input_dict, output_dict, exec_properties)
            return
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        version = push_version(model, base)
        # TFX archives what was pushed; the job also pushes it again from here when its version has been removed.
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


class AtomicPusher(Pusher):
    """TFX's Pusher component with `AtomicPusherExecutor`."""

    EXECUTOR_SPEC = ExecutorClassSpec(AtomicPusherExecutor)


def push_version(model: str | os.PathLike, base: str | os.PathLike) -> Path:
    """Copies an export into a folder of versions, atomically.

    Args:
        model: The export, a local folder with `saved_model.pb`.
        base: The folder that a model server watches; made when absent.

    Returns:
        The folder of the version: a new one, named by the time in seconds or by the number after the latest version,
        whichever is higher; or the latest one when it already holds the same files.

    Raises:
        UserError: The disk is full; no version appears.
    """
    model, base = Path(model), Path(base)
    base.mkdir(parents=True, exist_ok=True)
    with _only_pusher(base):
        # Whoever holds the lock is the only pusher, so that what lies half-copied was left by one that was killed.
        for remains in base.glob(".*.partial-*"):
            shutil.rmtree(remains)
        latest = latest_version(base)
        if latest is not None and _fingerprint(latest) == _fingerprint(model):
            return latest
        number = max(int(time.time()), 0 if latest is None else int(latest.name) + 1)
        version = base / str(number)
        try:
            with atomic_directory(version) as partial:
                shutil.copytree(model, partial, dirs_exist_ok=True)
                _flush(partial)
            _flush_folder(base)
        except OSError as error:
            raise UserError(
                f"the model could not be copied to {base} ({error.strerror or error}): free some space and run again."
            ) from error
    return version


def versions(base: str | os.PathLike) -> list[Path]:
    """The folders of the versions under `base`, oldest first."""
    base = Path(base)
    numbered = [path for path in base.iterdir() if path.name.isdecimal() and path.is_dir()] if base.is_dir() else []
    return sorted(numbered, key=lambda path: int(path.name))


def latest_version(base: str | os.PathLike) -> Path | None:
    """The folder of the highest version under `base`, or None."""
    return max(versions(base), key=lambda path: int(path.name), default=None)


@contextmanager
def _only_pusher(base: Path) -> Iterator[None]:
    """Waits until no other process pushes into `base`; a killed one holds the lock no longer."""
    with open(base / ".push.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprint(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _flush(directory: Path) -> None:
    """Makes sure that the files' content is on the disk before the rename is: a power cut may reorder the two."""
    for path in [directory, *directory.rglob("*")]:
        _flush_folder(path)


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
