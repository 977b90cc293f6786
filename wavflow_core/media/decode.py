"""Decoding the pictures of a file in order, with exact times, whatever is wrong with the file."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import torch
from av.container import InputContainer
from av.error import EOFError as FFmpegEOFError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from ..errors import MediaError
from .container import find_video
from .selection import TimedFrame

logger = logging.getLogger(__name__)

# Each thread of the decoder holds frames of its own: 12 MB for one of 4K in 8 bits.
MAX_THREADS = 4
# Containers round what they declare; a picture that misses less than this is whole.
TOLERANCE = Fraction(1, 2)
# A step back by more than this is a new timeline (a joined recording), not a disorder.
DISCONTINUITY = 1
# Containers seek by decoding times, which are earlier than those of display.
SEEK_MARGIN = Fraction(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """What sets a stored picture upright: swap its axes, then mirror.

    Attributes:
        transposed: Whether rows become columns.
        flip_x: Whether left and right change places after that.
        flip_y: Whether top and bottom do.
    """

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False


UPRIGHT = Orientation()


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFacts:
    """What a video stream says about itself; times in seconds.

    Attributes:
        width: Pixels of the upright picture.
        height: Pixels of the upright picture.
        orientation: What sets the stored pictures upright.
        frame_rate: Average frames per second.
        origin: Timestamp of the first frame.
        declared: Duration that the container gives for this stream, if it does.
        measured: Duration by the whole container, or by reading all its packets.
    """

    width: int
    height: int
    orientation: Orientation
    frame_rate: Fraction
    origin: Fraction
    declared: Fraction | None
    measured: Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The part of a video stream to decode; times in seconds.

    Attributes:
        name: How messages call the file.
        start: From the first frame; time zero of what is yielded.
        needed: From the start, up to where damage is an error.
        origin: Timestamp of the first frame.
        declared: Duration of the whole stream, if known.
        step: Duration of a frame that does not say its own.
    """

    name: str
    start: Fraction
    needed: Fraction
    origin: Fraction
    declared: Fraction | None
    step: Fraction


def probe(container: InputContainer, stream: VideoStream, name: str) -> VideoFacts:
    """Read a stream's facts and its first frame.

    Raises:
        MediaError: No frame can be decoded.
    """
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    frame = next((frame for frame, _ in _pictures(container, stream)), None)
    if frame is None:
        raise MediaError(
            f"No picture of {name} can be decoded; the file is empty, damaged or cut off: "
            "repair it, or download or export it again."
        )
    origin = _time(frame) or Fraction(0)
    declared = _declared_duration(container, stream, origin)
    measured = Fraction(0)
    if declared is None:
        measured = _measured_duration(container, stream, origin, 1 / rate)
    orientation = _orientation(frame)
    size = (frame.width, frame.height)
    width, height = reversed(size) if orientation.transposed else size
    return VideoFacts(
        width=width,
        height=height,
        orientation=orientation,
        frame_rate=rate,
        origin=origin,
        declared=declared,
        measured=measured,
    )


def decode_part(
    container: InputContainer, part: Part
) -> Generator[TimedFrame[VideoFrame], None, None]:
    """Decode frames with their times from the part's start; some before it come first.

    Raises:
        MediaError: More than half a second of pictures is missing where it is needed.
    """
    stream = find_video(container, part.name)
    stream.thread_type = "AUTO"
    stream.thread_count = min(MAX_THREADS, os.cpu_count() or 1)
    zero = part.origin + part.start
    frames = _forward(container, stream, zero if part.start > SEEK_MARGIN else None)
    last = -part.start  # where the picture known so far ends
    for item, failed in _timed(frames, part):
        if failed and item.time - last > TOLERANCE and item.time > 0:
            _require_to(last, part)
        last = max(last, item.time + item.duration)
        yield item
    if part.declared is not None and part.declared - part.start - last > TOLERANCE:
        _require_to(last, part)


def to_rgb(frame: VideoFrame, orientation: Orientation, *, reformatter: VideoReformatter) -> Tensor:
    """Upright uint8 RGB picture (3, H, W) of a decoded frame.

    The reformatter is one for all frames of a stream: making a new one takes longer than turning a
    small picture to RGB.
    """
    rgb = reformatter.reformat(frame, format="rgb24")
    picture = torch.from_numpy(rgb.to_ndarray()).permute(2, 0, 1)
    if orientation.transposed:
        picture = picture.transpose(1, 2)
    flips = ((1, orientation.flip_y), (2, orientation.flip_x))
    dims = [dim for dim, flip in flips if flip]
    return picture.flip(dims) if dims else picture


