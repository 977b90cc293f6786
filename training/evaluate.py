"""How good generated sounds are: ``python -m training.evaluate RESULTS [...]``."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.batch import Failure
from wavflow_core.cli import exit_with
from wavflow_core.errors import WavFlowError
from wavflow_core.media.image import write_png
from wavflow_core.outputs import check_outputs

from .evaluation import av_benchmark, foley_world, sheet
from .evaluation.embeddings import compare_embeddings, read_embeddings
from .evaluation.many import evaluate_sounds
from .evaluation.onsets import TOLERANCE
from .evaluation.report import Json, records, summarize, table, values_table, write_json
from .evaluation.sounds import Sound, find_sounds, read_times
from .failures import Failures
from .program import run_program

logger = logging.getLogger(__name__)

DONE, SOME_FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and return the exit code.

    0: done; 1: some sounds failed; 2: something given cannot be used, or too many sounds failed;
    130: interrupted, no report written.
    """
    given = build_parser().parse_args(arguments)
    return run_program("training.evaluate", lambda: run(given), interrupted="no report was written")


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Measure sounds: level, clipping, silence; against their originals or the "
        "times of what is seen: onsets, log-mel spectra; against many: distances of embeddings.",
    )
    parser.add_argument(
        "results", nargs="?", type=Path, help="folder of sounds or videos (ID.wav), or a manifest"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="PATH", help="the originals: a folder or a manifest"
    )
    parser.add_argument(
        "--onsets",
        type=Path,
        metavar="FILE",
        help="when something should begin: .json (id: [seconds]) or .csv (id,time); "
        "default: when it does in the original",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="SECONDS",
        help=f"that onsets may lie apart (default: {TOLERANCE:g})",
    )
    parser.add_argument(
        "--duration", type=float, metavar="SECONDS", help="of each sound (default: all of it)"
    )
    parser.add_argument(
        "--max-failures",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="of the sounds that may fail before it stops; a few always may, except at 0 "
        "(default: 0.05)",
    )
    parser.add_argument(
        "--embeddings",
        nargs=2,
        type=Path,
        metavar=("RESULTS.safetensors", "REFERENCE.safetensors"),
        help="embeddings (M, D), and optionally probabilities (M, C), for Frechet distance, "
        "inception score and KL divergence",
    )
    _add_outputs(parser)
    foley_world.add_options(parser)
    return parser


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output (the table goes to standard output)")
    group.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="all numbers")
    group.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help="results left, originals right, onsets marked",
    )
    group.add_argument(
        "--sheet-rows",
        type=int,
        default=24,
        metavar="N",
        help=f"sounds on the sheet, 1 to {sheet.MAX_ROWS} (default: 24)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")
    benchmark = parser.add_argument_group("av-benchmark")
    benchmark.add_argument(
        "--av-benchmark",
        type=Path,
        metavar="DIR",
        help="new folder for results and originals as it reads them; it runs where installed",
    )
    benchmark.add_argument(
        "--av-benchmark-seconds",
        type=float,
        default=av_benchmark.SECONDS,
        metavar="SECONDS",
        help=f"its window (default: {av_benchmark.SECONDS:g})",
    )
    benchmark.add_argument("--av-benchmark-device", default="cuda", help="(default: cuda)")


def run(given: argparse.Namespace) -> int:
    """Do what was asked for."""
    _check(given)
    if given.foley_world is not None:
        foley_world.run(given)
        return DONE
    report: dict[str, Json] = {"settings": _settings(given)}
    text: list[str] = []
    failed: list[Failure] = []
    broken = False
    if given.embeddings is not None:
        made, real = (read_embeddings(path) for path in given.embeddings)
        values = compare_embeddings(made, real)
        report["embeddings"] = values
        text.append(values_table(values))
    if given.results is not None:
        sounds, originals, failures = _find(given)
        times = None if given.onsets is None else read_times(given.onsets)
        with logging_redirect_tqdm([logging.root]):
            result = evaluate_sounds(
                sounds,
                failures,
                originals=originals,
                times=times,
                duration=given.duration,
                tolerance=given.tolerance,
                rows=0 if given.sheet is None else given.sheet_rows,
            )
        summary = summarize(result.measured)
        report |= {"summary": summary, "clips": records(result.measured)}
        text.append(table(summary))
        if given.av_benchmark is not None:
            done = {item.id for item in result.measured}
            usable = [sound for sound in sounds if sound.id in done]
            benchmark, values = _run_av_benchmark(given, usable, originals, failures)
            text.extend([values_table(values)] if values else [])
            report["av_benchmark"], broken = benchmark, "error" in benchmark
        failed = failures.found
        if given.sheet is not None:
            report["sheet"] = {"file": str(given.sheet), "ids": list(result.drawn)}
            write_png(sheet.stack_rows(list(result.drawn.values())), given.sheet)
    report["failures"] = [{"id": item.name, "reason": item.reason} for item in failed]
    if given.output is not None:
        write_json(report, given.output)
    sys.stdout.write("\n\n".join(text) + "\n")
    if failed:
        logger.warning("%d sounds were left out.", len(failed))
    return SOME_FAILED if failed or broken else DONE


