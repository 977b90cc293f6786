"""Opening media files for reading, with errors a user can act on."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import MediaError

logger = logging.getLogger(__name__)

StreamT = TypeVar("StreamT", AudioStream, VideoStream)
MediaSource = str | os.PathLike[str] | BinaryIO

# Cover art and chapter pictures are video streams of one frame each.
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


def source_name(source: MediaSource) -> str:
    """How messages call a source: its path in quotes, or ``the video data`` in memory."""
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    name = getattr(source, "name", None)
    return repr(name) if isinstance(name, str) else "the media in memory"


@contextlib.contextmanager
def open_container(source: MediaSource) -> Iterator[InputContainer]:
    """Open a media file, or a seekable binary file object, which is read from its beginning.

    Raises:
        MediaError: The file is missing, a folder, not readable, empty or not a media file.
    """
    with _open(source) as container:
        yield container


def _open(source: MediaSource) -> InputContainer:
    name = source_name(source)
    try:
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            if path.is_dir():
                raise MediaError(f"{name} is a folder; give the file itself.")
            if not path.exists():
                raise MediaError(f"{name} does not exist; check the path.")
            # An absolute path is never read as a protocol, whatever characters it has.
            absolute = os.path.abspath(path)  # noqa: PTH100
            return av.open(absolute, mode="r", metadata_errors="replace")
        source.seek(0)
        return av.open(source, mode="r", metadata_errors="replace")
    except PermissionError as error:
        raise MediaError(f"{name} cannot be read: permission denied.") from error
    except (FFmpegError, ValueError, OSError) as error:
        if isinstance(error, MediaError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{name} is not a readable video or sound file ({reason}); it may be damaged, cut off "
            "or of another kind: play it in a media player, or convert or download it again."
        ) from error


def find_video(container: InputContainer, name: str) -> VideoStream:
    """The moving picture of a file; cover art is passed over.

    Raises:
        MediaError: There is none that can be decoded.
    """
    streams = [item for item in container.streams.video if not item.disposition & PICTURES]
    if not streams:
        kind = "only sound" if container.streams.audio else "no video"
        art = " and a still cover picture" if container.streams.video else ""
        raise MediaError(f"{name} holds {kind}{art}; give a file with a video track.")
    stream = _best_of(streams, container, "video")
    if stream.codec_context is None:
        raise MediaError(
            f"The video in {name} uses a codec that cannot be decoded here; convert it to H.264."
        )
    return stream


def find_sound(container: InputContainer) -> AudioStream | None:
    """The sound track of a file, if it has one that can be decoded: the best, else the first."""
    streams = [item for item in container.streams.audio if item.codec_context is not None]
    return _best_of(streams, container, "audio") if streams else None


def _best_of(
    streams: Sequence[StreamT], container: InputContainer, kind: Literal["video", "audio"]
) -> StreamT:
    """Of some streams of a file the one that FFmpeg finds best, else the first."""
    best = container.streams.best(kind)
    return next(
        (item for item in streams if best is not None and item.index == best.index), streams[0]
    )