def _orientation(frame: VideoFrame) -> Orientation:
    """How a stream's frames are set upright; to be asked of one frame only.

    PyAV's ``side_data`` and its frame refer to each other, so that every frame asked would stay
    in memory until the next garbage collection: gigabytes in 4K.

    The display matrix maps stored (x, y) to shown (a x + c y, b x + d y), in nine 32-bit numbers
    a b . c d . . . . ; angles between quarter turns go to the nearest.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


def _time(frame: VideoFrame) -> Fraction | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base


def _declared_duration(
    container: InputContainer, stream: VideoStream, origin: Fraction
) -> Fraction | None:
    """Seconds that the container says the pictures last."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if "matroska" in container.format.name:
        # Matroska knows a duration per track only as a tag, counted from the file's zero.
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            value = Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
        except (KeyError, ValueError):
            return None
        return value - origin if value > origin else None
    return None


def _measured_duration(
    container: InputContainer, stream: VideoStream, origin: Fraction, step: Fraction
) -> Fraction:
    """Seconds of the whole container, or of all packets from here on (live recordings)."""
    if container.duration:
        return Fraction(container.duration, av.time_base)
    count, end = 1, Fraction(0)
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            count += 1
            if packet.pts is not None and packet.time_base is not None:
                length = packet.duration * packet.time_base if packet.duration else step
                end = max(end, packet.pts * packet.time_base + length)
    except FFmpegError as error:
        logger.debug("The packets could be read up to %.2f s: %s", float(end), error)
    return end - origin if end > origin else count * step


def _require_to(last: Fraction, part: Part) -> None:
    """Raise if the pictures, which end at ``last``, are needed for longer."""
    if last + part.step >= part.needed:
        return
    known = "" if part.declared is None else f" of its {float(part.declared):.2f} s"
    seconds = math.floor(100 * (last + part.start)) / 100
    rest = math.floor(100 * last) / 100
    advice = f"choose a duration up to {rest:g} s" if rest > 0 else f"start before {seconds:g} s"
    raise MediaError(
        f"{part.name} is damaged or cut off: it can be read only up to second {seconds:g}{known}; "
        f"{advice}, or repair the file or download it again."
    )


def _timed(
    frames: Iterator[tuple[VideoFrame, bool]], part: Part
) -> Iterator[tuple[TimedFrame[VideoFrame], bool]]:
    """Give frames times from the part's start; those without follow the one before.

    A jump back by more than a second begins a new timeline, which is joined on without a gap.
    """
    zero = part.origin + part.start
    time, duration, shift = -part.start, Fraction(0), Fraction(0)
    for frame, failed in frames:
        stamp, follows = _time(frame), time + duration
        if stamp is None:
            time = follows
        elif stamp - zero + shift < time - DISCONTINUITY:
            shift = follows - (stamp - zero)
            time = follows
        else:
            time = stamp - zero + shift
        duration = frame.duration * (frame.time_base or Fraction(0)) or part.step
        yield TimedFrame(time, duration, frame), failed


def _forward(
    container: InputContainer, stream: VideoStream, target: Fraction | None
) -> Iterator[tuple[VideoFrame, bool]]:
    """Decode from before ``target`` on, or from the beginning where seeking does not work."""
    # A stream without a known length has no index: a failed seek would read it to its end.
    if target is not None and stream.time_base is not None and container.duration:
        with contextlib.suppress(FFmpegError):
            container.seek(math.floor((target - SEEK_MARGIN) / stream.time_base), stream=stream)
            frames = _pictures(container, stream)
            first = next(frames, None)
            time = None if first is None else _time(first[0])
            if first is not None and time is not None and time <= target:
                yield first
                yield from frames
                return
        with contextlib.suppress(FFmpegError):
            container.seek(0)
    yield from _pictures(container, stream)


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame, bool]]:
    """Decoded frames, each with whether decoding failed since the one before.

    Recordings that begin in the middle of a group of pictures, and single bad packets, are
    passed over as players do; how much is missing is for the caller to judge.
    """
    failed = False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            logger.debug("Reading ends early: %s", error)
            packets, failed = iter(()), True
            packet = av.Packet()  # empty, for which the decoder gives out what it still holds
        if packet is None:
            return
        try:
            frames = stream.decode(packet)
        except FFmpegEOFError:
            return
        except FFmpegError as error:
            logger.debug("A packet cannot be decoded: %s", error)
            failed = True
            continue
        for frame in frames:
            yield frame, failed
            failed = False
