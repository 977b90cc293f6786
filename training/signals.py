"""Stopping between two steps when asked to."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.made = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; the second one interrupts at once."""
    request = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        if request.made:
            raise KeyboardInterrupt
        request.made = True
        name = signal.Signals(number).name
        logger.warning("%s: stopping when the work at hand is done; once more stops now.", name)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
