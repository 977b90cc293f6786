"""Between what ComfyUI's wires carry and what the core reads; the only place that knows both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from av.error import FFmpegError
from torch import Tensor

from ..wavflow_core.errors import FeatureError, MediaError
from ..wavflow_core.features import Features
from ..wavflow_core.media.audio import AudioClip
from ..wavflow_core.media.container import MediaSource
from ..wavflow_core.media.selection import exact
from ..wavflow_core.media.video import (
    FrameRequest,
    VideoClip,
    open_video,
    stream_frames,
    stream_images,
)

if TYPE_CHECKING:
    from comfy_api.v0_0_2 import Input

# Texts have no length of their own; with nothing to look at, the model's window is used.
TEXT_DURATION = 8.0
SAME_DURATION = 1e-3

Frames = Iterator[tuple[int, int, Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """Pictures in memory, as a VIDEO made from components or a batch of IMAGEs has them.

    Attributes:
        images: (N, H, W, 3), floats from 0 to 1.
        fps: Pictures per second.
        start: Seconds from the first picture.
        duration: Seconds; None to the end.
    """

    images: Tensor
    fps: Fraction
    start: float = 0.0
    duration: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the part that there are pictures for."""
        rest = float(len(self.images) / self.fps) - self.start
        return rest if self.duration is None else min(self.duration, rest)


Footage = VideoClip | Pictures


def to_footage(video: Input.Video, *, start: float = 0.0, duration: float = 0.0) -> Footage:
    """The part of a VIDEO, trimmed before or not, without reading its pictures.

    Args:
        video: From a VIDEO socket.
        start: Seconds from the beginning of the (trimmed) video.
        duration: Seconds; 0 to the end. Never reaches beyond a trimmed video's end.

    Raises:
        MediaError: The video cannot be read, or is over before ``start``.
    """
    source = video_source(video)
    if source is None:
        parts = video.get_components()
        return images_to_footage(parts.images, fps=parts.frame_rate, start=start, duration=duration)
    trim_start, trim_duration = trim_window(video)
    if trim_duration and start >= trim_duration:
        raise MediaError(
            f"start is {start:g} s, but the video was trimmed to {trim_duration:g} s; choose an "
            "earlier start."
        )
    limits = [duration] if duration else []
    limits += [trim_duration - start] if trim_duration else []
    return open_video(source, start=trim_start + start, duration=min(limits, default=None))


def images_to_footage(
    images: Tensor, *, fps: float | Fraction, start: float = 0.0, duration: float = 0.0
) -> Pictures:
    """The part of an IMAGE batch that is shown at ``fps``; ``duration`` 0 is to the end.

    Raises:
        MediaError: There are no pictures, ``fps`` is not above 0, or they are over before
            ``start``.
    """
    if images.ndim != 4 or len(images) == 0 or images.shape[-1] < 3:
        raise MediaError(
            f"images have shape {tuple(images.shape)}; it must be (N, H, W, 3), N > 0."
        )
    if not (math.isfinite(fps) and fps > 0):
        raise MediaError(f"fps is {float(fps):g}; give the frames per second of the images.")
    pictures = Pictures(
        images=images[..., :3],  # some nodes add a channel of transparency
        fps=exact(fps),
        start=start,
        duration=duration or None,
    )
    if pictures.seconds <= 0:
        total = pictures.seconds + start
        raise MediaError(
            f"start is {start:g} s, but {len(images)} images at {float(fps):g} fps last only "
            f"{total:.3f} s; choose an earlier start."
        )
    return pictures


def to_frames(footage: Footage, requests: Sequence[FrameRequest]) -> Frames:
    """Frames as :func:`~wavflow_core.features.extract_features` wants them; stops on Cancel."""
    if isinstance(footage, VideoClip):
        frames = stream_frames(footage, requests)
    else:
        frames = stream_images(
            footage.images,
            footage.fps,
            requests,
            start=footage.start,
            duration=footage.duration,
        )
    for item in frames:
        check_interrupted()
        yield item


