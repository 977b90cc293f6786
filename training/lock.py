"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from wavflow_core.errors import WavFlowError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

NAME = ".lock"
_held: set[TextIO] = set()


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends.

    Where locks do not exist (Windows, some network file systems) it is said, and nothing is held.

    Raises:
        WavFlowError: Another run holds it; it is named.
    """
    if fcntl is None:
        logger.warning("%s cannot be locked on this system; start one run alone in it.", folder)
        yield
        return
    try:
        file = (folder / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise WavFlowError(f"Cannot write to {str(folder)!r}: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WavFlowError(
                f"Another run works in {str(folder)!r} ({file.read().strip()}); wait for it, stop "
                "it, or give another folder."
            ) from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s); start one run alone in it.", folder, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        with _kept_from_children(file):
            yield


@contextlib.contextmanager
def _kept_from_children(file: TextIO) -> Iterator[None]:
    """Close a file in processes that are forked, which would hold the folder when we are dead."""
    _close_in_children()
    _held.add(file)
    try:
        yield
    finally:
        _held.remove(file)


@functools.cache
def _close_in_children() -> None:
    def close() -> None:
        for file in _held:
            file.close()

    os.register_at_fork(after_in_child=close)
