"""Batches for the training, in an order that a restart continues, read by processes beside it."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from types import FrameType

import torch
from torch.utils.data import DataLoader, Sampler

from wavflow_core.errors import ConfigError, WavFlowError

from .config import TrainConfig
from .data import Clips, TrainBatch, collate
from .distributed import World

LINGER_SECONDS = 60.0


class Positions(Sampler[list[int]]):
    """Positions of this process's micro-batches, from a step on without end.

    Step s takes the positions s · B to (s + 1) · B - 1, whatever the number of processes; each
    process has one piece of them.
    """

    def __init__(self, config: TrainConfig, world: World, *, first_step: int = 0) -> None:
        self.batch_size = config.optim.batch_size
        self.share = per_process(config, world)
        self.micro = config.optim.micro_batch or self.share
        self.rank, self.first_step = world.rank, first_step

    def __iter__(self) -> Iterator[list[int]]:
        start = self.first_step * self.batch_size + self.rank * self.share
        while True:
            for first in range(start, start + self.share, self.micro):
                yield list(range(first, min(first + self.micro, start + self.share)))
            start += self.batch_size


def per_process(config: TrainConfig, world: World) -> int:
    """Clips of a step that one process computes.

    Raises:
        ConfigError: The batch cannot be dealt out evenly.
    """
    share, rest = divmod(config.optim.batch_size, world.size)
    if rest or share == 0:
        raise ConfigError(
            f"optim.batch_size is {config.optim.batch_size}, which {world.size} processes cannot "
            f"share evenly; give a multiple of {world.size}."
        )
    return share


@contextlib.contextmanager
def open_batches(clips: Clips, world: World, *, first_step: int) -> Iterator[Iterator[TrainBatch]]:
    """Batches of this process from a step on, read beside the training; without end.

    Raises:
        WavFlowError: A process that reads has ended, or nothing can be read.
    """
    leave = multiprocessing.Event()
    try:
        yield iter(make_loader(clips, world, first_step=first_step, leave=leave))
    # Raised wherever the training happens to be, or where a batch on its way breaks off.
    except (RuntimeError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise WavFlowError(
            f"A process that reads clips has ended ({str(error).splitlines()[0]}). Where memory is "
            "the reason, lower data.workers or data.cache_gb; the same command goes on from the "
            "last state."
        ) from error
    finally:
        leave.set()


def make_loader(
    clips: Clips, world: World, *, first_step: int, leave: Event
) -> DataLoader[TrainBatch]:
    """The loader behind :func:`open_batches`; its processes end when ``leave`` is set."""
    workers = clips.config.data.workers
    return DataLoader(
        clips,
        batch_sampler=Positions(clips.config, world, first_step=first_step),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=world.device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=functools.partial(_quiet_worker, leave),
    )


def _quiet_worker(leave: Event, _: int) -> None:
    """A worker leaves stopping to the training, and computes with one thread.

    A signal to the whole group reaches it too; it then lives on until the training needs it no
    more, so that this can end its step and save.
    """

    def linger() -> None:
        leave.wait(LINGER_SECONDS)
        os._exit(0)

    def handle(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=linger, daemon=True).start()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, handle)
    torch.set_num_threads(1)
