"""Making many clips at a time."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from wavflow_core.errors import WavFlowError

from .clip import ClipConfig
from .storage import Line, write_clip

AHEAD = 4  # clips that wait for each process


def made(seeds: Sequence[int], config: ClipConfig, folder: Path, *, jobs: int) -> Iterator[Line]:
    """Make clips in one or several processes.

    Args:
        seeds: Of the clips.
        config: How they are made.
        folder: Where their files go.
        jobs: Processes; with one, all is done in this one.

    Yields:
        What is known of each clip, once its files are there, in the order of the seeds.

    Raises:
        WavFlowError: A process has died, or a file cannot be written.
    """
    if jobs == 1 or len(seeds) < 2:
        for seed in seeds:
            yield write_clip(seed, config, folder)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(seeds)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
    )
    waiting: deque[Future[Line]] = deque()
    try:
        for seed in seeds:
            waiting.append(pool.submit(write_clip, seed, config, folder))
            if len(waiting) >= AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WavFlowError(
            "A process that makes clips has died, perhaps for want of memory; the same command "
            "goes on: give fewer --jobs."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """One thread each, and Ctrl-C is the first process's to handle."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
