"""What the programs for both encoders do alike: options and reading."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from ..config import OptimConfig
from .looks import Looks, LookSettings, read_looks


def add_options(parser: argparse.ArgumentParser, *, steps: int, batch_size: int, lr: float) -> None:
    """Add them, with the defaults of one program."""
    parser.add_argument("manifest", type=Path, help="clips with video, sound and captions")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="for decoded clips, 2 MB each"
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of each clip that are used (default: 4)"
    )
    add_optim_options(parser, steps=steps, batch_size=batch_size, lr=lr)
    parser.add_argument("--jobs", type=int, default=2, help="processes that decode (default: 2)")
    parser.add_argument("--device", default="auto", help="(default: auto)")
    parser.add_argument(
        "--license", default="Apache-2.0", help="of the weights (default: Apache-2.0)"
    )


def add_optim_options(
    parser: argparse.ArgumentParser, *, steps: int, batch_size: int, lr: float, what: str = "clips"
) -> None:
    """Those of how a small network learns, which :func:`optim_of` reads, and the seed.

    Args:
        parser: Takes them.
        steps: By default.
        batch_size: By default.
        lr: By default.
        what: A batch is made of.
    """
    parser.add_argument("--steps", type=int, default=steps, help=f"(default: {steps})")
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, help=f"{what} (default: {batch_size})"
    )
    parser.add_argument("--lr", type=float, default=lr, help=f"(default: {lr:g})")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")


def looks_of(given: argparse.Namespace) -> Looks:
    """The decoded clips that the options name, enough for a batch.

    Raises:
        WavFlowError: They cannot be read, or are too few.
    """
    return read_looks(
        given.manifest,
        given.cache,
        LookSettings(duration=given.seconds),
        jobs=given.jobs,
        at_least=given.batch_size,
    )


def made_from_looks(given: argparse.Namespace, looks: Looks) -> dict[str, object]:
    """What decides about the weights beside the optimizer, see :func:`~.fit.fit`."""
    told = json.dumps([looks.ids, looks.captions])
    clips = hashlib.sha256(told.encode()).hexdigest()[:16]
    return {"seed": given.seed, "seconds": given.seconds, "clips": clips}


def optim_of(
    given: argparse.Namespace, *, weight_decay: float, warmup_steps: int = 300
) -> OptimConfig:
    """How the weights move, as the options say; to be asked before the long work.

    Args:
        given: The options.
        weight_decay: Of weights with two axes or more.
        warmup_steps: At the most; otherwise a tenth of the steps.

    Raises:
        ConfigError: An option is out of range.
    """
    return OptimConfig(
        steps=given.steps,
        batch_size=given.batch_size,
        lr=given.lr,
        weight_decay=weight_decay,
        warmup_steps=min(warmup_steps, given.steps // 10),
        schedule="cosine",
    )
