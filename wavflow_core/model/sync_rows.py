"""Which Synchformer token each audio token takes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import SEGMENT_FRAMES, SEGMENT_HOP, SEGMENT_TOKENS, SYNC_FPS, ModelConfig


def sync_rows(
    config: ModelConfig, count: int, num_tokens: int, *, device: torch.device | None = None
) -> Tensor:
    """Rows ``(num_tokens,)`` of ``count`` Synchformer tokens, 8 for each segment.

    Args:
        config: Of the model. With a ``token_rate`` the token of each moment is looked up, or that
            of its ``sync_parts`` rows; else all are stretched evenly over the sound, as in the
            published system.
        count: Synchformer tokens T_s.
        num_tokens: Audio tokens N.
        device: Where to put the rows.
    """
    if config.token_rate is None:
        return nearest_rows(count, num_tokens, device=device)
    rate, parts = config.token_rate, config.sync_parts
    return timed_rows(count, num_tokens, token_rate=rate, parts=parts, device=device)


def nearest_rows(count: int, num_tokens: int, *, device: torch.device | None = None) -> Tensor:
    """Indices ``(num_tokens,)`` of a nearest-exact resize of ``count`` rows."""
    rows = torch.arange(count, dtype=torch.float32, device=device)
    return F.interpolate(rows[None, None], size=num_tokens, mode="nearest-exact")[0, 0].long()


def timed_rows(
    count: int,
    num_tokens: int,
    *,
    token_rate: float,
    parts: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """Of ``count`` Synchformer tokens of ``parts`` rows, the row of each audio token ``(N,)``.

    Segments overlap; a moment is looked up in the one whose middle is nearest. Moments before and
    after all segments take the first and the last row.
    """
    frames = (torch.arange(num_tokens, device=device) + 0.5) * (SYNC_FPS / token_rate)
    last = count // SEGMENT_TOKENS - 1
    segments = ((frames - SEGMENT_FRAMES / 2) / SEGMENT_HOP).round().clamp(0, last)
    within = (frames - SEGMENT_HOP * segments) / (SEGMENT_FRAMES // SEGMENT_TOKENS)
    rows = SEGMENT_TOKENS * parts
    return (rows * segments + (within * parts).floor().clamp(0, rows - 1)).long()
