"""Local folders for what may lie on a remote file system."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfx.dsl.io import fileio
from tfx.utils import io_utils


def is_remote(uri: str) -> bool:
    """Whether a URI needs TFX's file systems, as gs:// does."""
    return "://" in str(uri)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Yields a local folder with the content of `uri`: the folder itself, or for the block's time a copy."""
    if not is_remote(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        io_utils.copy_dir(str(uri), folder)
        yield Path(folder)


@contextmanager
def local_output(uri: str) -> Iterator[Path]:
    """Yields a local folder whose content is at `uri` after the block: the folder itself, or one that is copied."""
    if not is_remote(uri):
        Path(uri).mkdir(parents=True, exist_ok=True)
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        fileio.makedirs(str(uri))
        io_utils.copy_dir(folder, str(uri))