def video_source(video: Input.Video) -> MediaSource | None:
    """Where the bytes of a VIDEO are, or None where it is pictures in memory.

    The whole file even if the video is trimmed: see :func:`trim_window`.
    """
    from comfy_api.v0_0_2 import InputImpl

    if isinstance(video, InputImpl.VideoFromComponents):
        return None  # its stream source would be a lossy copy, encoded for us
    try:
        return video.get_stream_source()
    except (FFmpegError, ValueError, NotImplementedError):
        return None  # a video of another pack that cannot write itself


def trim_window(video: Input.Video) -> tuple[float, float]:
    """Start and duration in seconds that a VIDEO was trimmed to; a duration of 0 is to the end."""
    window = getattr(video, "get_active_trim_window", None)  # since ComfyUI 0.26
    return window() if window is not None else (0.0, 0.0)


def to_clips(audio: Mapping[str, object] | None, name: str = "audio") -> list[AudioClip]:
    """Each sound of an AUDIO batch, with all its channels.

    Args:
        audio: From an AUDIO socket: a mapping with ``waveform`` (B, C, T) and ``sample_rate``,
            which some packs read from a file only now.
        name: How to call it in an error.

    Raises:
        MediaError: There is no sound, or it has another form.
    """
    if audio is None:
        raise MediaError(
            f"{name} holds no sound: the video it comes from has no sound track; connect another."
        )
    waveform, rate = audio["waveform"], audio["sample_rate"]
    if not isinstance(waveform, Tensor) or waveform.ndim != 3 or 0 in waveform.shape:
        shape = tuple(waveform.shape) if isinstance(waveform, Tensor) else type(waveform).__name__
        raise MediaError(f"{name} has a waveform of {shape}; it must be (batch, channels, T).")
    waveform = waveform.detach().float().cpu()
    return [AudioClip(waveform=sound, sample_rate=int(rate)) for sound in waveform]


def from_clips(clips: Sequence[AudioClip]) -> dict[str, object]:
    """One AUDIO of sounds that have the same rate, channels and length."""
    waveform = torch.stack([clip.waveform.float().cpu() for clip in clips])
    return {"waveform": waveform, "sample_rate": clips[0].sample_rate}


def merge_features(
    clip: Features | None = None,
    sync: Features | None = None,
    text: Features | None = None,
) -> Features | None:
    """What three sockets carry as the one record that the core reads; None if all are empty.

    Raises:
        FeatureError: They stand for different durations, or come from two different CLIPs.
    """
    seen = {"CLIP": clip, "sync": sync}
    durations = {name: item.duration for name, item in seen.items() if item is not None}
    if durations and max(durations.values()) - min(durations.values()) > SAME_DURATION:
        listed = " and ".join(f"{name} features {d:.4g} s" for name, d in durations.items())
        raise FeatureError(
            f"The lengths differ: {listed}; encode both with the same start and duration."
        )
    made = Features(duration=next(iter(durations.values()), TEXT_DURATION))
    if clip is not None:
        made = replace(made, clip=clip.clip, clip_encoder=clip.clip_encoder)
    if sync is not None:
        made = replace(made, sync=sync.sync, sync_encoder=sync.sync_encoder)
    if text is not None:
        _check_one_clip(made, text)
        made = replace(
            made,
            text=text.text,
            negative_text=text.negative_text,
            clip_encoder=made.clip_encoder or text.clip_encoder,
        )
    empty = made.clip is None and made.sync is None and made.text is None
    return None if empty and made.negative_text is None else made


def _check_one_clip(made: Features, text: Features) -> None:
    mine, other = made.clip_encoder, text.clip_encoder
    if mine is not None and other is not None and not mine.accepts(other):
        raise FeatureError(
            f"The pictures were encoded with the CLIP {mine} and the text with {other}; encode "
            "both with the same."
        )


def check_interrupted() -> None:
    """Stop here if the user has pressed Cancel."""
    from comfy.model_management import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


def progress_bar() -> Callable[..., None]:
    """The node's progress bar as a function ``(done, total, preview=None)``; stops on Cancel.

    ComfyUI's own bar looks for Cancel only when it sends something, which is not each time.
    """
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def report(done: int, total: int, preview: tuple | None = None) -> None:
        check_interrupted()
        bar.update_absolute(done, max(total, 1), preview)

    return report
