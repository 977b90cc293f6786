"""Putting a new sound to a video without touching its pictures."""

from __future__ import annotations

import contextlib
import heapq
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from ..errors import MediaError
from .audio import AudioClip
from .container import MediaSource, find_video, open_container
from .decode import TOLERANCE
from .encode import AAC, OPUS, AudioCodec, add_sound, encode_sound, fit_rate, open_output
from .files import atomic_path
from .selection import exact
from .video import VideoClip, open_video

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _VideoFormat:
    muxer: str
    sound: AudioCodec
    pictures: frozenset[str] | None  # codecs it can hold; None for nearly all
    options: tuple[tuple[str, str], ...] = ()


_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "vvc"})
_MOV = _MP4 - {"vp9", "vvc"} | {"prores", "dnxhd", "mjpeg", "qtrle", "png", "rawvideo", "dvvideo"}
# Tags of any name are kept, and the index comes first, so that players can start at once.
_MOVFLAGS = (("movflags", "use_metadata_tags+faststart"),)

FORMATS = {
    ".mp4": _VideoFormat(muxer="mp4", sound=AAC, pictures=_MP4, options=_MOVFLAGS),
    ".m4v": _VideoFormat(muxer="mp4", sound=AAC, pictures=_MP4, options=_MOVFLAGS),
    ".mov": _VideoFormat(muxer="mov", sound=AAC, pictures=_MOV, options=_MOVFLAGS),
    ".mkv": _VideoFormat(muxer="matroska", sound=AAC, pictures=None),
    ".webm": _VideoFormat(muxer="webm", sound=OPUS, pictures=frozenset({"vp8", "vp9", "av1"})),
}

# What the new container writes about itself.
_OWN_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})


def mux(
    video: VideoClip | MediaSource,
    audio: AudioClip,
    output: str | os.PathLike[str],
    *,
    start: float = 0.0,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the whole source video, its pictures copied bit for bit, with a new sound.

    The first picture is at time zero of the new file. Sound that the source has is left out, as
    are subtitles and chapters; rotation and tags are kept. The part that a :class:`VideoClip`
    names does not matter here: give its start as ``start``.

    Args:
        video: The source, also if it was opened as a part.
        audio: The new sound, coded as AAC (.mp4, .m4v, .mov, .mkv) or Opus (.webm).
        output: File to write, whole or not at all; may be the source itself.
        start: Seconds from the first picture to where the sound begins, silence before it.
        metadata: Tags to add to those of the source.
        progress: Called with the seconds written after each packet; it may raise to cancel.

    Raises:
        MediaError: The source cannot be read, the suffix is unknown or cannot hold this video,
            ``start`` is out of range, or the file cannot be written.
    """
    name = repr(os.fspath(output))
    suffix = Path(output).suffix.lower()
    if suffix not in FORMATS:
        raise MediaError(
            f"Cannot write {name}: the suffix is {suffix!r}; allowed: {', '.join(FORMATS)}."
        )
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"start is {start!r}; it must be 0 or more seconds.")
    clip = video if isinstance(video, VideoClip) else open_video(video)
    kind = FORMATS[suffix]
    sound = _delayed(fit_rate(audio, kind.sound), start)
    # The source is closed before its name may be taken by the new file.
    with atomic_path(output) as temporary, open_container(clip.path) as source:
        stream = find_video(source, clip.name)
        _require_fit(stream, suffix)
        tags = {key: value for key, value in source.metadata.items() if key not in _OWN_TAGS}
        tags.update(metadata or {})
        with open_output(
            temporary, name=name, muxer=kind.muxer, options=dict(kind.options), metadata=tags
        ) as out:
            pictures = out.add_stream_from_template(stream, opaque=True)
            pictures.time_base = stream.time_base
            pictures.metadata.update(_stream_tags(stream))
            track = add_sound(out, kind.sound, sound)
            packets = heapq.merge(
                _timed(_copied(source, stream, pictures, clip)),
                _timed(encode_sound(track, kind.sound, sound)),
                key=lambda item: item[0],
            )
            for time, packet in packets:
                out.mux(packet)
                if progress is not None:
                    progress(max(time, 0.0))


def check_fit(video: VideoClip, suffix: str) -> None:
    """Find out before any long work whether :func:`mux` can write files of a suffix.

    Raises:
        MediaError: The suffix is unknown or cannot hold this video; those that can are named.
    """
    with open_container(video.path) as source:
        _require_fit(find_video(source, video.name), suffix)


def _delayed(clip: AudioClip, start: float) -> AudioClip:
    silence = round(exact(start) * clip.sample_rate)
    return replace(clip, waveform=torch.nn.functional.pad(clip.waveform, (silence, 0)))


def _require_fit(stream: VideoStream, suffix: str) -> None:
    """Raise if the container cannot hold the codec, and name those that can."""
    codec = stream.codec_context.codec.canonical_name
    fitting = [
        key for key, kind in FORMATS.items() if kind.pictures is None or codec in kind.pictures
    ]
    if suffix not in fitting:
        raise MediaError(
            f"A {suffix} file cannot hold {codec} video; choose one of {', '.join(fitting)}."
        )


def _stream_tags(stream: VideoStream) -> dict[str, str]:
    return {
        key: value
        for key, value in stream.metadata.items()
        if key.lower() in ("language", "title", "handler_name")
    }


def _copied(
    source: InputContainer, stream: VideoStream, target: VideoStream, clip: VideoClip
) -> Iterator[Packet]:
    """The source's packets of pictures, moved so that the first picture is at zero."""
    time_base = stream.time_base or Fraction(1, 1)
    shift = round(clip.origin / time_base)
    usual = round(1 / clip.frame_rate / time_base)
    end = 0
    with contextlib.suppress(FFmpegError):  # what was read up to a damaged place is kept
        for packet in source.demux(stream):
            if packet.size == 0:
                continue
            # Without a duration the last picture would be shown for no time.
            packet.duration = packet.duration or usual
            if packet.pts is not None:
                packet.pts -= shift
                end = max(end, packet.pts + packet.duration)
            if packet.dts is not None:
                packet.dts -= shift
            packet.stream = target
            yield packet
    if clip.declared is not None and clip.declared - end * time_base > TOLERANCE:
        logger.warning(
            "%s is damaged or cut off: only %.2f s of its %.2f s were copied.",
            clip.name,
            float(end * time_base),
            float(clip.declared),
        )


def _timed(packets: Iterator[Packet]) -> Iterator[tuple[float, Packet]]:
    """Packets with the time by which they are written; those without follow the one before."""
    time = -math.inf
    for packet in packets:
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None and packet.time_base is not None:
            time = max(time, float(stamp * packet.time_base))
        yield time, packet
