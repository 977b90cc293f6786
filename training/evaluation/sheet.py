"""Many sounds on one picture: a row for each, the result left, its original right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip
from wavflow_core.picture import BACKGROUND, picture

from .spectra import mono

WIDTH, HEIGHT = 480, 160  # pixels of a sound
GAP = 4
MAX_SECONDS = 30.0  # drawn of each sound
MAX_ROWS = 64
GAP_COLOUR = (96, 96, 112)


def draw_row(
    result: AudioClip,
    original: AudioClip | None = None,
    *,
    marks: Sequence[float] = (),
    original_marks: Sequence[float] = (),
    columns: int = 2,
) -> Tensor:
    """Draw a result and its original on the same time axis.

    Args:
        result: The sound made; at most its first 30 s are drawn.
        original: What was really heard; None leaves its place empty.
        marks: Seconds to mark in the result, such as its onsets.
        original_marks: Seconds to mark in the original, or those expected.
        columns: 1 draws the result alone.

    Returns:
        (160, 480 or 964, 3) uint8 RGB.

    Raises:
        MediaError: The sound cannot be drawn.
    """
    longest = max(result.duration, original.duration if original else 0.0)
    seconds = min(MAX_SECONDS, longest)
    panels = [_panel(result, seconds, marks)]
    if columns > 1:
        empty = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(HEIGHT, WIDTH, 1)
        drawn = empty if original is None else _panel(original, seconds, original_marks)
        panels += [_gap(HEIGHT, GAP), drawn]
    return torch.cat(panels, dim=1)


def stack_rows(rows: Sequence[Tensor]) -> Tensor:
    """Rows under each other, with a line between them.

    Args:
        rows: 1 to 64 of :func:`draw_row`, of equal widths.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        MediaError: There are none or too many.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise MediaError(f"A sheet cannot have {len(rows)} rows; it has 1 to {MAX_ROWS}.")
    parts = [rows[0]]
    for row in rows[1:]:
        parts += [_gap(GAP, row.shape[1]), row]
    return torch.cat(parts)


def _panel(clip: AudioClip, seconds: float, marks: Sequence[float]) -> Tensor:
    """(160, 480, 3): so many seconds of a sound, silence where it ends earlier."""
    samples = max(1, round(seconds * clip.sample_rate))
    waveform = clip.waveform[:, :samples]
    waveform = torch.nn.functional.pad(waveform, (0, samples - waveform.shape[1]))
    padded = AudioClip(waveform=waveform, sample_rate=clip.sample_rate)
    rate = min(16000, clip.sample_rate)
    return picture(mono(padded, rate=rate), rate, width=WIDTH, height=HEIGHT, marks=marks)


def _gap(height: int, width: int) -> Tensor:
    return torch.tensor(GAP_COLOUR, dtype=torch.uint8).repeat(height, width, 1)
