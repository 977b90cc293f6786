"""From a video and a caption to features: one pass over the file, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..config import CLIP_FPS, SEGMENT_FRAMES, SEGMENT_HOP, SYNC_FPS, frame_counts, num_segments
from ..errors import FeatureError
from ..media.video import FrameRequest, VideoClip, stream_frames
from .clip import ClipEncoder
from .preprocess import clip_frame, normalize_sync, sync_frame
from .store import Features, check_duration
from .synchformer import Synchformer

# (frames and captions done, of how many); may raise to cancel.
Progress = Callable[[int, int], None]
# A batch of the published encoders on an accelerator. A CPU gains nothing from batches of their
# pictures, and stops sooner between single ones; small pictures take half the time in batches.
CLIP_BATCH = 8
SYNC_BATCH = 2
SMALL_BATCH = 8
SMALL_IMAGE = 128
# (index of the request, number of the frame, transformed frame)
Frames = Iterable[tuple[int, int, Tensor]]


def frame_requests(
    duration: float, *, clip: ClipEncoder | None = None, synchformer: Synchformer | None = None
) -> list[FrameRequest]:
    """Which frames the encoders given need, in the order in which they are counted.

    Args:
        duration: Seconds to cover.
        clip: Asks for 8 frames per second, first in the list.
        synchformer: Asks for 25 frames per second, last in the list.

    Raises:
        FeatureError: The duration is not a number above 0 and at most 600 s.
    """
    check_duration(duration)
    clip_frames, sync_frames = frame_counts(duration)
    requests = []
    if clip is not None:
        to_clip = partial(clip_frame, size=clip.image_size)
        requests.append(FrameRequest(fps=CLIP_FPS, limit=clip_frames, transform=to_clip))
    if synchformer is not None:
        to_sync = partial(sync_frame, size=synchformer.size.image_size)
        read = SEGMENT_FRAMES + (num_segments(sync_frames) - 1) * SEGMENT_HOP
        requests.append(FrameRequest(fps=SYNC_FPS, limit=read, transform=to_sync))
    return requests


def extract_features(
    video: VideoClip | None,
    *,
    duration: float,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    clip: ClipEncoder | None = None,
    synchformer: Synchformer | None = None,
    frames: Frames | None = None,
    clip_batch: int | None = None,
    sync_batch: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Features:
    """Encode a video, captions, or both; what is not given is None in the result.

    Args:
        video: What to look at, read once; None for text alone.
        duration: Seconds to cover. A shorter video's last frame is held.
        prompt: Caption; None, empty or blank gives no text.
        negative_prompt: What to stay away from; None, empty or blank gives none.
        clip: Reads frames with its visual tower and captions with its text tower.
        synchformer: Reads frames.
        frames: Instead of ``video`` the frames that :func:`frame_requests` of the same encoders
            and duration asks for, as ``(request, n, frame)``.
        clip_batch: Frames in memory for CLIP, None is that of :func:`batch_on`; rounds differently.
        sync_batch: Segments in memory for Synchformer, as ``clip_batch``.
        device: Where Synchformer computes; None is where its weights are. CLIP is not moved.
        dtype: Type in which Synchformer computes; None is that of its weights.
        progress: Called before the first batch and after each one; may raise to cancel.

    Raises:
        FeatureError: An encoder is missing, or the frames are not those asked for.
        MediaError: The video cannot be read.
    """
    captions = {"text": prompt or "", "negative_text": negative_prompt or ""}
    captions = {name: text for name, text in captions.items() if text.strip()}
    _require_inputs(video, frames, captions.values())
    seen = video is not None or frames is not None
    _require_encoders(seen, bool(captions), clip, synchformer)
    requests = frame_requests(duration, clip=clip, synchformer=synchformer) if seen else []
    report = _Report(progress, sum(item.limit or 0 for item in requests) + len(captions))
    sinks: dict[str, _Sink] = {}
    if seen and clip is not None:
        sinks["clip"] = _ClipSink(clip, _clip_batch(clip_batch, clip), report)
    if seen and synchformer is not None:
        sinks["sync"] = _SyncSink(synchformer, sync_batch, report, device=device, dtype=dtype)
    if seen:
        _feed(stream_frames(video, requests) if video else frames or (), sinks, requests)
    texts = clip.encode_text(list(captions.values())) if clip and captions else ()
    report.advance(len(texts))
    made = {name: torch.cat(sink.parts) for name, sink in sinks.items()}
    return Features(
        **made,
        **dict(zip(captions, texts, strict=True)),
        duration=float(duration),
        clip_encoder=clip.config if clip else None,
        sync_encoder=synchformer.config if synchformer and seen else None,
    )


def _clip_batch(given: int | None, clip: ClipEncoder) -> int:
    # Towers of open_clip are never left half on the CPU, so that one weight speaks for all.
    if given is not None:
        return given
    return batch_on(next(clip.parameters()).device, clip)


def batch_on(device: torch.device, encoder: ClipEncoder | Synchformer) -> int:
    """How many pictures, or segments of them, an encoder takes at a time on a device."""
    if isinstance(encoder, Synchformer):
        best, image_size = SYNC_BATCH, encoder.size.image_size
    else:
        best, image_size = CLIP_BATCH, encoder.image_size
    if image_size <= SMALL_IMAGE:
        return SMALL_BATCH
    return 1 if device.type == "cpu" else best


def _require_inputs(
    video: VideoClip | None, frames: Frames | None, captions: Collection[str]
) -> None:
    if video is not None and frames is not None:
        raise FeatureError("Both a video and frames were given; give one of them.")
    if video is None and frames is None and not captions:
        raise FeatureError("There is nothing to encode: give a video, a prompt, or both.")


def _require_encoders(
    seen: bool, told: bool, clip: ClipEncoder | None, synchformer: Synchformer | None
) -> None:
    if told and clip is None:
        raise FeatureError("A prompt was given without a CLIP encoder; load one to encode it.")
    if told and clip is not None and "text" not in clip.towers:
        raise FeatureError("A prompt was given, but CLIP was loaded without its text tower.")
    if seen and clip is None and synchformer is None:
        raise FeatureError("A video was given without an encoder; load CLIP or Synchformer.")
    if seen and clip is not None and "visual" not in clip.towers:
        raise FeatureError("A video was given, but CLIP was loaded without its visual tower.")


class _Report:
    """Counts frames and captions that are done, and says so."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total = progress, total
        self.done = 0
        self.advance(0)

    def advance(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


class _Sink(Protocol):
    """Takes frames in their order and encodes them as soon as a batch is full."""

    parts: list[Tensor]

    def add(self, frame: Tensor) -> None: ...

    def close(self) -> None: ...


class _ClipSink:
    def __init__(self, encoder: ClipEncoder, batch_size: int, report: _Report) -> None:
        _require_batch("clip_batch", batch_size)
        self.encoder, self.batch_size, self.report = encoder, batch_size, report
        self.frames: list[Tensor] = []
        self.parts: list[Tensor] = []

    def add(self, frame: Tensor) -> None:
        self.frames.append(frame)
        if len(self.frames) == self.batch_size:
            self.close()

    def close(self) -> None:
        if not self.frames:
            return
        # A picture that stands still comes as the same tensor and is embedded once.
        distinct = list({id(frame): frame for frame in self.frames}.values())
        row = {id(frame): index for index, frame in enumerate(distinct)}
        embedded = self.encoder.encode_images(torch.stack(distinct), batch_size=self.batch_size)
        self.parts.append(embedded[[row[id(frame)] for frame in self.frames]])
        self.report.advance(len(self.frames))
        self.frames = []


class _SyncSink:
    """Keeps the frames that two batches share."""

    def __init__(
        self,
        encoder: Synchformer,
        batch_size: int | None,
        report: _Report,
        *,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self.encoder, self.report = encoder, report
        self.device = encoder.cls_token.device if device is None else torch.device(device)
        if batch_size is None:
            batch_size = batch_on(self.device, encoder)
        _require_batch("sync_batch", batch_size)
        self.full = SEGMENT_FRAMES + (batch_size - 1) * SEGMENT_HOP
        self.dtype = encoder.cls_token.dtype if dtype is None else dtype
        self.frames: list[Tensor] = []
        self.parts: list[Tensor] = []

    def add(self, frame: Tensor) -> None:
        self.frames.append(frame)
        if len(self.frames) == self.full:
            self._encode()

    def close(self) -> None:
        if len(self.frames) >= SEGMENT_FRAMES:
            self._encode()
        self.report.advance(len(self.frames))  # read as a part of the last segment
        self.frames = []

    @torch.no_grad()
    def _encode(self) -> None:
        frames = normalize_sync(torch.stack(self.frames).to(self.device)).to(self.dtype)
        segments = frames.unfold(0, SEGMENT_FRAMES, SEGMENT_HOP)  # (S, 3, H, W, 16)
        encoded = self.encoder(segments.permute(0, 1, 4, 2, 3).contiguous())
        self.parts.append(encoded.float().cpu().flatten(0, 1))
        self.frames = self.frames[len(segments) * SEGMENT_HOP :]
        self.report.advance(len(segments) * SEGMENT_HOP)


def _require_batch(name: str, size: int) -> None:
    if size < 1:
        raise FeatureError(f"{name} is {size}; it must be 1 or more.")


def _feed(frames: Frames, sinks: Mapping[str, _Sink], requests: Sequence[FrameRequest]) -> None:
    """Hand each frame to the encoder that asked for it and check that all came."""
    takers = list(sinks.values())
    counts = [0] * len(takers)
    try:
        for index, n, frame in frames:
            if not 0 <= index < len(takers) or n != counts[index]:
                raise FeatureError(
                    f"Frame {n} of request {index} was given, but the next of each are {counts}."
                )
            counts[index] += 1
            takers[index].add(frame)
    finally:
        if isinstance(frames, Generator):
            frames.close()  # a cancelled run lets go of the file at once
    wanted = [request.limit for request in requests]
    if counts != wanted:
        raise FeatureError(f"{counts} frames were given, but the encoders need {wanted}.")
    for taker in takers:
        taker.close()
