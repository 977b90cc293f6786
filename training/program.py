"""What all programs of the training do alike: logging, and errors as one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from wavflow_core.errors import WavFlowError

MISUSED, INTERRUPTED = 2, 130


def run_program(name: str, work: Callable[[], int]) -> int:
    """Do a program's work and return its exit code.

    The work's own, 2 if something given cannot be used, 130 if it was interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
    try:
        return work()
    except WavFlowError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished stays.", file=sys.stderr)
        return INTERRUPTED
