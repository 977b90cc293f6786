"""In which type matrices are multiplied; all else stays in that of the weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("fp32", "bf16")


def multiplying(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bf16, or nothing for ``fp32``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
