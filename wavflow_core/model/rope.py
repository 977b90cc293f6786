"""Rotary position embedding (RoFormer, arXiv 2104.09864, Eq. 34) on adjacent pairs."""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10000.0


def rotary_table(
    length: int, head_dim: int, *, scaling: float = 1.0, device: torch.device | None = None
) -> Tensor:
    """Cosines and sines of pos · theta^(-2i/d) · scaling.

    Args:
        length: Number of positions N.
        head_dim: Head width d, even.
        scaling: Factor on the positions, so that streams of other rates share one time axis.
        device: Where to put the table.

    Returns:
        ``(2, N, d / 2)`` in fp32: cosines, then sines.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    positions = torch.arange(length, dtype=torch.float32, device=device)
    angles = torch.outer(positions, THETA**-exponents * scaling)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate each pair of ``x`` ``(B, H, N, d)`` by the angles of its position, in fp32."""
    cos, sin = table
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((cos * even - sin * odd, sin * even + cos * odd), dim=-1)
    return rotated.flatten(-2).to(x.dtype)
