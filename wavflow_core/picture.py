"""A picture of a sound: its waveform above, its spectrogram below; drawn with torch alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .errors import MediaError

MIN_SIDE = 16
WAVEFORM_SHARE = 0.375  # of the height
LOWEST = 40.0  # Hz, the bottom row of the spectrogram
WINDOW_SECONDS = 0.05
FLOOR_DB, CEILING_DB = -95.0, -15.0  # per bin; a sine at full scale is 0 dB
HEADROOM = 1.08  # the waveform's rows reach so far beyond full scale
CLIPPED = 0.9999  # 16-bit full scale reads as 0.99997
COLUMNS_AT_ONCE = 128  # bounds the memory of long sounds

BACKGROUND = (16, 14, 24)
ENVELOPE = (86, 118, 196)
BODY = (178, 204, 255)
AXIS = (58, 56, 76)
CLIPPING = (255, 64, 64)
MARK = (120, 255, 190)


def picture(
    waveform: Tensor,
    sample_rate: int,
    *,
    width: int = 512,
    height: int = 256,
    marks: Sequence[float] = (),
) -> Tensor:
    """Draw a sound.

    Above: the extremes of each column, the root mean square brighter, and red at the edge where
    the sound reaches full scale. Below: power over logarithmic frequency from 40 Hz (bottom) to
    half the sample rate (top) on a fixed scale, so that pictures of one run can be compared.
    Values that are not finite are drawn as silence.

    Args:
        waveform: (T,) on any device, full scale at 1.
        sample_rate: Hz.
        width: Pixels.
        height: Pixels.
        marks: Moments in seconds at which to draw a vertical line; those outside are left out.

    Returns:
        (height, width, 3) uint8 RGB on the CPU.

    Raises:
        MediaError: The waveform is empty or not (T,), or a number is out of range.
    """
    if waveform.ndim != 1 or waveform.shape[0] == 0:
        raise MediaError(f"The waveform has shape {tuple(waveform.shape)}; it must be (T,), T > 0.")
    if sample_rate <= 2 * LOWEST:
        raise MediaError(f"sample_rate is {sample_rate!r}; it must be above {2 * LOWEST:g} Hz.")
    if min(width, height) < MIN_SIDE:
        raise MediaError(f"The picture is {width}x{height}; it must be {MIN_SIDE} or more a side.")
    sound = waveform.detach().to("cpu", torch.float32)
    sound = torch.nan_to_num(sound, nan=0.0, posinf=0.0, neginf=0.0)
    above = round(height * WAVEFORM_SHARE)
    image = torch.cat(
        [
            _draw_waveform(sound, width=width, height=above),
            _draw_spectrogram(sound, sample_rate, width=width, height=height - above),
        ]
    )
    line = torch.tensor(MARK, dtype=torch.uint8)
    for mark in marks:
        column = mark * sample_rate / sound.shape[0] * width
        if 0 <= column < width:
            image[:, int(column)] = line
    return image


def _draw_waveform(sound: Tensor, *, width: int, height: int) -> Tensor:
    """(height, width, 3) uint8: extremes, root mean square and clipping of each column."""
    if sound.shape[0] < width:  # every column needs a sample
        sound = sound[torch.arange(width) * sound.shape[0] // width]
    column = torch.arange(sound.shape[0]) * width // sound.shape[0]
    empty = torch.zeros(width)
    low = empty.scatter_reduce(0, column, sound, "amin", include_self=False)
    high = empty.scatter_reduce(0, column, sound, "amax", include_self=False)
    body = empty.scatter_reduce(0, column, sound**2, "mean", include_self=False).sqrt()

    pixel = 2 * HEADROOM / height
    value = HEADROOM - (torch.arange(height) + 0.5)[:, None] * pixel
    image = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(height, width, 1)
    image[height // 2] = torch.tensor(AXIS, dtype=torch.uint8)
    inside = (value <= high + pixel / 2) & (value >= low - pixel / 2)
    image[inside] = torch.tensor(ENVELOPE, dtype=torch.uint8)
    image[inside & (value.abs() <= body)] = torch.tensor(BODY, dtype=torch.uint8)
    rail = max(1, height // 24)
    rows = torch.arange(height)[:, None]
    clipped = (rows < rail) & (high >= CLIPPED) | (rows >= height - rail) & (low <= -CLIPPED)
    image[clipped] = torch.tensor(CLIPPING, dtype=torch.uint8)
    return image


def _draw_spectrogram(sound: Tensor, sample_rate: int, *, width: int, height: int) -> Tensor:
    """(height, width, 3) uint8: the loudest of each column's windows, at the rows' frequencies."""
    size = 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))
    window = torch.hann_window(size)
    window = window * (2 / window.sum())  # a sine's peak is its amplitude
    # Windows stand half their size apart or closer, so that no moment is left out.
    each = max(1, math.ceil(sound.shape[0] / width / (size / 2)))
    centres = (torch.arange(width * each) + 0.5) * (sound.shape[0] / (width * each))
    starts = centres.long()  # of the padded sound, so that the window's middle is at the centre
    windows = functional.pad(sound, (size // 2, size)).unfold(0, size, 1)
    bands = _bands(height, sample_rate, size)
    rows = [
        ((torch.fft.rfft(windows[part] * window).abs() ** 2) @ bands.T)
        for part in starts.split(COLUMNS_AT_ONCE * each)
    ]
    power = torch.cat(rows).view(width, each, height).amax(dim=1)
    level = 10 * torch.log10(power.clamp_min(1e-12))
    share = ((level - FLOOR_DB) / (CEILING_DB - FLOOR_DB)).clamp(0, 1)
    return _colours()[(share * 255).round().long()].transpose(0, 1).flip(0)


def _bands(rows: int, sample_rate: int, size: int) -> Tensor:
    """(rows, size // 2 + 1) weights that sum to 1: the bins of each row, lowest frequency first.

    A row's weights are a triangle around its frequency, as wide as the row or as one bin,
    whichever is wider.
    """
    step = sample_rate / size
    ratio = (sample_rate / 2 / LOWEST) ** (1 / (rows - 1))
    centre = LOWEST * ratio ** torch.arange(rows, dtype=torch.float64)[:, None]
    reach = (centre * (ratio - 1)).clamp_min(step)
    bins = torch.arange(size // 2 + 1, dtype=torch.float64) * step
    weights = (1 - (bins - centre).abs() / reach).clamp_min(0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _colours() -> Tensor:
    """(256, 3) uint8, even steps of lightness from near black over violet and orange to cream.

    Source: B. Ottosson, "A perceptual color space for image processing" (Oklab).
    """
    share = torch.linspace(0, 1, 256, dtype=torch.float64)
    lightness = 0.17 + 0.80 * share
    chroma = 0.02 + 0.155 * torch.sin(torch.pi * share.clamp(0.0, 1.0)) ** 0.8
    hue = math.radians(285) + share * math.radians(165)
    a, b = chroma * torch.cos(hue), chroma * torch.sin(hue)
    lms = torch.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = torch.tensor(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ],
        dtype=torch.float64,
    )
    linear = (to_rgb @ lms**3).clamp(0, 1)
    encoded = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded.T * 255).round().to(torch.uint8)
