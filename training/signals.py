"""Stopping between two steps when asked to."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Launchers pass on signals that we had already; a signal this much later ends us at once.
PATIENCE = 3.0  # seconds


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.made = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; one 3 seconds later interrupts at once.

    What stops a whole group of processes, as schedulers do, reaches each of them twice: by itself
    and through their launcher.
    """
    request = StopRequest()
    first = 0.0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal first
        if not request.made:
            request.made, first = True, time.monotonic()
            name = signal.Signals(number).name
            logger.warning(
                "%s: stopping when the work at hand is done; again after %.0f s stops now.",
                *(name, PATIENCE),
            )
        elif time.monotonic() > first + PATIENCE:
            raise KeyboardInterrupt

    with handling_signals(handle):
        yield request


@contextlib.contextmanager
def handling_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let ``handle`` have SIGINT and SIGTERM inside, and whoever had them before afterwards."""
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
