"""A state of the training as a checkpoint: ``python -m training.export STATE -o FILE``.

The checkpoint carries all settings and where it comes from, so that the nodes and the command line
load it without any further argument.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from wavflow_core.checkpoint import Checkpoint, Provenance, write_checkpoint
from wavflow_core.devices import DTYPES
from wavflow_core.errors import CheckpointError
from wavflow_core.tensor_files import check_file

from .ema import first_converged
from .program import run_program
from .state import State, latest_state, read_state

logger = logging.getLogger(__name__)

CHOICES = ("auto", "live", "ema", "ema2")
STORED = ("fp32", "fp16")


def export_state(
    path: Path,
    output: Path,
    *,
    choice: str = "auto",
    data: str | None = None,
    license: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Provenance:
    """Write the weights of a state as a checkpoint.

    Args:
        path: A state, or a folder, of which the newest is taken.
        output: File ending in ``.safetensors``.
        choice: ``live``, ``ema`` or ``ema2`` (the first or second average), or ``auto``: the first
            average that has forgotten its start, and otherwise the live weights.
        data: Name of the data; None: as the run's settings say.
        license: Licence of the weights, likewise.
        dtype: Type to store them in.

    Returns:
        What the checkpoint says about itself.

    Raises:
        CheckpointError: The state cannot be read or lacks what was asked for.
        MediaError: The output cannot be written.
    """
    state = latest_state(path) if path.is_dir() else read_state(check_file(path))
    if state is None:
        raise CheckpointError(f"{str(path)!r} holds no state-….safetensors; train first.")
    index = _choose(state, choice)
    average = None if index is None else state.averages[index]
    tensors = state.tensors("model")
    if index is not None:
        tensors |= state.tensors(f"ema{index}")
    provenance = Provenance(
        step=state.progress.step,
        weights="live" if average is None else "ema",
        ema_decay=None if average is None else average.decay,
        data=data or state.config.data.name,
        license=license or state.config.data.license,
    )
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    beyond = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if beyond:
        raise CheckpointError(f"{beyond[0]} has weights that {dtype} cannot hold; take fp32.")
    write_checkpoint(
        Checkpoint(config=state.config.wavflow, tensors=tensors, provenance=provenance), output
    )
    logger.info("Wrote %s: %s weights of step %d.", output, provenance.weights, provenance.step)
    return provenance


def _choose(state: State, choice: str) -> int | None:
    """Index of the average, or None for the live weights."""
    if choice == "live":
        return None
    if choice == "auto":
        return first_converged(info.start_share for info in state.averages)
    index = ("ema", "ema2").index(choice)
    if index >= len(state.averages):
        raise CheckpointError(
            f"{str(state.path)!r} has {len(state.averages)} averages, so no {choice!r}; ask for "
            "'auto' or 'live'."
        )
    return index


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Write a checkpoint for the nodes and the command line.",
    )
    parser.add_argument("state", type=Path, help="a state, or the folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--weights", choices=CHOICES, default="auto")
    parser.add_argument("--data", help="name of the data trained on (default: data.name)")
    parser.add_argument("--license", help="licence of the weights (default: data.license)")
    parser.add_argument(
        "--dtype",
        choices=STORED,
        default="fp32",
        help="to store them in; fp16 is half as large (default: fp32)",
    )
    given = parser.parse_args(arguments)

    def work() -> int:
        export_state(
            given.state,
            given.output,
            choice=given.weights,
            data=given.data,
            license=given.license,
            dtype=DTYPES[given.dtype],
        )
        return 0

    return run_program("training.export", work)


if __name__ == "__main__":
    sys.exit(main())
