"""Reading video: what is in a file, and its frames at other rates in one streaming pass."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeVar

import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from ..errors import MediaError
from .container import MediaSource, find_sound, find_video, open_container, source_name
from .decode import UPRIGHT, Orientation, Part, decode_part, probe, to_rgb
from .selection import TimedFrame, exact, select_frames

FrameT = TypeVar("FrameT")


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoClip:
    """A part of a video file; made by :func:`open_video`.

    Attributes:
        path: The file, or a seekable binary file object.
        start: Seconds from the first frame at which the part begins.
        duration: Seconds of the part; None reads to the end.
        width: Pixels as displayed, after rotation.
        height: Pixels as displayed, after rotation.
        frame_rate: Average frames per second.
        total: Seconds of the whole video stream.
        has_audio: Whether the file has a sound track that can be decoded.
        orientation: What sets the stored pictures upright.
        origin: Timestamp of the first frame in seconds: the file's time that we call zero.
        declared: Seconds the container says this stream has; None when it does not say.
    """

    path: Path | BinaryIO
    start: float = 0.0
    duration: float | None = None
    width: int
    height: int
    frame_rate: Fraction
    total: float
    has_audio: bool
    orientation: Orientation = UPRIGHT
    origin: Fraction = Fraction(0)
    declared: Fraction | None = None

    @property
    def name(self) -> str:
        """How messages call the source."""
        return source_name(self.path)

    @property
    def seconds(self) -> float:
        """Seconds of the part that the file has pictures for."""
        rest = self.total - self.start
        return rest if self.duration is None else min(self.duration, rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRequest:
    """Frames at one rate in one form.

    Attributes:
        fps: Frames per second.
        limit: How many frames, exactly; None takes all there are.
        transform: From an upright uint8 RGB picture (3, H, W) to what is yielded.
    """

    fps: int
    limit: int | None = None
    transform: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if self.fps < 1:
            raise MediaError(f"fps is {self.fps!r}; it must be 1 or more.")
        if self.limit is not None and self.limit < 1:
            raise MediaError(f"limit is {self.limit!r}; it must be 1 or more, or None for all.")


def open_video(
    path: MediaSource, *, start: float = 0.0, duration: float | None = None
) -> VideoClip:
    """Find out what a video file holds and check that the part asked for is there.

    Args:
        path: The file, or a seekable binary file object.
        start: Seconds from the first frame.
        duration: Seconds; None to the end. May reach beyond the end: the last frame is then held.

    Raises:
        MediaError: The file is missing, not a video, has no picture or cannot be decoded, or
            ``start`` or ``duration`` is out of range.
    """
    name = source_name(path)
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"start is {start!r}; it must be 0 or more seconds.")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise MediaError(f"duration is {duration!r}; it must be more than 0 seconds, or None.")
    with open_container(path) as container:
        stream = find_video(container, name)
        facts = probe(container, stream, name)
        has_audio = find_sound(container) is not None
    total = facts.declared if facts.declared is not None else facts.measured
    total = max(total, 1 / facts.frame_rate)
    if start >= total:
        raise MediaError(
            f"start is {start:g} s, but {name} is only {float(total):.3f} s long; "
            "choose an earlier start."
        )
    return VideoClip(
        path=Path(path) if isinstance(path, str | os.PathLike) else path,
        start=float(start),
        duration=None if duration is None else float(duration),
        width=facts.width,
        height=facts.height,
        frame_rate=facts.frame_rate,
        total=float(total),
        has_audio=has_audio,
        orientation=facts.orientation,
        origin=facts.origin,
        declared=facts.declared,
    )


def stream_frames(
    video: VideoClip, requests: Sequence[FrameRequest]
) -> Iterator[tuple[int, int, Tensor]]:
    """Read frames for several requests in one pass over the file.

    Time zero is the first video frame plus the clip's start. Which frame is which output is
    decided by timestamps alone (:func:`select_frames`), so that any rate, also a variable one,
    stays in sync. Only frames that are shown are converted and transformed, each once. Memory
    does not grow with the length of the video, and reading stops at the last frame needed.

    Args:
        video: The part to read.
        requests: What to make of it.

    Yields:
        Index of the request, frame number n from 0, and the transformed frame, which is the same
        tensor for as long as the picture stands still. Each request's n ascend by one.

    Raises:
        MediaError: The file ends before, or is damaged in, the part that is needed.
    """
    rates = [(request.fps, request.limit) for request in requests]
    end = None if video.duration is None else exact(video.duration)
    part = part_of(video, _needed(video, rates))
    with (
        open_container(video.path) as container,
        contextlib.closing(decode_part(container, part)) as frames,
    ):
        convert = functools.partial(
            to_rgb, orientation=video.orientation, reformatter=VideoReformatter()
        )
        yield from _deliver(select_frames(frames, rates, end=end), requests, convert)


def stream_images(
    images: Tensor,
    fps: float | Fraction,
    requests: Sequence[FrameRequest],
    *,
    start: float = 0.0,
    duration: float | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """The same as :func:`stream_frames` for pictures in memory.

    Args:
        images: (N, H, W, 3), floats from 0 to 1.
        fps: Pictures per second.
        requests: What to make of them.
        start: Seconds from the first picture.
        duration: Seconds after which the last picture is held; None for all there are.

    Raises:
        MediaError: There are no pictures, their shape is another, ``fps`` is not above 0, or
            ``start`` is not within the pictures.
    """
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[3] != 3:
        raise MediaError(
            f"images have shape {tuple(images.shape)}; it must be (N, H, W, 3), N > 0."
        )
    if not (math.isfinite(fps) and fps > 0):
        raise MediaError(f"fps is {fps!r}; it must be above 0.")
    step = 1 / exact(fps)
    total = len(images) * step
    if not 0 <= start < total:
        raise MediaError(
            f"start is {start:g} s, but the pictures last {float(total):.3f} s at {float(fps):g} "
            "per second; choose an earlier start."
        )
    zero = exact(start)
    first = math.floor(zero / step)
    frames = (TimedFrame(n * step - zero, step, images[n]) for n in range(first, len(images)))
    rates = [(request.fps, request.limit) for request in requests]

    def convert(image: Tensor) -> Tensor:
        return (image * 255).round().clamp(0, 255).to(torch.uint8).permute(2, 0, 1)

    end = None if duration is None else exact(duration)
    return _deliver(select_frames(frames, rates, end=end), requests, convert)


def _deliver(
    selected: Iterator[tuple[int, int, FrameT]],
    requests: Sequence[FrameRequest],
    convert: Callable[[FrameT], Tensor],
) -> Iterator[tuple[int, int, Tensor]]:
    """Convert each selected frame once, and transform it once for each request."""
    current: FrameT | None = None
    picture: Tensor | None = None
    made: dict[int, Tensor] = {}
    for index, n, frame in selected:
        if frame is not current or picture is None:
            current, picture, made = frame, convert(frame), {}
        if index not in made:
            made[index] = requests[index].transform(picture)
        yield index, n, made[index]


def part_of(video: VideoClip, needed: Fraction) -> Part:
    """What to decode for a clip of which the first ``needed`` seconds must be readable."""
    return Part(
        name=video.name,
        start=exact(video.start),
        needed=needed,
        origin=video.origin,
        declared=video.declared,
        step=1 / video.frame_rate,
    )


def _needed(video: VideoClip, rates: Iterable[tuple[int, int | None]]) -> Fraction:
    """Seconds from the clip's start up to which pictures must be readable."""
    wanted = [None if limit is None else Fraction(limit, rate) for rate, limit in rates]
    limits = [item for item in wanted if item is not None]
    end = exact(video.seconds)
    return min(end, max(limits)) if limits and len(limits) == len(wanted) else end
