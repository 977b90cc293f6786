"""Reading and writing sound files; the door to all that is done to sound."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from ..errors import MediaError, NoSoundError
from .container import MediaSource, find_sound, open_container, source_name
from .decode import DISCONTINUITY
from .encode import (
    AAC,
    FLAC_16,
    FLAC_24,
    MP3,
    OPUS,
    PCM_16,
    PCM_24,
    PCM_FLOAT,
    AudioCodec,
    add_sound,
    encode_sound,
    fit_rate,
    open_output,
    warn_if_clipped,
)
from .files import atomic_path
from .loudness import Loudness, measure_loudness, set_level
from .selection import exact
from .video import open_video
from .waveform import AudioClip, edge_fades, remove_dc, resample

__all__ = [
    "AudioClip",
    "Loudness",
    "edge_fades",
    "measure_loudness",
    "read_audio",
    "remove_dc",
    "resample",
    "set_level",
    "write_audio",
]

logger = logging.getLogger(__name__)

# A gap in the timestamps of less than this is a container's rounding, not silence.
GAP_SECONDS = 0.02
# And one of more seconds a fault.
LONGEST_GAP = 3600
# Decoders need some sound before the first that is right.
SEEK_MARGIN = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _FileFormat:
    muxer: str
    codecs: dict[str, AudioCodec]  # the first is the default
    options: tuple[tuple[str, str], ...] = ()


FORMATS = {
    ".wav": _FileFormat(
        muxer="wav",
        codecs={"16": PCM_16, "24": PCM_24, "32f": PCM_FLOAT},
        options=(("rf64", "auto"),),
    ),
    ".flac": _FileFormat(muxer="flac", codecs={"16": FLAC_16, "24": FLAC_24}),
    ".mp3": _FileFormat(muxer="mp3", codecs={"": MP3}),
    ".opus": _FileFormat(muxer="opus", codecs={"": OPUS}),
    ".ogg": _FileFormat(muxer="ogg", codecs={"": OPUS}),
    ".m4a": _FileFormat(
        muxer="ipod", codecs={"": AAC}, options=(("movflags", "use_metadata_tags+faststart"),)
    ),
}


def write_audio(
    clip: AudioClip,
    path: str | os.PathLike[str],
    *,
    subtype: str | None = None,
    bitrate: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a sound file, whole or not at all; the suffix chooses the format.

    ``.wav`` and ``.flac`` keep every sample and the exact length; whole-number samples are
    rounded to nearest and clipped at full scale. ``.mp3``, ``.opus``, ``.ogg`` and ``.m4a`` lose
    a little: start and length are as exact (the encoder's delay and padding are recorded, and
    players that honour this cut them off), at a rate the codec can hold (Opus: 48 kHz).

    Args:
        clip: The sound.
        path: File to write; its folder must exist.
        subtype: ``16`` (default), ``24`` or ``32f`` for wav; ``16`` (default) or ``24`` for flac.
        bitrate: Bits per second of a lossy format.
        metadata: Tags such as title, artist, comment; formats drop the names they do not know.

    Raises:
        MediaError: The suffix, subtype or bit rate does not exist, the codec cannot hold so many
            channels, or the file cannot be written.
    """
    name = repr(os.fspath(path))
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise MediaError(
            f"Cannot write {name}: the suffix is {suffix!r}; allowed: {', '.join(FORMATS)}."
        )
    kind = FORMATS[suffix]
    codec = kind.codecs.get(subtype) if subtype else next(iter(kind.codecs.values()))
    if codec is None:
        allowed = ", ".join(item for item in kind.codecs if item) or "none (leave it out)"
        raise MediaError(f"subtype is {subtype!r}; allowed for {suffix}: {allowed}.")
    if bitrate is not None and not (codec.lossy and bitrate > 0):
        rule = "above 0 bits per second" if codec.lossy else "left out, because nothing is lost"
        raise MediaError(f"bitrate is {bitrate!r}; for {suffix} it must be {rule}.")
    clip = fit_rate(clip, codec)
    warn_if_clipped(clip, codec)
    options = dict(kind.options)
    with (
        atomic_path(path) as temporary,
        open_output(
            temporary, name=name, muxer=kind.muxer, options=options, metadata=metadata
        ) as out,
    ):
        stream = add_sound(out, codec, clip, bitrate=bitrate)
        if kind.muxer in ("ogg", "opus"):  # tags belong to the stream there
            stream.metadata.update(metadata or {})
        for packet in encode_sound(stream, codec, clip):
            out.mux(packet)