def _check(given: argparse.Namespace) -> None:
    """What can be known to be wrong before the work.

    Raises:
        WavFlowError: There is nothing to do, options contradict each other, or an output cannot
            be written.
    """
    others = given.results is not None or given.embeddings is not None
    if given.foley_world is not None and others:
        raise WavFlowError(
            "--foley-world makes its own sounds; leave out RESULTS and --embeddings."
        )
    if given.foley_world is not None:
        _check_usual(given, ("tolerance", "duration", "max_failures", "sheet_rows"))
    if given.foley_world is None and not others:
        raise WavFlowError(
            "There is nothing to evaluate; give RESULTS, --embeddings or both, or --foley-world."
        )
    needs = {
        "RESULTS": (given.results, ("reference", "onsets", "sheet", "av_benchmark")),
        "--reference": (given.reference, ("av_benchmark",)),
    }
    for needed, (value, options) in needs.items():
        for option in options:
            if value is None and getattr(given, option) is not None:
                raise WavFlowError(f"--{option.replace('_', '-')} needs {needed}; give it too.")
    for name in ("duration", "av_benchmark_seconds", "tolerance"):
        value = getattr(given, name)
        if value is not None and not 0 < value < 1e9:
            raise WavFlowError(
                f"--{name.replace('_', '-')} is {value!r}; it must be above 0 seconds."
            )
    if not 1 <= given.sheet_rows <= sheet.MAX_ROWS:
        raise WavFlowError(f"--sheet-rows is {given.sheet_rows}; it must be 1 to {sheet.MAX_ROWS}.")
    for path, suffix in ((given.output, ".json"), (given.sheet, ".png")):
        if path is not None:
            check_outputs([path], overwrite=given.overwrite, allowed=(suffix,))
    if given.av_benchmark is not None:
        av_benchmark.check_folder(given.av_benchmark)


def _check_usual(given: argparse.Namespace, names: Iterable[str]) -> None:
    """Options that --foley-world has no use for are not to be given beside it.

    Raises:
        WavFlowError: One was.
    """
    usual = build_parser().parse_args([])
    for name in names:
        if getattr(given, name) != getattr(usual, name):
            raise WavFlowError(
                f"--{name.replace('_', '-')} cannot be given with --foley-world, which measures "
                f"whole clips, onsets within {1000 * TOLERANCE:g} ms; leave it out."
            )


def _find(given: argparse.Namespace) -> tuple[list[Sound], dict[str, Sound] | None, Failures]:
    """Results, originals by id, and the failures so far."""
    sounds, found = find_sounds(given.results)
    failures = Failures(len(sounds) + len(found), share=given.max_failures)
    for failure in found:
        failures.add(failure)
    if given.reference is None:
        return sounds, None, failures
    references, unusable = find_sounds(given.reference)
    for failure in unusable:  # counted where a result needs it
        logger.warning("%s: %s", failure.name, failure.reason)
    return sounds, {sound.id: sound for sound in references}, failures


def _run_av_benchmark(
    given: argparse.Namespace,
    sounds: Iterable[Sound],
    originals: Mapping[str, Sound] | None,
    failures: Failures,
) -> tuple[dict[str, Json], dict[str, float]]:
    """What the report says of it, and its numbers where it ran."""
    seconds = given.av_benchmark_seconds
    try:
        layout, failed = av_benchmark.write_layout(
            sounds, given.av_benchmark, originals=originals or {}, seconds=seconds
        )
    except WavFlowError as error:  # what was measured until here is not lost for it
        logger.error("%s", error)
        return {"folder": str(given.av_benchmark), "error": str(error)}, {}
    for failure in failed:
        failures.add(failure)
    typed = av_benchmark.commands(layout, seconds=seconds)
    report: dict[str, Json] = {"folder": str(layout.folder), "commands": typed}
    if not av_benchmark.is_installed():
        logger.warning(
            "av-benchmark is not installed here; get it from %s. The folders are ready; compare "
            "them in its checkout:\n  %s",
            *(av_benchmark.URL, "\n  ".join(typed)),
        )
        return report, {}
    try:
        values = av_benchmark.run(layout, seconds=seconds, device=given.av_benchmark_device)
    except WavFlowError as error:
        logger.error("%s", error)
        return {**report, "error": str(error)}, {}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    return {**report, "values": finite}, values


def _settings(given: argparse.Namespace) -> dict[str, Json]:
    """The options, as the report keeps them."""

    def plain(value: object) -> Json:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value if isinstance(value, int | float | None) else str(value)

    return {name: plain(value) for name, value in vars(given).items()}


if __name__ == "__main__":
    exit_with(main)
