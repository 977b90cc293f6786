"""Download one file: resumed where it broke off, checked, and in place only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import CheckpointError
from ..media.files import file_hash
from .known import KnownFile
from .locate import default_folder

BLOCK = 1024 * 1024
TIMEOUT = 60.0
ATTEMPTS = 4
PAUSE = 2.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")

# (bytes done, bytes in all or 0 if unknown); may raise to cancel.
Progress = Callable[[int, int], None]


def download(
    known: KnownFile, folder: Path | None = None, *, progress: Progress | None = None
) -> Path:
    """Download a known file, or finish a download that was broken off.

    A file of that name that is there already is returned as it is. While it comes it is called
    ``<name>.part``, beside which ``<name>.part.json`` says of which version it is a part.

    Args:
        known: From :data:`KNOWN_FILES` or :func:`known_file`.
        folder: Where to put it, made if it is missing; None takes :func:`default_folder`.
        progress: Called with bytes done and in all (0 if unknown); may raise to cancel, and what
            has come so far is kept for the next time.

    Returns:
        Path of the whole, checked file.

    Raises:
        CheckpointError: The server, the network or the disk failed, or what came is not the file.
    """
    target = (folder or default_folder()) / known.filenames[0]
    if target.is_file():
        return target
    _require_https(known.url)
    part = _Part(target.with_name(target.name + ".part"))
    with _disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    before = -1
    for attempt in range(ATTEMPTS):
        try:
            _transfer(known, part, progress)
            break
        except (http.client.HTTPException, OSError) as error:
            # A lost connection is taken up again for as long as it brings anything new.
            done = part.size()
            if attempt == ATTEMPTS - 1 or done <= before or not _passing(error):
                raise CheckpointError(
                    f"The download of {known.url} broke off after {done} bytes ({error}). Run it "
                    "again to go on from there."
                ) from error
            before = done
            time.sleep(PAUSE)
    _check(known, part)
    with _disk(target):
        os.replace(part.path, target)  # noqa: PTH105
        part.forget()
    return target


@dataclass(frozen=True, kw_only=True, slots=True)
class _Version:
    """What the server said about the file that a part is of."""

    url: str
    etag: str | None
    total: int | None


class _Part:
    """The bytes that have come so far, and of which version of the file they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = path.with_name(path.name + ".json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> _Version | None:
        try:
            return _Version(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None  # no note, or none of ours: the part is of no use

    def start(self, version: _Version) -> None:
        with _disk(self.path):
            self.path.write_bytes(b"")
            self.note.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def forget(self) -> None:
        for path in (self.path, self.note):
            path.unlink(missing_ok=True)


def _transfer(known: KnownFile, part: _Part, progress: Progress | None) -> None:
    """Bring what is missing; returns when the server has no more to say."""
    version = part.version()
    done = part.size()
    usable = version is not None and version.url == known.url
    # Without an ETag or a hash nobody could tell two versions of a file apart.
    usable = usable and bool((version and version.etag) or known.sha256)
    if usable and version is not None and done and done == version.total:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "wavflow"}
    if usable and done:
        headers["Range"] = f"bytes={done}-"
    with _open(known.url, headers) as response:
        now = _Version(
            url=known.url, etag=response.headers.get("ETag"), total=_total(response, done)
        )
        if None not in (known.size, now.total) and now.total != known.size:
            raise CheckpointError(
                f"{known.url} is now {now.total} bytes long, but {known.name} has {known.size}; "
                "the file was replaced there and is not downloaded."
            )
        if response.status != http.client.PARTIAL_CONTENT or not _starts_at(response, done):
            done = 0  # the server ignores ranges, or none was asked for
        if done and now != version:
            part.forget()
            raise ConnectionResetError("the file on the server has changed; it is fetched anew")
        if not done:
            part.start(now)
        _require_room(part.path, (now.total or known.size or 0) - done)
        _copy(response, part.path, done=done, total=now.total or known.size or 0, report=progress)
    if now.total is not None and part.size() < now.total:
        raise ConnectionResetError(f"{part.size()} of {now.total} bytes came")


def _copy(
    response: http.client.HTTPResponse,
    path: Path,
    *,
    done: int,
    total: int,
    report: Progress | None,
) -> None:
    with contextlib.ExitStack() as stack:
        with _disk(path):
            file = stack.enter_context(path.open("ab"))
        while True:
            if report is not None:
                report(done, total)
            block = response.read(BLOCK)
            if not block:
                return
            with _disk(path):
                file.write(block)
            done += len(block)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_SafeRedirects())
    request = urllib.request.Request(url, headers=headers)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                # More was kept than the file now has: begin again.
                return _open(url, {k: v for k, v in headers.items() if k != "Range"})
            if error.code >= 500:
                raise ConnectionResetError(f"the server answered {error.code}") from error
            raise CheckpointError(
                f"{url} cannot be downloaded: the server answered {error.code} {error.reason}. "
                "Fetch it with a browser and put it into your models folder."
            ) from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN202
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise CheckpointError(f"{url} is not fetched: only https is allowed.")


def _total(response: http.client.HTTPResponse, done: int) -> int | None:
    """Bytes of the whole file, if the server says."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdecimal():
        return int(whole)
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        return None
    partial = response.status == http.client.PARTIAL_CONTENT
    return int(length) + (done if partial else 0)


def _starts_at(response: http.client.HTTPResponse, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _passing(error: Exception) -> bool:
    """Whether trying again may help: an unknown host stays unknown."""
    return not isinstance(error, urllib.error.URLError) or isinstance(error.reason, TimeoutError)


def _require_room(path: Path, needed: int) -> None:
    # The writer finds out for itself where the free space cannot be told.
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise CheckpointError(
                f"{path.parent} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed; "
                "make room or choose another folder."
            )


def _check(known: KnownFile, part: _Part) -> None:
    """Delete and refuse what is not the file expected."""
    size = part.size()
    found = []
    if known.size is not None and size != known.size:
        found.append(f"{size} bytes instead of {known.size}")
    elif known.sha256 is not None:
        digest = file_hash(part.path)
        if digest != known.sha256:
            found.append(f"SHA-256 {digest} instead of {known.sha256}")
    if found:
        part.forget()
        raise CheckpointError(
            f"What came from {known.url} is not {known.name}: {found[0]}. It was deleted; the "
            "file may have been replaced there."
        )


@contextlib.contextmanager
def _disk(path: Path):  # noqa: ANN202
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        hint = "free some space and run it again to go on" if full else "choose another folder"
        raise CheckpointError(f"{path} cannot be written: {error.strerror}; {hint}.") from error
