"""Samples that had to be left out: each has an id, a reason, a count and a limit."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path

from wavflow_core.batch import Failure
from wavflow_core.errors import ConfigError, WavFlowError

from .manifest import write_table

logger = logging.getLogger(__name__)

# Below so many failures a share of a small set says nothing.
ALWAYS_ALLOWED = 3


class Failures:
    """Collects what failed, says it once in the log, and stops where it becomes too much.

    Args:
        total: Samples in all.
        share: The largest share of them that may fail, 0 to 1; a few may always, except at 0.

    Raises:
        ConfigError: The share is out of range.
    """

    def __init__(self, total: int, *, share: float) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"The share that may fail is {share!r}; allowed: 0 to 1.")
        self.total = total
        self.allowed = max(math.floor(share * total), ALWAYS_ALLOWED if share else 0)
        self._reasons: dict[str, str] = {}

    def add(self, failure: Failure) -> None:
        """Count a sample, unless it is known already.

        Raises:
            WavFlowError: More have failed than is allowed; the last ones are named.
        """
        if failure.name not in self._reasons:
            self.tell([failure])
            self.check()

    def tell(self, failures: Iterable[Failure]) -> None:
        """Count and name those that are not known yet, however many they are."""
        for failure in failures:
            if failure.name not in self._reasons:
                self._reasons[failure.name] = failure.reason
                logger.warning("Left out %s: %s", failure.name, failure.reason)

    def check(self) -> None:
        """Stop where too many have failed.

        Raises:
            WavFlowError: More have failed than is allowed; the last ones are named.
        """
        if len(self._reasons) > self.allowed:
            last = "; ".join(f"{name}: {why}" for name, why in list(self._reasons.items())[-3:])
            raise WavFlowError(
                f"{len(self._reasons)} of {self.total} samples failed, and {self.allowed} may: "
                f"{last}. Mend the data, or allow a larger share."
            )

    def add_all(self, failures: Iterable[Failure]) -> None:
        """Count several rows of a table; each counts, also where rows share an id.

        Raises:
            WavFlowError: More have failed than is allowed; the last ones are named.
        """
        counts: dict[str, int] = {}
        for failure in failures:
            counts[failure.name] = count = counts.get(failure.name, 0) + 1
            name = failure.name if count == 1 else f"{failure.name} ({count})"
            self.add(Failure(name=name, reason=failure.reason))

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def found(self) -> list[Failure]:
        """All of them, in the order in which they came."""
        return [Failure(name=name, reason=reason) for name, reason in self._reasons.items()]


def write_failures(failures: Iterable[Failure], path: str | os.PathLike[str]) -> None:
    """Write ids and reasons as a table, whole or not at all.

    Raises:
        MediaError: The folder is missing or cannot be written.
    """
    # Names of files need not be valid text.
    cells = ((_text(failure.name), _text(failure.reason)) for failure in failures)
    write_table(path, ("id", "reason"), cells)


def note_failure(failure: Failure, path: Path) -> None:
    """Append an id and a reason to a file that outlives us and that others may read meanwhile.

    Raises:
        WavFlowError: The file cannot be written.
    """
    try:
        with path.open("a", encoding="ascii") as file:
            file.write(json.dumps([failure.name, failure.reason]) + "\n")
    except OSError as error:
        raise WavFlowError(f"Cannot write {str(path)!r}: {error.strerror}.") from error


def read_notes(path: Path) -> list[Failure]:
    """What :func:`note_failure` wrote; a line that is not whole yet is left out."""
    try:
        lines = path.read_text(encoding="ascii").splitlines(keepends=True)
    except OSError:  # deleted while we looked
        return []
    whole = (json.loads(line) for line in lines if line.endswith("\n"))
    return [Failure(name=name, reason=reason) for name, reason in whole]


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
