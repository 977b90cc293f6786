"""One clip of the training data: its sound, its features, and a window of both."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor

from wavflow_core.conditions import check_encoders
from wavflow_core.config import (
    CLIP_FPS,
    SEGMENT_HOP,
    SEGMENT_TOKENS,
    SYNC_FPS,
    SequenceLengths,
    WavFlowConfig,
)
from wavflow_core.errors import FeatureError, MediaError
from wavflow_core.features.store import Features
from wavflow_core.media.audio import read_audio, resample

from .feature_store import FeatureReader
from .manifest import Row

# Windows begin where a Synchformer segment does, so that sound and motion agree to the sample.
HOP_SECONDS = SEGMENT_HOP / SYNC_FPS


class ClipReader:
    """Reads clips and keeps their sounds in memory.

    Args:
        config: Rate, window, and the encoders that features must come from.
        cache_bytes: Memory for sounds; the one unused for longest goes first.
    """

    def __init__(self, config: WavFlowConfig, *, cache_bytes: float) -> None:
        self.config = config
        self.cache_bytes = cache_bytes
        self._features = FeatureReader(duration=config.audio.window)
        self._sounds: OrderedDict[str, Tensor] = OrderedDict()
        self._held = 0

    def sound(self, row: Row) -> Tensor:
        """The whole sound of a clip, mono at the model's rate: ``(1, T)`` float32.

        Raises:
            MediaError: There is none, or it cannot be read.
        """
        if row.id in self._sounds:
            self._sounds.move_to_end(row.id)
            return self._sounds[row.id]
        path = row.audio or row.video
        if path is None:
            raise MediaError("the manifest names no sound for it.")
        clip = read_audio(path, start=row.start, duration=row.duration)
        mono = clip.waveform.mean(0, keepdim=True)
        mono = resample(mono, clip.sample_rate, self.config.audio.sample_rate)
        self._keep(row.id, mono)
        return mono

    def features(self, row: Row) -> Features:
        """What is known about a clip; what the manifest says it lacks is None.

        Raises:
            FeatureError: There are none, or they come from other encoders than expected.
        """
        if row.features is None:
            raise FeatureError("the manifest names no features for it; extract them first.")
        found = self._features.read(row.features, row.id)
        check_encoders(found, self.config)
        if not row.has_video:
            found = replace(found, clip=None, sync=None)
        return found if row.has_text else replace(found, text=None)

    def _keep(self, name: str, sound: Tensor) -> None:
        self._sounds[name] = sound
        self._held += sound.nbytes
        while self._held > self.cache_bytes and self._sounds:
            self._held -= self._sounds.popitem(last=False)[1].nbytes


def cut_window(
    features: Features, lengths: SequenceLengths, *, seconds: float, window: float, crop: float
) -> tuple[Features, float]:
    """Choose a window of a clip; without one that fits the sound as well, the first.

    Windows begin at multiples of 0.32 s, where a Synchformer segment begins; the CLIP frames are
    those nearest (at most 1/16 s away).

    Args:
        features: Of the whole clip.
        lengths: Rows that the window needs.
        seconds: Length of the clip's sound.
        window: Seconds of the window.
        crop: Which of those that fit, from 0 (the first) to below 1.

    Returns:
        Features of the window, and where it begins in seconds.

    Raises:
        FeatureError: The features do not last for a window.
    """
    segments = lengths.sync_tokens // SEGMENT_TOKENS
    last = max(0, math.floor((seconds - window) / HOP_SECONDS + 1e-6))
    if features.sync is not None:
        last = min(last, len(features.sync) // SEGMENT_TOKENS - segments)
    if features.clip is not None:
        spare = len(features.clip) - lengths.clip_frames
        while last >= 0 and _clip_row(last) > spare:
            last -= 1
    if last < 0:
        raise FeatureError(
            f"its features have {_rows(features.clip)} CLIP rows and {_rows(features.sync)} sync "
            f"rows ({features.duration:g} s), but the window of {window:g} s needs "
            f"{lengths.clip_frames} and {lengths.sync_tokens}; extract them for that duration or "
            "longer."
        )
    hop = math.floor(crop * (last + 1))
    sync_rows = slice(hop * SEGMENT_TOKENS, hop * SEGMENT_TOKENS + lengths.sync_tokens)
    clip_rows = slice(_clip_row(hop), _clip_row(hop) + lengths.clip_frames)
    cut = replace(
        features,
        clip=None if features.clip is None else features.clip[clip_rows],
        sync=None if features.sync is None else features.sync[sync_rows],
        duration=window,
    )
    return cut, hop * HOP_SECONDS


def _rows(features: Tensor | None) -> int | str:
    return "no" if features is None else len(features)


def _clip_row(hop: int) -> int:
    """The CLIP frame nearest to the start of a segment."""
    return (2 * CLIP_FPS * SEGMENT_HOP * hop + SYNC_FPS) // (2 * SYNC_FPS)


def stacked(features: Features, config: WavFlowConfig, lengths: SequenceLengths) -> list[Tensor]:
    """CLIP, sync and text rows of a window, zeros where there are none.

    Raises:
        FeatureError: They have other widths than the model reads.
    """
    model = config.model
    wanted = (
        ("CLIP", features.clip, (lengths.clip_frames, model.clip_dim)),
        ("sync", features.sync, (lengths.sync_tokens, model.sync_dim)),
        ("text", features.text, (model.text_tokens, model.text_dim)),
    )
    for name, given, shape in wanted:
        if given is not None and tuple(given.shape) != shape:
            raise FeatureError(
                f"its {name} features have shape {tuple(given.shape)}, but the model reads "
                f"{shape}; extract them with the encoders that it is made for."
            )
    return [torch.zeros(shape) if given is None else given for _, given, shape in wanted]
