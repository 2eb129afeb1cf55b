"""Files and directories are whole or absent."""

import os
import stat

import pytest

from tfmodels.errors import UserError
from tfmodels.files import atomic_directory, atomic_file


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_directory_appears_with_all_its_files_at_the_end(tmp_path):
    final = tmp_path / "parents" / "are made" / "export"
    with atomic_directory(final) as partial:
        (partial / "a").write_text("1")
        assert not final.exists()
        assert partial.parent == final.parent and partial.name.startswith(".export.partial-")
        (partial / "b").write_text("2")
    assert names(final) == ["a", "b"]
    assert names(final.parent) == ["export"]


@pytest.mark.parametrize("error", [RuntimeError, OSError(28, "No space left on device"), KeyboardInterrupt, SystemExit])
def test_a_directory_never_appears_when_the_block_fails(tmp_path, error):
    expected = type(error) if isinstance(error, Exception) else error
    with pytest.raises(expected), atomic_directory(tmp_path / "export") as partial:
        (partial / "deep" / "er").mkdir(parents=True)
        (partial / "deep" / "er" / "a").write_text("1")
        raise error
    assert names(tmp_path) == []


def test_an_existing_directory_is_kept_unless_it_is_to_be_replaced(tmp_path):
    final = tmp_path / "export"
    final.mkdir()
    (final / "old").write_text("1")
    with pytest.raises(UserError, match="export already exists: remove it"), atomic_directory(final):
        pytest.fail("the block must not run")
    assert names(final) == ["old"] and names(tmp_path) == ["export"]

    with pytest.raises(RuntimeError), atomic_directory(final, overwrite=True) as partial:
        (partial / "new").write_text("2")
        raise RuntimeError
    assert names(final) == ["old"] and names(tmp_path) == ["export"]

    with atomic_directory(final, overwrite=True) as partial:
        (partial / "new").write_text("2")
        assert names(final) == ["old"]
    assert names(final) == ["new"] and names(tmp_path) == ["export"]


def test_a_directory_has_the_permissions_of_any_new_one(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_directory(tmp_path / "export"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "export")}
    assert len(modes) == 1


def test_two_writers_of_one_directory_do_not_mix(tmp_path):
    final = tmp_path / "export"
    with atomic_directory(final) as first:
        (first / "first").write_text("1")
        with atomic_directory(final) as second:
            (second / "second").write_text("2")
        assert names(final) == ["second"]
        (first / "also first").write_text("1")
    assert names(final) in (["also first", "first"], ["second"])
    assert names(tmp_path) == ["export"]


def test_a_file_appears_at_the_end(tmp_path):
    final = tmp_path / "parents" / "a.json"
    with atomic_file(final) as partial:
        partial.write_text("1")
        assert not final.exists() and partial.parent == final.parent
    assert final.read_text() == "1" and names(final.parent) == ["a.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_file_keeps_its_old_contents_when_the_block_fails(tmp_path, error):
    final = tmp_path / "a.json"
    final.write_text("old")
    with pytest.raises(error), atomic_file(final) as partial:
        partial.write_text("half of the n")
        raise error
    assert final.read_text() == "old" and names(tmp_path) == ["a.json"]


def test_a_file_replaces_the_old_one_in_one_step(tmp_path):
    final = tmp_path / "a.json"
    final.write_text("old")
    with open(final) as reader:
        with atomic_file(final) as partial:
            partial.write_text("new")
            assert final.read_text() == "old"
        # Whoever had opened the old file reads it to its end.
        assert reader.read() == "old"
    assert final.read_text() == "new" and names(tmp_path) == ["a.json"]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.json"):
        pass
    assert names(tmp_path) == []


def test_a_kill_leaves_no_final_directory(tmp_path):
    child = os.fork()
    if child == 0:
        try:
            with atomic_directory(tmp_path / "export") as partial:
                (partial / "a").write_text("1")
                os.kill(os.getpid(), 9)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == 9
    assert not (tmp_path / "export").exists()
    # What is left is hidden and named as what it is.
    assert all(name.startswith(".export.partial-") for name in names(tmp_path))
