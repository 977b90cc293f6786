"""Writing files so that a reader sees the whole new file or the old one, never a part."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import MediaError

HASH_BLOCK = 2**20  # bytes
# What _reserve calls a file: the name of the target, with chance before the suffix.
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}((?:\.[^.]*)?)")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name in the same folder that becomes ``path`` when the block succeeds.

    The temporary name keeps the suffix, because writers choose their format by it. Whatever
    leaves the block, an interrupt included, the temporary file does not stay. A symbolic link is
    followed: the file it points to is replaced, not the link.

    Args:
        path: File to write; its folder must exist. An existing file is replaced and keeps its
            permissions.

    Yields:
        The name to write to. It exists as an empty file.

    Raises:
        MediaError: The folder is missing, is not a folder or cannot be written, or ``path`` is a
            folder.
    """
    target = Path(os.path.realpath(path))
    temporary = _reserve(target, path)
    try:
        _copy_mode(target, temporary)
        mode = temporary.stat().st_mode
        yield temporary
        with contextlib.suppress(OSError):  # file systems without permissions
            temporary.chmod(mode)  # some writers make a file of their own, for its owner alone
        _to_disk(temporary)
        try:
            temporary.replace(target)
        except OSError as error:
            raise MediaError(
                f"Cannot put {os.fspath(path)!r} in its place ({error.strerror or error}); it may "
                "be open elsewhere: close it, or choose another name."
            ) from error
    except BaseException:
        # A writer may have removed the file itself; nothing else may hide the first error.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def left_over(folder: Path, names: re.Pattern[str]) -> list[Path]:
    """Temporary files of :func:`atomic_path` that a killed process has left.

    Args:
        folder: Where to look; nothing else may write there.
        names: What the names of the files to be written match whole.
    """
    found = ((path, TEMPORARY.fullmatch(path.name)) for path in folder.iterdir())
    return [path for path, match in found if match and names.fullmatch(match[1] + match[2])]


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        MediaError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(
            f"Cannot make the folder {str(path)!r}: {error.strerror}; give another."
        ) from error


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file; a name that no file can have has none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, no right to look, or a null character
        return False


def _reserve(target: Path, given: str | os.PathLike[str]) -> Path:
    try:
        is_folder, has_folder = target.is_dir(), target.parent.is_dir()
    except (OSError, ValueError) as error:
        raise MediaError(
            f"Cannot write {os.fspath(given)!r}: {error}; shorten the name."
        ) from error
    if is_folder:
        raise MediaError(f"Cannot write {os.fspath(given)!r}: it is a folder; give a file name.")
    if not has_folder:
        raise MediaError(
            f"Cannot write {os.fspath(given)!r}: the folder {str(target.parent)!r} does not exist; "
            "create it first."
        )
    # The name is kept short: a stem near the file system's limit leaves no room to add to it.
    name = f".{target.stem[:40]}.{secrets.token_hex(6)}{target.suffix}"
    temporary = target.with_name(name)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise MediaError(
            f"Cannot write {os.fspath(given)!r}: {error.strerror or error}; choose a folder that "
            "can be written."
        ) from error
    return temporary


def _to_disk(path: Path) -> None:
    """Have a file on the disk before its name is, so that a power cut leaves no empty one."""
    with contextlib.suppress(OSError), path.open("r+b") as file:
        os.fsync(file.fileno())


def _copy_mode(target: Path, temporary: Path) -> None:
    """Give the new file the permissions of the one it replaces."""
    with contextlib.suppress(OSError):  # nothing to replace, or no permissions there
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
