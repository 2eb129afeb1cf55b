"""A folder of model versions that a model server watches: versions appear whole, and their numbers only rise.

A version is copied to a hidden sibling, flushed to the disk, and renamed into place. Servers take folders whose names
are integers for versions and see nothing of the rest.
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

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory


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


def pushed_version(model, serving: str | os.PathLike) -> dict | None:
    """The version that a Pusher pushed, and where it is.

    Args:
        model: The Pusher's output, a `metadata.Output`.
        serving: The folder of versions; one that somebody has removed since is pushed again from TFX's copy.

    Returns:
        {"version": int, "path": str}; None if the model was refused.
    """
    if model.properties.get("pushed") != 1:
        return None
    version = Path(model.properties["pushed_destination"])
    if not version.exists():
        version = push_version(model.uri, serving)
    return {"version": int(version.name), "path": str(version)}


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
