"""What all programs of the training do alike: logging, and errors as one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

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


def leave(code: int) -> NoReturn:
    """End the process at once, with everything printed, but without taking the interpreter apart.

    For programs that compute with others. What fsdp remembers keeps gloo's threads alive after
    the process has parted from them; one that lets go of a tensor while the interpreter shuts
    down aborts the process (pytorch/pytorch#179291), and torchrun calls a finished work failed.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def say(level: int) -> None:
    """Let our modules say what is of this level; a program's own module is called __main__."""
    for name in (__package__, "__main__"):
        logging.getLogger(name).setLevel(level)
