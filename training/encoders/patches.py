"""A first layer that begins with what differs between the patches of the clips at hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wavflow_core.features.preprocess import normalize_sync

SAMPLES = 1500  # pairs of frames
SMALLEST = 1e-6  # variance that still counts, of values from -1 to 1


@torch.no_grad()
def whiten_patches(projection: nn.Conv3d, frames: np.ndarray, *, seed: int) -> None:
    """Let half of the outputs see the mean of two frames, and half their difference.

    Each output is a principal component of the patches and has unit variance over them, so that
    what moves is as large as the background that stays.

    Args:
        projection: The convolution ``(D, 3, 2, P, P)`` whose stride is its size; D is even.
        frames: ``(M, T, 3, S, S)`` uint8 to learn from.
        seed: Of the choice of frames.
    """
    weight, bias = projection.weight, projection.bias
    assert bias is not None
    width, _, _, patch, _ = weight.shape
    first, second = _pairs(frames, patch, seed=seed)
    half = width // 2
    mean, change = (first + second) / 2, second - first
    middle = mean.mean(0)
    still, moving = _components(mean - middle, half), _components(change, half)
    filters = torch.stack(
        [torch.cat([still / 2, -moving]), torch.cat([still / 2, moving])], dim=1
    )  # (D, 2, 3 * P * P)
    shape = (width, 2, 3, patch, patch)
    weight.copy_(filters.reshape(shape).transpose(1, 2).to(weight))
    bias.copy_(torch.cat([-(still @ middle), torch.zeros(half)]).to(bias))


def _pairs(frames: np.ndarray, patch: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Patches ``(N, 3 * P * P)`` of some frames, and the same places one frame later."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(len(frames), (SAMPLES,), generator=generator).tolist()
    times = torch.randint(frames.shape[1] - 1, (SAMPLES,), generator=generator).tolist()
    taken = torch.stack(
        [torch.from_numpy(frames[c, t : t + 2].copy()) for c, t in zip(clips, times, strict=True)]
    )
    cut = normalize_sync(taken).unfold(3, patch, patch).unfold(4, patch, patch)
    # (N, 2, 3, rows, columns, P, P)
    flat = cut.permute(1, 0, 3, 4, 2, 5, 6).flatten(4).flatten(1, 3)
    return flat[0], flat[1]


def _components(values: Tensor, count: int) -> Tensor:
    """The first principal directions ``(count, F)``, divided by the deviation along each."""
    covariance = (values.T @ values).double() / len(values)
    variance, directions = torch.linalg.eigh(covariance)
    variance, directions = variance.flip(0)[:count], directions.flip(1)[:, :count]
    return (directions / variance.clamp(min=SMALLEST).sqrt()).T.float()
