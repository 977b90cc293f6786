"""From a manifest to features: ``python -m training.extract_features MANIFEST.csv -o STORE``.

Several cards: ``torchrun --nproc-per-node 8 -m training.extract_features MANIFEST.csv -o STORE``. A
run that was stopped, or whose manifest has grown, goes on with the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.batch import Failure
from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.cli import add_device, add_encoders
from wavflow_core.devices import choose_dtype
from wavflow_core.errors import FeatureError, WavFlowError
from wavflow_core.features.extractor import frame_requests

from . import extraction_plan as planning
from .decoding import DecodedClips, decode, default_workers
from .distributed import PATIENT, World, connect
from .extraction_plan import Plan
from .failures import Failures, note_failure
from .feature_store import STORAGE, Settings, ShardWriter
from .manifest import Row, read_manifest
from .program import run_program, say
from .signals import PATIENCE, handling_signals
from .towers import Towers, encode, load_towers, save_empty_text

logger = logging.getLogger(__name__)

DEFAULT_DURATION = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the first process finds out for all.

    Attributes:
        plan: All shards.
        todo: Numbers of those to make.
        known: What had failed before.
    """

    plan: Plan
    todo: Sequence[int]
    known: Sequence[Failure]


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract, and return the exit code.

    0: done; 2: something given cannot be used, or too much fails; 130: interrupted.
    """
    given = build_parser().parse_args(arguments)

    def work() -> int:
        with _stopping_on_signals() as let_finish, connect(given.device, timeout=PATIENT) as world:
            if not world.is_main:
                say(logging.ERROR)
            extract(given, world, let_finish)
        return 0

    return run_program("training.extract_features", work, interrupted="the same command goes on")


def extract(given: argparse.Namespace, world: World, let_finish: Callable[[], None]) -> None:
    """Encode all clips of a manifest that the store does not hold yet.

    Args:
        given: The options.
        world: The processes.
        let_finish: Called before the store's tables are written, which no signal shall cut short.

    Raises:
        WavFlowError: Something given cannot be used, or too many clips fail.
    """
    rows, unreadable = read_manifest(given.manifest)
    expected = read_checkpoint(given.checkpoint).config if given.checkpoint else None
    window = expected.audio.window if expected else DEFAULT_DURATION
    duration = window if given.duration is None else given.duration
    settings = Settings(duration=duration, storage=given.storage)
    failures = Failures(len(rows) + len(unreadable), share=given.max_failures)
    with planning.hold(given.output) if world.is_main else contextlib.nullcontext():
        work = _prepare_for_all(given, settings, rows, world)
        failures.add_all((*unreadable, *work.known))
        waiting = {row.id: row for row in rows}
        ids = {id for number in work.todo for id in work.plan.shards[number]}
        towers = load_towers(
            [row for row in rows if row.id in ids],
            expected,
            clip=given.clip,
            synchformer=given.synchformer,
            folders=given.models,
            device=world.device,
            dtype=choose_dtype(given.dtype, world.device),
        )
        plan = planning.with_encoders(
            work.plan,
            given.output,
            clip=towers.clip.config if towers.clip else None,
            sync=towers.synchformer.config if towers.synchformer else None,
        )
        if world.is_main:
            planning.write_plan(plan, given.output)
            save_empty_text(towers, given.output, clip=given.clip, folders=given.models)
        try:
            with _others_there():
                world.barrier()
            mine = work.todo[world.rank :: world.size]
            encode_shards(
                given, plan, mine, rows=waiting, towers=towers, failures=failures, world=world
            )
        finally:
            let_finish()
            if world.is_main:  # what the other processes found counts too
                index = planning.conclude(given.output, plan, rows)
                failures.tell(item for item in index.failures.values() if item.name in waiting)
        failures.check()


def _prepare_for_all(
    given: argparse.Namespace, settings: Settings, rows: Sequence[Row], world: World
) -> Work:
    prepared = prepare(given, settings, rows) if world.is_main else None
    with _others_there():
        work = world.gather(prepared)[0]
    assert isinstance(work, Work)
    return work


def prepare(given: argparse.Namespace, settings: Settings, rows: Sequence[Row]) -> Work:
    """Make the store ready, and find out what is to be done.

    Raises:
        WavFlowError: The store is another's, damaged, or made with other settings.
    """
    store: Path = given.output
    plan = planning.read_plan(store) or Plan(settings=settings)
    plan = replace(plan, settings=planning.merge_settings(plan.settings, settings, store))
    try:
        planning.remove_stale(store)
    except OSError as error:
        raise WavFlowError(f"Cannot write to {str(store)!r}: {error.strerror}.") from error
    index = planning.read_index(store, plan, rows)
    planning.warn_of_changes(index)
    plan = planning.extend(
        plan, rows, index, shard_size=given.shard_size, retry_failed=given.retry_failed
    )
    todo = planning.unfinished(plan, rows, index)
    again = {id for number in todo for id in plan.shards[number]}
    wanted = {row.id for row in rows} - again
    if index.finished:
        planning.write_index(index, store)
    known = [item for item in index.failures.values() if item.name in wanted]
    return Work(plan=plan, todo=todo, known=known)


def encode_shards(
    given: argparse.Namespace,
    plan: Plan,
    numbers: Sequence[int],
    *,
    rows: Mapping[str, Row],
    towers: Towers,
    failures: Failures,
    world: World,
) -> None:
    """Make the shards of this process, one after the other.

    Raises:
        WavFlowError: Too many clips fail, or a shard cannot be written.
    """
    wanted = [rows[id] for n in numbers for id in plan.shards[n] if id in rows]
    duration = plan.settings.duration
    requests = frame_requests(duration, clip=towers.clip, synchformer=towers.synchformer)
    clips = DecodedClips(wanted, requests, check_audio=not given.no_audio_check)
    decoded = decode(clips, workers=default_workers() if given.workers is None else given.workers)
    begun, made = time.perf_counter(), 0
    with (
        logging_redirect_tqdm([logging.root]),
        contextlib.closing(decoded),
        tqdm(total=len(wanted), unit="clip", disable=not (world.is_main and wanted)) as bar,
    ):
        for number in numbers:
            writer = ShardWriter(plan.settings)
            for id in plan.shards[number]:
                # Where the manifest has shrunk; where it grows again, so will the plan.
                if id not in rows:
                    continue
                clip = next(decoded)
                try:
                    writer.add(clip.row, encode(clip, towers, duration))
                    made += 1
                except FeatureError as error:
                    failure = Failure(name=id, reason=str(error))
                    writer.fail(failure)
                    note_failure(failure, planning.notes_path(given.output, world.rank))
                    failures.add(failure)
                bar.update()
            writer.write(planning.shard_path(given.output, number))
            if world.size > 1:
                failures.add_all(planning.noted_failures(given.output))
    with _others_there():
        total = int(world.sum(torch.tensor([made])))  # and with it wait for the slowest
    elapsed = time.perf_counter() - begun
    if total:
        logger.info(
            "Encoded %d clips in %.1f s: %.2f clips/s, %.1f times real time.",
            *(total, elapsed, total / elapsed, total * duration / elapsed),
        )


@contextlib.contextmanager
def _others_there() -> Iterator[None]:
    """Around what processes tell each other.

    Raises:
        WavFlowError: Another has ended before.
    """
    try:
        yield
    except RuntimeError as error:
        raise WavFlowError(
            "Another process of this run has stopped; its message says why, and the same command "
            "goes on."
        ) from error


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM stop us as Ctrl-C does.

    Signals do not cut short the clearing up that follows, unless it takes long.

    Yields:
        Begins the clearing up where no signal did.
    """
    begun: float | None = None

    def let_finish() -> None:
        nonlocal begun
        begun = time.monotonic() if begun is None else begun

    def stop(number: int, frame: FrameType | None) -> None:
        if begun is None:
            let_finish()
            raise KeyboardInterrupt
        if time.monotonic() > begun + PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    with handling_signals(stop):
        yield let_finish


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m training.extract_features",
        description="Encode the clips of a manifest into a store of features; a run that was "
        "stopped goes on with the same command.",
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="STORE")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint that the features are for: its window, and a check of the encoders",
    )
    parser.add_argument(
        "--duration",
        type=float,
        metavar="SECONDS",
        help="of each clip; longer than the window leaves room to crop (default: the window of "
        f"--checkpoint, or {DEFAULT_DURATION:g})",
    )
    parser.add_argument("--storage", choices=STORAGE, default="bf16", help="(default: bf16)")
    parser.add_argument("--shard-size", type=int, default=256, help="clips (default: 256)")
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that decode, of each rank, 0 for none (default: as many as "
        "there are cores for, at most 8)",
    )
    parser.add_argument(
        "--max-failures",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the clips that may fail, 0 to 1 (default: 0.1)",
    )
    parser.add_argument("--retry-failed", action="store_true", help="try what failed once more")
    parser.add_argument(
        "--no-audio-check", action="store_true", help="take clips whose sound cannot be read too"
    )
    add_encoders(parser)
    add_device(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
