"""One process or many: who we are, and the few things that processes tell each other.

``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK; without it there is one process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from wavflow_core.devices import choose_device

# A rank may save or draw samples alone for a while before the others hear of it.
TIMEOUT = timedelta(minutes=30)
# Where each works through a share of its own, the slowest may be far behind.
PATIENT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among the others.

    Attributes:
        rank: Its number, 0 for the one that writes.
        size: How many there are.
        device: Where it computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all have made."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """The values added over all processes, which all get; also the argument is changed."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, item: object) -> list[object]:
        """An object of every process, in the order of their ranks, which all get."""
        if self.size == 1:
            return [item]
        items: list[object] = [None] * self.size
        dist.all_gather_object(items, item)
        return items


@contextlib.contextmanager
def connect(device: str = "auto", *, timeout: timedelta = TIMEOUT) -> Iterator[World]:
    """Join the other processes, if there are any, and part from them at the end.

    Args:
        device: As in :func:`~wavflow_core.devices.choose_device`; processes of one machine that
            compute on ``cuda`` take one card each.
        timeout: How long one waits for the others.

    Raises:
        ConfigError: There is no such device here.
    """
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    chosen = choose_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    joined = size > 1 and not dist.is_initialized()
    if joined:
        backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timeout)
    try:
        yield World(rank=rank, size=size, device=chosen)
    finally:
        if joined:
            dist.destroy_process_group()


def local_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds, sharing its memory."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from all processes, which all must ask for it."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy of a whole tensor, on the device of another and shared out as that is."""
    copy = tensor.to(like.device, like.dtype, copy=True)
    if not isinstance(like, DTensor):
        return copy
    # Every process has the whole one, so that nothing need be sent.
    return distribute_tensor(copy, like.device_mesh, like.placements, src_data_rank=None)
