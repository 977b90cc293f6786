"""Writing a part of a video, or pictures in memory, as a video of its own."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
import av.filter
from av.container import OutputContainer
from av.error import BlockingIOError as FFmpegBlockingIOError
from av.error import EOFError as FFmpegEOFError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from ..errors import MediaError
from .container import find_video, open_container
from .decode import UPRIGHT, Orientation, decode_part
from .encode import open_output
from .files import atomic_path
from .selection import TimedFrame, exact
from .video import VideoClip, part_of

# Close to what the eye cannot tell from the source, and fast.
ENCODER = ("libx264", {"crf": "14", "preset": "veryfast"})
# Ticks per second where those of the source and of milliseconds have no short common multiple.
USUAL_TICKS = 90_000
MAX_TICKS = 1_000_000
SQUARE = Fraction(1)
BT709 = 1
LIMITED_RANGE = 1

Frames = Iterable[TimedFrame[VideoFrame]]


def save_part(
    video: VideoClip,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the pictures of a part of a video as an H.264 .mp4 without sound, set upright.

    Cutting at any moment needs new coding: packets can only be copied from a key frame on. Frames
    keep their times and so a variable rate; memory does not grow with the length. A picture of
    odd size loses its last row or column, which the coding cannot hold.

    Args:
        video: The part to write.
        path: File to write, whole or not at all.
        progress: Called with the seconds written after each frame; it may raise to cancel.

    Raises:
        MediaError: The source is damaged in the part, or the file cannot be written.
    """
    end = exact(video.seconds)
    with (
        open_container(video.path) as source,
        contextlib.closing(decode_part(source, part_of(video, end))) as frames,
    ):
        _write(
            _shown(frames, end),
            path,
            rate=video.frame_rate,
            orientation=video.orientation,
            pixels=_pixels(find_video(source, video.name), video.orientation),
            progress=progress,
        )


def save_images(
    images: Tensor,
    fps: Fraction,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write pictures as an H.264 .mp4 without sound.

    Args:
        images: (N, H, W, 3), floats from 0 to 1, both sides 2 pixels or more.
        fps: Pictures per second.
        path: File to write, whole or not at all.
        progress: Called with the seconds written after each frame; it may raise to cancel.

    Raises:
        MediaError: There is no picture, ``fps`` is not above 0, or the file cannot be written.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[0] == 0 or min(shape[1:3]) < 2 or shape[3] != 3:
        raise MediaError(f"images have shape {shape}; it must be (N, H, W, 3), N > 0, sides > 1.")
    if not (math.isfinite(fps) and fps > 0):
        raise MediaError(f"fps is {fps!r}; it must be above 0.")
    rate = exact(fps)

    def frames() -> Iterator[TimedFrame[VideoFrame]]:
        for n, image in enumerate(images):
            pixels = (image * 255).round().clamp(0, 255).byte().cpu().contiguous().numpy()
            yield TimedFrame(n / rate, 1 / rate, VideoFrame.from_ndarray(pixels, format="rgb24"))

    _write(frames(), path, rate=rate, orientation=UPRIGHT, progress=progress)


def _pixels(stream: VideoStream, orientation: Orientation) -> Fraction:
    """Width of a pixel over its height, once the picture is upright."""
    ratio = stream.sample_aspect_ratio or SQUARE
    return 1 / ratio if orientation.transposed else ratio


def _shown(frames: Frames, end: Fraction) -> Iterator[TimedFrame[VideoFrame]]:
    """Frames from time zero to the end; the one that is seen at zero begins there."""
    pending: TimedFrame[VideoFrame] | None = None
    for item in frames:
        if item.time >= end:
            break
        if pending is not None and item.time > 0:
            yield _from(pending, item.time)
        pending = item
    if pending is not None:
        yield _from(pending, min(end, max(pending.time + pending.duration, Fraction(0))))


def _from(item: TimedFrame[VideoFrame], end: Fraction) -> TimedFrame[VideoFrame]:
    time = max(item.time, Fraction(0))
    return TimedFrame(time, end - time, item.frame)


def _write(
    frames: Iterable[TimedFrame[VideoFrame]],
    path: str | os.PathLike[str],
    *,
    rate: Fraction,
    orientation: Orientation,
    pixels: Fraction = SQUARE,
    progress: Callable[[float], None] | None,
) -> None:
    name = repr(os.fspath(path))
    ticks = math.lcm(rate.numerator, 1000)
    ticks = ticks if ticks <= MAX_TICKS else USUAL_TICKS
    graph: av.filter.Graph | None = None
    form: tuple[int, int, str] | None = None
    stream: VideoStream | None = None
    durations: dict[int, int] = {}
    last = -1
    with (
        atomic_path(path) as temporary,
        open_output(temporary, name=name, muxer="mp4", options={"movflags": "faststart"}) as out,
    ):
        for item in frames:
            size = (item.frame.width, item.frame.height, item.frame.format.name)
            if graph is None or size != form:  # recordings may change their size on the way
                graph, form = _upright(item.frame, orientation, Fraction(1, ticks)), size
            stamp = max(last + 1, round(item.time * ticks))
            durations[stamp] = max(1, round((item.time + item.duration) * ticks) - stamp)
            last = stamp
            item.frame.pts, item.frame.time_base = stamp, Fraction(1, ticks)
            graph.vpush(item.frame)
            for frame in _pulled(graph):
                if stream is None:
                    stream = _add_stream(out, frame, rate=rate, time_base=Fraction(1, ticks))
                    stream.codec_context.sample_aspect_ratio = pixels
                _mux(out, stream, frame, durations)
            if progress is not None:
                progress(float(item.time))
        if stream is None:
            raise MediaError(f"There is no picture to write to {name}; choose another part.")
        _mux(out, stream, None, durations)


def _mux(
    out: OutputContainer, stream: VideoStream, frame: VideoFrame | None, durations: dict[int, int]
) -> None:
    for packet in stream.encode(frame):
        # An encoder does not know how long a frame is shown that no other follows.
        packet.duration = durations.pop(packet.pts or 0, 0)
        out.mux(packet)


def _add_stream(
    out: OutputContainer, frame: VideoFrame, *, rate: Fraction, time_base: Fraction
) -> VideoStream:
    codec, options = ENCODER
    stream = out.add_stream(codec, rate=rate, options=dict(options))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
    context = stream.codec_context
    context.time_base = time_base
    context.max_b_frames = 0  # so that packets come in the order of their times
    context.colorspace = BT709
    context.color_range = LIMITED_RANGE
    return stream


def _upright(frame: VideoFrame, orientation: Orientation, time_base: Fraction) -> av.filter.Graph:
    """Filters that turn the frame, make its sides even and its colours BT.709."""
    steps: list[tuple[str, dict[str, str]]] = []
    if orientation.transposed:
        steps.append(("transpose", {"dir": "cclock_flip"}))  # rows become columns, no more
    if orientation.flip_x:
        steps.append(("hflip", {}))
    if orientation.flip_y:
        steps.append(("vflip", {}))
    steps += [
        ("crop", {"w": "trunc(iw/2)*2", "h": "trunc(ih/2)*2", "x": "0", "y": "0"}),
        ("scale", {"out_color_matrix": "bt709", "out_range": "tv"}),
        ("format", {"pix_fmts": "yuv420p"}),
    ]
    graph = av.filter.Graph()
    tail = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    for name, settings in steps:
        step = graph.add(name, **settings)
        tail.link_to(step)
        tail = step
    tail.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (FFmpegBlockingIOError, FFmpegEOFError):
            return
        frame.pict_type = 0  # the source's own kinds of frames are not for this encoder
        yield frame
