"""The benchmark's options: ``python -m training.evaluate --foley-world CHECKPOINT``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.config import SOLVERS, SamplerConfig
from wavflow_core.errors import WavFlowError
from wavflow_core.weights import BUNDLED, bundled

from ..precision import PRECISIONS
from .foley_world_tasks import TASKS
from .report import write_json

WORK = Path("outputs") / "foley_world"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the benchmark."""
    group = parser.add_argument_group(
        "FoleyWorld", "the benchmark on clips whose truth is known; it goes on where it was stopped"
    )

    def file(name: str, default: str, text: str) -> None:
        path = bundled.ASSETS / default
        text = f"{text} (default: assets/{default})"
        group.add_argument(f"--{name}", type=Path, default=path, metavar="FILE", help=text)

    group.add_argument(
        "--foley-world", type=Path, metavar="CHECKPOINT", help="to evaluate; takes no RESULTS"
    )
    file("clip", BUNDLED["clip"].filename, "CLIP that the checkpoint was trained with")
    file("synchformer", BUNDLED["synchformer"].filename, "its Synchformer")
    file("classifier", "foley_classifier.safetensors", "what hears the classes")
    group.add_argument(
        "--work",
        type=Path,
        default=WORK,
        metavar="DIR",
        help=f"keeps clips, features and sounds, 2 MB a clip (default: {WORK})",
    )
    group.add_argument("--clips", type=int, default=500, metavar="N", help="(default: 500)")
    group.add_argument("--split", default="test", help="of the seeds (default: test)")
    group.add_argument(
        "--tasks",
        nargs="*",
        choices=tuple(TASKS),
        default=tuple(TASKS),
        metavar="TASK",
        help=f"of {', '.join(TASKS)} (default: all; none gives the real sound's figures)",
    )
    sampler = SamplerConfig()
    group.add_argument("--solver", choices=SOLVERS, default=sampler.solver)
    group.add_argument("--steps", type=int, default=sampler.steps)
    group.add_argument("--cfg", type=float, default=sampler.cfg, help="guidance strength")
    group.add_argument(
        "--cfg-end", type=float, metavar="T", help="(default: what the checkpoint says)"
    )
    group.add_argument("--noise-shift", type=float, metavar="K", help="(default: as trained)")
    group.add_argument("--seed", type=int, default=0, help="of the first noise (default: 0)")
    group.add_argument("--weights", default="auto", help="auto, live, ema or ema2 (default: auto)")
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="(default: 16 on a card, 2 on a processor)"
    )
    group.add_argument("--jobs", type=int, default=1, help="processes that make clips (default: 1)")
    group.add_argument("--device", default="auto", help="(default: auto)")
    group.add_argument(
        "--matrices",
        choices=PRECISIONS,
        default="fp32",
        help="multiplied in bf16 where a processor can: 1.5 times as fast (default: fp32)",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="the network, in two minutes: 1.6 times as fast then (needs a C++ compiler)",
    )


def run(given: argparse.Namespace) -> None:
    """Evaluate a checkpoint as the options say, and write table and report.

    Raises:
        WavFlowError: Something given cannot be used.
    """
    try:  # who does not make clips needs neither pymunk nor pillow
        from .foley_world_benchmark import Files, Settings, evaluate
    except ImportError as error:
        raise WavFlowError(
            f"FoleyWorld needs more ({error}): pip install -r training/requirements.txt"
        ) from error
    sampler = SamplerConfig(
        solver=given.solver,
        steps=given.steps,
        cfg=given.cfg,
        cfg_end=given.cfg_end,
        noise_shift=given.noise_shift,
    )
    files = Files(
        checkpoint=given.foley_world,
        clip=given.clip,
        synchformer=given.synchformer,
        classifier=given.classifier,
        work=given.work,
    )
    settings = Settings(
        split=given.split,
        count=given.clips,
        tasks=tuple(given.tasks),
        sampler=sampler,
        seed=given.seed,
        weights=given.weights,
        batch_size=given.batch_size,
        jobs=given.jobs,
        device=given.device,
        matrices=given.matrices,
        compile=given.compile,
    )
    with logging_redirect_tqdm([logging.root]):
        report, text = evaluate(files, settings)
    if given.output is not None:
        write_json(report, given.output)
    sys.stdout.write(text + "\n")
