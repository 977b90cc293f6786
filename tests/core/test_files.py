import stat
import sys
from pathlib import Path

import pytest

from wavflow_core.errors import MediaError
from wavflow_core.media.files import atomic_path


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def write_then_raise(target, error, *, remove=False):
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        if remove:
            temporary.unlink()
        raise error


def test_the_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "a.wav"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".wav"
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_whatever_ends_the_block_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "a.wav"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write_then_raise(target, error())
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.wav"]


def test_a_writer_that_removed_its_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        write_then_raise(tmp_path / "a", RuntimeError("mine"), remove=True)
    assert names(tmp_path) == []


def test_a_missing_folder_is_named_and_not_created(tmp_path):
    missing = tmp_path / "none" / "a.wav"
    with pytest.raises(MediaError, match="does not exist; create it"), atomic_path(missing):
        pass
    assert names(tmp_path) == []


def test_a_folder_cannot_be_written_as_a_file(tmp_path):
    with pytest.raises(MediaError, match="is a folder; give a file name"), atomic_path(tmp_path):
        pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write")
def test_a_folder_that_cannot_be_written_is_a_clear_error():
    with pytest.raises(MediaError, match="choose a folder"), atomic_path("/proc/self/a.wav"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions_are_those_of_a_plain_open_or_of_the_file_replaced(tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "new"
    plain.touch()
    with atomic_path(target):
        pass
    assert target.stat().st_mode == plain.stat().st_mode
    target.chmod(0o640)
    with atomic_path(target):
        pass
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_writer_that_makes_a_private_file_of_its_own_does_not_decide_the_permissions(tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "new"
    plain.touch()
    with atomic_path(target) as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "real.wav", tmp_path / "link.wav"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_path(link) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    target = tmp_path / ("n" * 250 + ".wav")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
    assert names(tmp_path) == [target.name]
