"""What all programs of the training do alike: logging, and errors as one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from wavflow_core.errors import WavFlowError

MISUSED, INTERRUPTED = 2, 130


def run_program(
    name: str, work: Callable[[], int], *, interrupted: str = "what was finished stays"
) -> int:
    """Do a program's work and return its exit code.

    Args:
        name: Of the program, as messages call it.
        work: Gives the exit code.
        interrupted: What to say about an interruption.

    Returns:
        The work's own, 2 if something given cannot be used, 130 if it was interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    say(logging.INFO)
    try:
        return work()
    except WavFlowError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {interrupted}.", file=sys.stderr)
        return INTERRUPTED


def say(level: int) -> None:
    """Let our modules say what is of this level; a program's own module is called __main__."""
    for name in (__package__, "__main__"):
        logging.getLogger(name).setLevel(level)
