"""Writing files and directories that are whole or absent, never half-written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfmodels.errors import UserError


@contextmanager
def atomic_directory(final: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling of `final` that becomes `final` when the block ends without an error.

    Args:
        final: The directory to appear. Its parents are made.
        overwrite: Replace an existing directory; otherwise one that exists is an error.

    Raises:
        UserError: `final` exists and `overwrite` is False.
    """
    final = Path(final)
    if final.exists() and not overwrite:
        raise UserError(f"{final} already exists: remove it or choose another directory.")
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    try:
        yield partial
        # mkdtemp makes private directories; the result gets the permissions of any other new one.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o777 & ~umask)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def atomic_file(final: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a temporary sibling that replaces `final` when the block ends without an error."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
