"""Laying one sound over another."""

from __future__ import annotations

import math

import torch

from ..errors import MediaError
from .loudness import set_level
from .selection import exact
from .waveform import AudioClip, resample

# Room for what lossy codecs add to the peaks.
TRUE_PEAK = -1.0


def mix(
    new: AudioClip,
    original: AudioClip | None = None,
    *,
    new_db: float = 0.0,
    original_db: float = 0.0,
    start: float = 0.0,
) -> AudioClip:
    """Lay a new sound over another, or over silence, each at a level.

    The mix has the higher of both rates and the larger number of channels: mono becomes both of
    left and right, other layouts keep their first channels. It is as long as the longer of both.
    If its true peak is above -1 dBTP, all of it is turned down to that.

    Args:
        new: The new sound.
        original: The sound to lay it over; None for silence.
        new_db: Decibels to change the new sound by.
        original_db: Decibels to change the original by.
        start: Seconds into the original at which the new sound begins.

    Raises:
        MediaError: A level or the start is out of range, or there are more than eight channels.
    """
    for name, value in (("new_db", new_db), ("original_db", original_db)):
        if not math.isfinite(value):
            raise MediaError(f"{name} is {value!r}; it must be a finite number of decibels.")
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"start is {start!r}; it must be 0 or more seconds.")
    parts = [(new, new_db, exact(start))]
    if original is not None:
        parts.append((original, original_db, exact(0)))
    rate = max(clip.sample_rate for clip, _, _ in parts)
    channels = max(clip.waveform.shape[0] for clip, _, _ in parts)
    placed = [
        (resample(clip.waveform, clip.sample_rate, rate), round(begin * rate), 10 ** (db / 20))
        for clip, db, begin in parts
    ]
    total = torch.zeros(channels, max(begin + sound.shape[1] for sound, begin, _ in placed))
    for sound, begin, gain in placed:
        heard = 2 if sound.shape[0] == 1 and channels > 1 else sound.shape[0]
        total[:heard, begin : begin + sound.shape[1]].add_(sound, alpha=gain)
    return set_level(
        AudioClip(waveform=total, sample_rate=rate), loudness=None, true_peak=TRUE_PEAK
    )
