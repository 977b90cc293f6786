"""The same work for many items, in one process or several."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from wavflow_core.errors import ConfigError, WavFlowError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

AHEAD = 4  # items that wait for each process


def check_jobs(jobs: int) -> None:
    """Find out before the work whether so many processes can be had.

    Raises:
        ConfigError: They are fewer than one.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs!r}; it must be 1 or more processes.")


def in_processes(
    work: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, jobs: int
) -> Iterator[ResultT]:
    """Do the work for all items.

    Args:
        work: What is done; with several processes it is sent to them, and so are its results.
        items: What it is done for.
        jobs: Processes; with one, all is done in this one.

    Yields:
        The results in the order of the items, each as soon as it and those before are there.

    Raises:
        ConfigError: There are fewer than one process.
        WavFlowError: A process has died, or the work raised it.
    """
    check_jobs(jobs)
    if jobs == 1 or len(items) < 2:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(
        min(jobs, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
    )
    waiting: deque[Future[ResultT]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WavFlowError(
            "A process has died, perhaps for want of memory; the same command goes on: give fewer "
            "--jobs."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """One thread each, and Ctrl-C is the first process's to handle."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