def read_audio(
    path: MediaSource,
    *,
    start: float = 0.0,
    duration: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> AudioClip:
    """Read the sound of a sound or video file, at its own rate and with all its channels.

    Time zero is the first video frame of a video, so that sound and picture agree, and the first
    sample of a sound file; ``start`` is exact to the sample. Where a video's sound begins later,
    silence comes first.

    Args:
        path: The file, or a seekable binary file object.
        start: Seconds.
        duration: Seconds; None, or more than there is, reads to the end.
        progress: Called with the seconds of the file read after each block; it may raise to cancel.

    Raises:
        NoSoundError: The file has no sound, or none from ``start`` on.
        MediaError: The file cannot be read.
    """
    name = source_name(path)
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"start is {start!r}; it must be 0 or more seconds.")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise MediaError(f"duration is {duration!r}; it must be more than 0 seconds, or None.")
    zero = _video_origin(path)
    with open_container(path) as container:
        stream = find_sound(container)
        if stream is None:
            raise NoSoundError(
                f"{name} has no sound track; give a file with sound, or go on without."
            )
        rate = stream.sample_rate
        begin = round(exact(start) * rate)
        end = None if duration is None else begin + round(exact(duration) * rate)
        if zero is None and stream.start_time is not None and stream.time_base is not None:
            zero = stream.start_time * stream.time_base
        placed = _placed(container, stream, name, zero, begin)
        if progress is not None:
            placed = _told(placed, rate, progress)
        parts = list(_cut(placed, begin, end, rate, name))
    if not parts:
        raise NoSoundError(
            f"{name} has no sound from {start:g} s on; choose an earlier start, or check that the "
            "file plays."
        )
    return AudioClip(waveform=torch.from_numpy(np.concatenate(parts, axis=1)), sample_rate=rate)


def _video_origin(path: MediaSource) -> Fraction | None:
    """Timestamp of the first picture, if there is one."""
    try:
        return open_video(path).origin
    except MediaError:
        return None  # the sound of a file whose picture is broken can be read all the same


def _placed(
    container: InputContainer, stream: AudioStream, name: str, zero: Fraction | None, begin: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded blocks (C, T) float32, each with its first sample's place from time zero."""
    rate = stream.sample_rate
    # Only where timestamps count samples is a place still exact after seeking.
    if stream.time_base == Fraction(1, rate) and begin > 10 * rate:
        container.seek(begin + round((zero or 0) * rate) - SEEK_MARGIN * rate, stream=stream)
    stop = None
    if stream.duration and stream.time_base == Fraction(1, rate) and stream.start_time is not None:
        # The last block of AAC is padded; the track's duration says where the sound ends.
        stop = stream.start_time + stream.duration - round((zero or 0) * rate)
    place: int | None = None
    shift, channels = 0, stream.channels
    for frame in _decoded(container, stream, name):
        samples = _to_float(frame)
        if frame.sample_rate != rate or samples.shape[0] != channels:
            raise MediaError(
                f"The sound of {name} changes its rate or channels on the way; convert it first."
            )
        stamp = place or 0
        if frame.pts is not None and frame.time_base is not None:
            stamp = round((frame.pts * frame.time_base - (zero or 0)) * rate) + shift
        if place is not None and stamp < place - DISCONTINUITY * rate:
            shift += place - stamp  # a new timeline, joined on as that of the pictures is
            stop, stamp = None, place
        if place is None or abs(stamp - place) > GAP_SECONDS * rate:
            place = stamp
        keep = samples.shape[1]
        if stop is not None and 0 < place + keep - stop < 2 * keep:
            keep = max(0, stop - place)
        yield place, samples[:, :keep]
        place += samples.shape[1]


def _told(
    placed: Iterator[tuple[int, np.ndarray]], rate: int, progress: Callable[[float], None]
) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks, each told to ``progress`` first."""
    for place, samples in placed:
        progress((place + samples.shape[1]) / rate)
        yield place, samples


def _decoded(container: InputContainer, stream: AudioStream, name: str) -> Iterator[AudioFrame]:
    """Frames of the stream; bad packets are passed over, as players do."""
    packets = container.demux(stream)
    bad = 0
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            yield from stream.decode(packet)
        except EOFError:
            break
        except FFmpegError as error:
            bad += 1
            logger.debug("A packet of sound cannot be decoded: %s", error)
    if bad:
        logger.warning("%s: %d packets of sound are damaged and were left out.", name, bad)


def _cut(
    placed: Iterator[tuple[int, np.ndarray]], begin: int, end: int | None, rate: int, name: str
) -> Iterator[np.ndarray]:
    """What lies from ``begin`` to ``end``, with silence where nothing is.

    Raises:
        MediaError: Without an end, the timestamps leap so far that they cannot be right.
    """
    position = begin
    for place, samples in placed:
        if end is not None and position >= end:
            return
        if place > position and samples.shape[1]:
            stop = place if end is None else min(place, end)
            if end is None and stop - position > LONGEST_GAP * rate:
                raise MediaError(
                    f"The sound of {name} pauses for {(stop - position) / rate:.0f} s, by its "
                    "timestamps; ask for a part of it, or convert it first."
                )
            yield np.zeros((samples.shape[0], stop - position), np.float32)
            position = stop
        stop = place + samples.shape[1]
        stop = stop if end is None else min(stop, end)
        if stop > position:
            yield samples[:, position - place : stop - place]
            position = stop


def _to_float(frame: AudioFrame) -> np.ndarray:
    """Samples (C, T) float32 at full scale 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return (samples / 2.0 ** (8 * samples.itemsize - 1)).astype(np.float32)
    return samples.astype(np.float32)
