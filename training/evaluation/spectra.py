"""Log-mel spectrograms, and how far those of two sounds lie apart."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip, resample

# Sounds are compared at one rate, so that an original at 48 kHz says nothing about a model's.
ANALYSIS_RATE = 16000
BANDS = 64
LOWEST = 50.0  # Hz
WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.01
FLOOR_DB = -80.0  # per band; a sine at full scale is 0 dB
FRAMES_AT_ONCE = 4096  # bounds the memory of long sounds


def mono(clip: AudioClip, *, rate: int = ANALYSIS_RATE) -> Tensor:
    """The mean of the channels at one rate.

    Args:
        clip: The sound.
        rate: Hz.

    Returns:
        (T,) float32 on the CPU.
    """
    return resample(clip.waveform.detach().cpu().mean(dim=0), clip.sample_rate, rate)


@functools.lru_cache(maxsize=8)
def mel_filters(
    rate: int, window: int, *, bands: int, lowest: float = LOWEST, highest: float | None = None
) -> Tensor:
    """Triangles that are equally wide and overlap by half on the mel scale, each 1 at its top.

    A band that is narrower than the spectrum's step takes the nearest frequency whole, so that no
    band is empty.

    Args:
        rate: Hz.
        window: Samples of the Fourier transform.
        bands: Triangles.
        lowest: Hz at which the first begins.
        highest: Hz at which the last ends; None is half the rate.

    Returns:
        (bands, window // 2 + 1) float32. It is kept and shared: do not write to it.

    Raises:
        MediaError: A number is out of range.

    Source: The HTK Book, section 5.6: mel(f) = 2595 log10(1 + f / 700).
    """
    highest = rate / 2 if highest is None else highest
    if not (bands > 0 and window > 1 and 0 <= lowest < highest <= rate / 2):
        raise MediaError(
            f"{bands} bands from {lowest:g} to {highest:g} Hz at {rate} Hz with a window of "
            f"{window} cannot be: there must be a band and 0 <= lowest < highest <= rate / 2."
        )
    ends = 2595 * torch.log10(1 + torch.tensor([lowest, highest], dtype=torch.float64) / 700)
    edges = torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64)
    left, top, right = (700 * (10 ** (edges / 2595) - 1)).unfold(0, 3, 1).unbind(dim=1)
    frequency = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    rising = (frequency - left[:, None]) / (top - left)[:, None]
    falling = (right[:, None] - frequency) / (right - top)[:, None]
    filters = torch.minimum(rising, falling).clamp_min(0)
    nearest = (top * window / rate).round().long().clamp_max(window // 2)
    rows = torch.arange(bands)
    filters[rows, nearest] = torch.where(filters.sum(dim=1) < 0.5, 1.0, filters[rows, nearest])
    return filters.to(torch.float32)


def mel_power(
    waveform: Tensor, rate: int = ANALYSIS_RATE, *, window: int, hop: int, bands: int
) -> Tensor:
    """Power of mel bands in overlapping Hann windows; a sine at full scale has 1 at its band's top.

    Frame n looks at the window around sample n * hop; the sound is mirrored at its ends, so that
    they are no steps, and silence follows where it is too short for that.

    Args:
        waveform: (T,) float32.
        rate: Hz.
        window: Samples.
        hop: Samples from frame to frame.
        bands: Mel bands from 50 Hz to half the rate.

    Returns:
        (bands, 1 + T // hop) float32.

    Raises:
        MediaError: The waveform is empty or not (T,).
    """
    if waveform.ndim != 1 or waveform.shape[0] == 0:
        raise MediaError(f"The waveform has shape {tuple(waveform.shape)}; it must be (T,), T > 0.")
    side = window // 2
    frames = 1 + waveform.shape[0] // hop
    missing = max(0, side + 1 - waveform.shape[0])
    padded = torch.nn.functional.pad(waveform, (0, missing))
    padded = torch.nn.functional.pad(padded[None], (side, side), mode="reflect")[0]
    padded = torch.nn.functional.pad(padded, (0, window % 2))  # an odd window's last frame
    shape = torch.hann_window(window)
    filters = mel_filters(rate, window, bands=bands)
    parts = []
    for start in range(0, frames, FRAMES_AT_ONCE):
        count = min(FRAMES_AT_ONCE, frames - start)
        piece = padded[start * hop : (start + count - 1) * hop + window]
        spectrum = torch.fft.rfft(piece.unfold(0, window, hop) * shape).abs() * (2 / shape.sum())
        parts.append(filters @ spectrum.square().T)
    return torch.cat(parts, dim=1)


def log_mel(waveform: Tensor, rate: int = ANALYSIS_RATE) -> Tensor:
    """Log-mel spectrogram: 64 bands from 50 Hz, windows of 25 ms every 10 ms.

    Args:
        waveform: (T,) float32, full scale at 1.
        rate: Hz.

    Returns:
        (64, 1 + T // hop) float32 decibels; a sine at full scale has 0 at its band's top, and
        -80 is the floor.

    Raises:
        MediaError: The waveform is empty or not (T,).
    """
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    power = mel_power(waveform, rate, window=window, hop=hop, bands=BANDS)
    return 10 * torch.log10(power.clamp_min(10 ** (FLOOR_DB / 10)))


def log_mel_distance(first: Tensor, second: Tensor) -> float:
    """How far two log-mel spectrograms lie apart, in decibels; their common beginning is compared.

    For each frame the root of the mean over bands of the squared difference, then the mean over
    frames. A difference in level counts.

    Args:
        first: (bands, frames) decibels.
        second: (bands, frames) decibels; it may have another number of frames.

    Raises:
        MediaError: The shapes do not fit.

    Source: Gray and Markel, "Distance measures for speech processing", 1976, with mel bands.
    """
    one, other = _common(first, second)
    return float((one - other).square().mean(dim=0).sqrt().mean())


def log_mel_correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two log-mel spectrograms over all bands and frames, -1 to 1.

    A difference in level does not count, except at the floor. Where both are constant, as in
    silence, it is 1 for two of a kind; where one alone is, 0.

    Args:
        first: (bands, frames) decibels.
        second: (bands, frames) decibels; it may have another number of frames.

    Raises:
        MediaError: The shapes do not fit.
    """
    one, other = _common(first, second)
    one, other = one - one.mean(), other - other.mean()
    scale = math.sqrt(float(one.square().sum()) * float(other.square().sum()))
    if scale < 1e-9 * one.numel():
        return float(bool(one.abs().max() < 1e-4) and bool(other.abs().max() < 1e-4))
    return min(1.0, max(-1.0, float((one * other).sum()) / scale))


def _common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    shapes = tuple(first.shape), tuple(second.shape)
    if first.ndim != 2 or second.ndim != 2 or shapes[0][0] != shapes[1][0] or 0 in sum(shapes, ()):
        raise MediaError(
            f"Log-mel spectrograms of shapes {shapes[0]} and {shapes[1]} cannot be compared; both "
            "must be (bands, frames) with the same bands, and not empty."
        )
    frames = min(shapes[0][1], shapes[1][1])
    return first[:, :frames].to(torch.float64), second[:, :frames].to(torch.float64)
