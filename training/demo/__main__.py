"""Sound for the bundled clip and two prompts: ``python -m training.demo``, or ``make demo``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wavflow_core import weights
from wavflow_core.commands import progress_bars
from wavflow_core.config import SOLVERS, SamplerConfig
from wavflow_core.encoding import Encoders
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.media.files import make_folder
from wavflow_core.media.image import write_png
from wavflow_core.media.mux import mux
from wavflow_core.media.video import open_video
from wavflow_core.pipeline import LoadedModel, Request, encode, generate, load_model

from ..evaluation.onsets import TOLERANCE, detect_onsets
from ..log import memory_gib
from ..program import run_program
from .sheet import draw_sheet
from .stage import PROMPTS, Stage, read_stage
from .synchrony import Synchrony, measure_synchrony

# Of second order, so that half the usual steps are as exact.
STEPS, SOLVER = 25, "ab2"
CLIP, PICTURE = "clip", "demo.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A sound that was made.

    Attributes:
        clip: The sound.
        sampling: Seconds from noise to sound.
        total: Seconds with the encoding.
    """

    clip: AudioClip
    sampling: float
    total: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Show it, and return the exit code: 0, 2 for what cannot be used, 130 if interrupted."""
    given = build_parser().parse_args(arguments)
    return run_program("demo", lambda: run(given))


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.demo",
        description="Make sound for a clip that the bundled model has never seen and for two "
        "prompts, and measure how far the sound lies from what is seen.",
    )
    default = SamplerConfig()
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="(default: demo)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help=f"(default: {STEPS})")
    parser.add_argument("--solver", choices=SOLVERS, default=SOLVER, help=f"(default: {SOLVER})")
    parser.add_argument(
        "--cfg", type=float, default=default.cfg, help=f"guidance (default: {default.cfg:g})"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    return parser


def run(given: argparse.Namespace) -> int:
    """Make the sounds, write the files and say what came of it.

    Raises:
        WavFlowError: Something bundled is not there, something given cannot be used, or a file
            cannot be written.
    """
    began = time.perf_counter()
    sampler = SamplerConfig(solver=given.solver, steps=given.steps, cfg=given.cfg)
    stage = read_stage()
    requests = {CLIP: Request(video=stage.video, seed=given.seed)}
    requests |= {name: Request(prompt=text, seed=given.seed) for name, text in PROMPTS.items()}
    model = load_model(device=given.device)
    make_folder(given.output)
    encoders = Encoders(model.config, device=model.device, dtype=model.dtype)
    made: dict[str, Made] = {}
    for name, request in requests.items():
        made[name] = make(name, model, encoders, request, sampler)
        write_audio(made[name].clip, given.output / f"{name}.wav")
    mux(stage.video, made[CLIP].clip, given.output / f"{CLIP}.mp4")
    onsets = detect_onsets(made[CLIP].clip)
    synchrony = measure_synchrony(onsets, stage.times)
    picture = draw_sheet(
        open_video(stage.video),
        made[CLIP].clip,
        title="sound for a video that the model has never seen, without a prompt",
        caption=stage.caption,
        events=stage.times,
        onsets=onsets,
        prompts=[(text, made[name].clip) for name, text in PROMPTS.items()],
    )
    write_png(picture, given.output / PICTURE)
    total = time.perf_counter() - began
    sys.stdout.write("\n".join(tell(given.output, made, stage, synchrony, total=total)) + "\n")
    return 0


def make(
    name: str, model: LoadedModel, encoders: Encoders, request: Request, sampler: SamplerConfig
) -> Made:
    """Make one sound, with progress on standard error."""
    began = time.perf_counter()
    with progress_bars(name) as progress:
        features = encode(model.config, request, encoders, progress=progress)
        encoded = time.perf_counter()
        [clip] = generate(model, request, features=features, sampler=sampler, progress=progress)
    ended = time.perf_counter()
    return Made(clip=clip, sampling=ended - encoded, total=ended - began)


def tell(
    folder: Path, made: dict[str, Made], stage: Stage, synchrony: Synchrony, *, total: float
) -> list[str]:
    """What was made, where it is, how well it is in step, and what it took."""
    files = [(f"{CLIP}.mp4", "the clip with its sound", made[CLIP].total)]
    files += [(f"{CLIP}.wav", "its sound alone", None)]
    files += [(f"{name}.wav", f'"{text}"', made[name].total) for name, text in PROMPTS.items()]
    files += [(PICTURE, "frames, waveform with the true events, spectrograms", None)]
    sampling = sum(item.sampling for item in made.values())
    lines = [f"Made by the bundled model ({weights.ABOUT}):"]
    for name, what, seconds in files:
        took = "" if seconds is None else f"{seconds:5.1f} s"
        lines.append(f"  {folder / name!s:<22} {took:>7}  {what}")
    lines.append(tell_synchrony(synchrony))
    memory = memory_gib(torch.device("cpu")) * 1024
    lines.append(
        f"Sampling {sampling:.1f} s, in all {total:.1f} s without the start of Python; peak memory "
        f"{memory:.0f} MiB."
    )
    return lines


def tell_synchrony(synchrony: Synchrony) -> str:
    """How far the sound lies from what is seen."""
    agreement = synchrony.agreement
    line = f"Sync: {agreement.expected} events to see, {agreement.found} onsets to hear"
    if synchrony.median is not None and synchrony.mean is not None:
        line += f"; error median {1000 * synchrony.median:.0f} ms"
        line += f", mean {1000 * synchrony.mean:.0f} ms"
    return f"{line}; F1 at {1000 * TOLERANCE:.0f} ms {agreement.f1:.2f}."


if __name__ == "__main__":
    sys.exit(main())
