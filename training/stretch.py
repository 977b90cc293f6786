"""Wiener filters of one window from those of another: a tone looks the same in both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A filter's tensors that have a value for each frequency: in which dimension, and how many rows
# of frequencies lie in it one after another.
_BY_FREQUENCY = {
    "input_proj.weight": (1, 1),
    "power.bin_emb": (3, 1),
    "power.maps.bias": (0, 2),
    "power.maps.weight": (0, 2),
}
# Of these, what adds up over all frequencies.
_ADDED_UP = "input_proj.weight"


def stretch_filter(name: str, given: Tensor, shape: torch.Size) -> Tensor | None:
    """A tensor of :class:`~wavflow_core.model.wiener.WienerFilter` for a window of another length.

    What is said of each frequency is interpolated linearly; convolutions over neighbouring
    frequencies and ratios between them are the same in all windows and need no change.

    Args:
        name: In the network's state dictionary.
        given: The tensor for its own window.
        shape: Of the tensor for the other window.

    Returns:
        The tensor for the other window; None where the shapes differ in something else.
    """
    module, _, rest = name.partition(".")
    kind = _BY_FREQUENCY.get(rest.partition(".")[2])
    if module != "wiener" or kind is None or given.dim() != len(shape):
        return None
    dim, rows = kind
    others = [i for i in range(given.dim()) if i != dim]
    if any(given.shape[i] != shape[i] for i in others) or given.shape[dim] % rows:
        return None
    parts = [_resampled(part, dim, shape[dim] // rows) for part in given.chunk(rows, dim)]
    stretched = torch.cat(parts, dim)
    if name.endswith(_ADDED_UP):
        stretched *= (given.shape[dim] - 1) / (shape[dim] - 1)
    return stretched


def _resampled(x: Tensor, dim: int, count: int) -> Tensor:
    """So many values instead of those along a dimension; the first and the last stay."""
    x = x.float().movedim(dim, -1)
    flat = x.reshape(1, -1, x.shape[-1])
    made = F.interpolate(flat, size=count, mode="linear", align_corners=True)
    return made.reshape(*x.shape[:-1], count).movedim(-1, dim)
