"""All chance of a training run, as a function of the seed and the place in it.

Nothing here has a state: what is drawn for the n-th clip of a run is the same in one process and
in many, with or without workers, and after a restart in the middle of an epoch.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from wavflow_core import flow
from wavflow_core.config import FlowConfig
from wavflow_core.sampler import draw_noise

from .config import DataConfig


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draw:
    """What chance decides about one clip of one batch.

    Attributes:
        crop: Which of the windows that fit, from 0 (the first) to below 1.
        time: Shifted time ``()`` in (0, 1).
        noise: Unit noise ``(N, P)``.
        keep_video: Whether CLIP and sync features are shown.
        keep_text: Whether the caption is shown.
    """

    crop: float
    time: Tensor
    noise: Tensor
    keep_video: bool
    keep_text: bool


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits that only this key has."""
    text = ":".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@functools.lru_cache(maxsize=2)
def order(seed: int, epoch: int, count: int) -> Tensor:
    """The order of an epoch: a permutation of 0 to ``count`` - 1."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def clip_at(position: int, *, seed: int, count: int) -> int:
    """Which of ``count`` clips comes at a position of the endless run of epochs."""
    epoch, place = divmod(position, count)
    return int(order(seed, epoch, count)[place])


def draw(
    position: int,
    clip: int,
    *,
    seed: int,
    data: DataConfig,
    path: FlowConfig,
    num_tokens: int,
    patch_size: int,
) -> Draw:
    """Draw for the clip at a position of the run.

    In the overfit mode nothing is dropped, the window is the first, and clip i always has the
    noise of seed i, with which the sampler can then be asked for it; only the time varies.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "draw", position))
    crop, video, text = torch.rand(3, generator=generator).tolist()
    time = flow.sample_times(1, path, generator=generator)[0]
    if data.overfit:
        noise = draw_noise([clip], num_tokens, patch_size)[0]
        return Draw(crop=0.0, time=time, noise=noise, keep_video=True, keep_text=True)
    return Draw(
        crop=crop if data.crop == "random" else 0.0,
        time=time,
        noise=torch.randn(num_tokens, patch_size, generator=generator),
        keep_video=video >= data.drop_video,
        keep_text=text >= data.drop_text,
    )
