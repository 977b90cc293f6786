"""Some clips of a data set by what is heard in them, such as for ``data.repeat``.

``python -m training.foley_world.subset FOLDER… --classes bell drum --things 2 -o FILE.csv``
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from wavflow_core.errors import ConfigError
from wavflow_core.media.files import is_file

from ..manifest import Row, check_output, read_manifest, write_manifest
from ..program import run_program
from .classes import CLASSES
from .storage import MANIFEST, TRUTH, read_truth

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a manifest, and return the exit code: 0, or 2 for what cannot be used."""
    given = build_parser().parse_args(arguments)

    def work() -> int:
        check_output(given.output)
        rows = choose(given.folders, classes=given.classes, things=given.things)
        write_manifest(rows, given.output)
        logger.info("Wrote %s: %d clips.", given.output, len(rows))
        return 0

    return run_program("foley_world.subset", work, interrupted="nothing was written")


def choose(folders: Sequence[Path], *, classes: Collection[str], things: int = 1) -> list[Row]:
    """The clips of folders in which at least one of some classes is heard.

    Args:
        folders: As ``python -m training.foley_world`` makes them.
        classes: Any of these will do.
        things: So many of whatever class, at least.

    Returns:
        Rows of the folders' manifests, in their order.

    Raises:
        WavFlowError: A class is not known, a folder holds no finished data set, or no clip is
            such a one.
    """
    unknown = sorted(set(classes) - CLASSES.keys())
    if unknown:
        raise ConfigError(
            f"There is no class {', '.join(map(repr, unknown))}; the classes are "
            f"{', '.join(CLASSES)}."
        )
    rows = [
        row
        for folder in folders
        for row, heard in _clips_of(folder)
        if len(heard) >= things and not heard.isdisjoint(classes)
    ]
    if not rows:
        raise ConfigError(
            f"No clip of {', '.join(map(str, folders))} has {things} or more things and one of "
            f"{', '.join(classes)} among them; give more classes, fewer things or more clips."
        )
    return rows


def _clips_of(folder: Path) -> Iterator[tuple[Row, set[str]]]:
    """The clips of a folder, each with the classes heard in it."""
    if not all(is_file(folder / name) for name in (TRUTH, MANIFEST)):
        raise ConfigError(
            f"{str(folder)!r} lacks {TRUTH} or {MANIFEST}; give a folder that "
            "`python -m training.foley_world` has finished."
        )
    truth = read_truth(folder)
    rows, failures = read_manifest(folder / MANIFEST)
    if failures:
        raise ConfigError(
            f"{str(folder / MANIFEST)!r}: {failures[0].name}: {failures[0].reason} Make the clips "
            "again."
        )
    for row in rows:
        heard = truth.get(row.id, {}).get("classes")
        if not isinstance(heard, list):
            raise ConfigError(
                f"{str(folder / TRUTH)!r} does not say what is heard in {row.id!r}; make the clips "
                "again."
            )
        yield row, {str(name) for name in heard}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.foley_world.subset",
        description="Write a manifest of the clips in which one of some classes is heard, such as "
        "for data.repeat of the training.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of clips")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument(
        "--classes", nargs="+", required=True, metavar="CLASS", help=", ".join(CLASSES)
    )
    parser.add_argument("--things", type=int, default=1, help="at least so many (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
