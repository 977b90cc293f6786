"""Options that the programs for both encoders have."""

from __future__ import annotations

import argparse
from pathlib import Path


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
    parser.add_argument("--steps", type=int, default=steps, help=f"(default: {steps})")
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, help=f"clips (default: {batch_size})"
    )
    parser.add_argument("--lr", type=float, default=lr, help=f"(default: {lr:g})")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes that decode (default: 2)")
    parser.add_argument("--device", default="auto", help="(default: auto)")
    parser.add_argument(
        "--license", default="Apache-2.0", help="of the weights (default: Apache-2.0)"
    )
