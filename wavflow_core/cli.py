"""The command line: ``wavflow ...``, or ``python -m wavflow_core ...``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from . import commands
from .checkpoint import WEIGHTS
from .config import SOLVERS
from .devices import DTYPES
from .errors import WavFlowError
from .outputs import FORMATS
from .pipeline import DEFAULT_LOUDNESS
from .presets import PRESETS

MISUSED, INTERRUPTED = 2, 130
OWN_ENCODERS = "the checkpoint's own, bundled or where `download` puts them"

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: done; 1: some jobs of a batch failed; 2: something given cannot be used; 130: interrupted.
    """
    parser = build_parser()
    given = parser.parse_args(arguments)
    level = logging.DEBUG if given.verbose else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__).setLevel(level)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except WavFlowError as error:
        print(f"wavflow: error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print("wavflow: interrupted; what was finished stays.", file=sys.stderr)
        return INTERRUPTED


def entry_point() -> None:
    """The console script."""
    exit_with(main)


def exit_with(program: Callable[[], int]) -> NoReturn:
    """Run a program and leave with its exit code, also where its reader has left before."""
    try:
        code = program()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads our output has read enough; nothing more goes there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="wavflow", description="Sound for video and text, made directly as a waveform."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(subparsers)
    _add_features(subparsers)
    _add_init(subparsers)
    _add_convert(subparsers)
    _add_info(subparsers)
    _add_download(subparsers)
    return parser


def _add_generate(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "generate",
        help="make sound for a video, a prompt or both",
        description="Make sound for a video, a prompt or both. With --csv or --folder, for many.",
    )
    parser.set_defaults(run=commands.generate)
    _add_model(parser)
    _add_source(parser)
    add_encoders(parser, default=OWN_ENCODERS)
    batch = parser.add_argument_group("many at once (--output is then a folder)")
    batch.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="rows of video_path, caption, video_exist, text_exist and optionally id",
    )
    batch.add_argument("--folder", type=Path, metavar="DIR", help="all videos of a folder")
    batch.add_argument(
        "--format",
        default=".wav",
        choices=FORMATS,
        help="kind of the files of a batch; .mp4 puts the sound to the video (default: .wav)",
    )
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, default=50, help="(default: 50)")
    sampling.add_argument("--cfg", type=float, default=4.5, help="guidance (default: 4.5)")
    sampling.add_argument(
        "--cfg-end",
        type=float,
        metavar="T",
        help="time from 0 to 1 from which on nothing is guided (default: the checkpoint's)",
    )
    sampling.add_argument("--solver", choices=SOLVERS, default="euler", help="(default: euler)")
    sampling.add_argument(
        "--noise-shift",
        type=float,
        help="above 1: more steps near the noise (default: as trained)",
    )
    sampling.add_argument("--seed", type=int, default=0, help="(default: 0)")
    sampling.add_argument(
        "--count", type=int, default=1, help="variations, with seeds counting up (default: 1)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="sound file, or a video file for the video with the new sound; the suffix decides "
        "(default: beside you, named after the video)",
    )
    output.add_argument(
        "--loudness",
        type=_loudness,
        default=DEFAULT_LOUDNESS,
        help=f"LUFS, or none for the model's own level (default: {DEFAULT_LOUDNESS:g})",
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _add_features(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "features",
        help="extract features to a file",
        description="Encode a video, prompts or both, and save the features for later.",
    )
    parser.set_defaults(run=commands.features)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint that the features are for: its window, and a check of the encoders "
        "(default: the bundled one, unless encoders are given)",
    )
    _add_source(parser, features=False)
    add_encoders(parser, default=OWN_ENCODERS)
    add_device(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _add_init(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "init",
        help="write an untrained checkpoint or encoder",
        description="Write untrained weights: a model to train, or small encoders to try with.",
    )
    parser.set_defaults(run=commands.init)
    models, encoders = ", ".join(PRESETS), ", ".join(commands.ENCODER_PRESETS)
    parser.add_argument(
        "--preset",
        required=True,
        metavar="NAME",
        help=f"a model ({models}) or an encoder ({encoders})",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--clip",
        metavar="FILE",
        help="CLIP to train with: its features of the empty caption go into a model",
    )
    parser.add_argument("--synchformer", metavar="FILE", help="Synchformer to train with")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _add_convert(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="turn a .pth checkpoint into safetensors",
        description="Turn a checkpoint of the published system into safetensors.",
    )
    parser.set_defaults(run=commands.convert)
    parser.add_argument("input", type=Path, metavar="INPUT.pth")
    parser.add_argument("output", type=Path, metavar="OUTPUT.safetensors")
    _add_checkpoint_choices(parser)
    parser.add_argument("--data", help="name of the data trained on, to be kept in the file")
    parser.add_argument("--license", help="licence of the weights, to be kept in the file")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _add_info(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "info",
        help="say what a file is",
        description="Say what a weights, features or media file is, or what is bundled.",
    )
    parser.set_defaults(run=commands.info)
    parser.add_argument("file", type=Path, nargs="?", help="(default: the bundled weights)")


def _add_download(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "download",
        help="fetch the weights of an encoder",
        description="Fetch a known weights file; this is the only command that uses the network.",
    )
    parser.set_defaults(run=commands.download)
    parser.add_argument("name", nargs="?", help="which file; leave it out for the list")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to (default: see list)")


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="(default: the bundled small model)"
    )
    _add_checkpoint_choices(group)
    add_device(group)


def _add_checkpoint_choices(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--weights",
        choices=WEIGHTS,
        default="auto",
        help="of a .pth: live weights or an average; auto takes the average once it has converged",
    )
    group.add_argument("--sample-rate", type=int, help="of a .pth, in Hz")
    group.add_argument("--preset", metavar="NAME", help="of a .pth, instead of --sample-rate")


def add_device(group: argparse._ActionsContainer) -> None:
    """Options for where to compute and in which type."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    group.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", *DTYPES),
        help="(default: auto, which is bf16 on cuda and fp32 elsewhere)",
    )


def _add_source(parser: argparse.ArgumentParser, *, features: bool = True) -> None:
    group = parser.add_argument_group("what to make a sound for" if features else "what to encode")
    group.add_argument("--video", type=Path, metavar="FILE")
    group.add_argument("--prompt", default="", metavar="TEXT", help="what should be heard")
    group.add_argument(
        "--negative-prompt", default="", metavar="TEXT", help="what should not be heard"
    )
    group.add_argument(
        "--start", type=float, default=0.0, metavar="SECONDS", help="in the video (default: 0)"
    )
    group.add_argument(
        "--duration",
        type=float,
        metavar="SECONDS",
        help="default: the video's rest, at most the window trained on",
    )
    if features:
        group.add_argument(
            "--features", type=Path, metavar="FILE", help="features extracted earlier"
        )


def add_encoders(
    parser: argparse.ArgumentParser, *, default: str = "looked for where `download` puts them"
) -> None:
    """Options for the encoders' files."""
    group = parser.add_argument_group(f"encoders (default: {default})")
    group.add_argument("--clip", metavar="FILE")
    group.add_argument("--synchformer", metavar="FILE")
    group.add_argument(
        "--models",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder to look in for encoders; may be given several times",
    )


def _loudness(text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        message = f"{text!r} is neither a number of LUFS nor none"
        raise argparse.ArgumentTypeError(message) from None
