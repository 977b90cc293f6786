"""The training: ``python -m training.train CONFIG.yaml [section.name=value ...]``.

With several processes ``torchrun --nproc-per-node N -m training.train ...``. Read :func:`train`
from top to bottom.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wavflow_core.errors import WavFlowError

from .build import gradient_sync
from .config import TrainConfig
from .data import TrainBatch
from .distributed import World, connect, whole
from .loading import open_batches, per_process
from .log import Throughput, memory_gib
from .optim import lr_at, set_lr
from .program import INTERRUPTED, leave, run_program, say
from .run import Run, conclude, hold_folder, sample, save, set_up, share_failures, validate
from .settings import add_settings, load_config
from .signals import StopRequest, stop_on_signals
from .state import Progress

logger = logging.getLogger(__name__)


def train(config: TrainConfig, folder: Path, world: World, stop: StopRequest) -> bool:
    """Train to the last step, from the newest state in the folder if there is one.

    Args:
        config: All settings.
        folder: Where everything is written; all machines must see the same.
        world: The processes.
        stop: Looked at between two steps; the state is saved before it is granted.

    Returns:
        Whether the last step was reached.

    Raises:
        WavFlowError: Something given cannot be used, or the loss is no longer a number.
    """
    with hold_folder(folder, world):
        run, progress = set_up(config, folder, world)
        with open_batches(run.clips, world, first_step=progress.step) as batches:
            progress = _steps(run, progress, batches, stop)
        finished = progress.step >= run.config.optim.steps
        if finished:
            conclude(run)
        if run.log:
            run.log.close()
    return finished


def _steps(
    run: Run, progress: Progress, batches: Iterator[TrainBatch], stop: StopRequest
) -> Progress:
    """The loop itself, to the last step or until asked to stop."""
    optim, output = run.config.optim, run.config.output
    speed = Throughput()
    with _progress_bar(progress.step, optim.steps, shown=run.world.is_main) as bar:
        while progress.step < optim.steps:
            set_lr(run.optimizer, lr_at(progress.step, optim))
            losses, ids = _backward(run, batches)
            norm = whole(nn.utils.clip_grad_norm_(run.model.parameters(), optim.clip_norm))
            loss, stopping = _agree(run, progress.step, losses, ids, norm, stop)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            for average in run.averages:
                average.update(run.model)

            progress = replace(
                progress,
                step=progress.step + 1,
                loss_sum=progress.loss_sum + loss,
                loss_count=progress.loss_count + 1,
            )
            speed.add(optim.batch_size)
            bar.update()
            last = progress.step == optim.steps
            if _due(progress, output.log_every) or last:
                share_failures(run)
                progress = _write_line(run, progress, norm, speed, bar)
            with speed.paused():
                if _due(progress, output.save_every) or last or stopping:
                    save(run, progress)
                if stopping and not last:
                    break
                if _due(progress, output.validate_every) or (last and output.validate_every):
                    validate(run, progress)
                if _due(progress, output.sample_every):
                    sample(run, progress)
    return progress


def _backward(run: Run, batches: Iterator[TrainBatch]) -> tuple[Tensor, list[str]]:
    """Add up the gradients of this process's clips, in one or more micro-batches.

    Returns:
        Losses ``(clips,)`` and the clips' names. The gradients are those of the mean loss over
        the clips of all processes.
    """
    share = per_process(run.config, run.world)
    losses: list[Tensor] = []
    ids: list[str] = []
    while len(ids) < share:
        batch = next(batches)
        run.unreported.extend(batch.failures)
        ids += batch.ids
        with gradient_sync(run.stepper, on=len(ids) == share):
            each = run.stepper(batch.to(run.world.device))
            # The processes' gradients are averaged, so this is the mean over the whole batch.
            (each.sum() / share).backward()
        losses.append(each.detach())
    return torch.cat(losses), ids


def _agree(
    run: Run, step: int, losses: Tensor, ids: list[str], norm: Tensor, stop: StopRequest
) -> tuple[float, bool]:
    """Tell the processes of one another: the mean loss, and whether one was asked to stop.

    Raises:
        WavFlowError: A loss or a gradient is not a number; the clips are named. The weights have
            not moved, and the states on disk are from before.
    """
    broken = ~torch.isfinite(losses) | ~torch.isfinite(norm)
    values = [float(losses.cpu().double().sum()), float(broken.any()), float(stop.made)]
    total, faults, stops = run.world.sum(torch.tensor(values, dtype=torch.float64)).tolist()
    if not faults:
        return total / run.config.optim.batch_size, stops > 0
    own = [name for name, bad in zip(ids, (~torch.isfinite(losses)).tolist(), strict=True) if bad]
    named = [name for names in run.world.gather(own) for name in names]  # pyright: ignore
    if not named:
        named = [name for names in run.world.gather(ids) for name in names]  # pyright: ignore
    message = (
        f"The loss of step {step + 1} is not a number; its clips are {', '.join(named)}. Look at "
        "them, lower optim.lr, or go on from an earlier state."
    )
    if run.log:
        run.log.event(step + 1, "not a number", message)
    raise WavFlowError(message)


def _due(progress: Progress, every: int) -> bool:
    return every > 0 and progress.step % every == 0


def _write_line(
    run: Run, progress: Progress, norm: Tensor, speed: Throughput, bar: tqdm
) -> Progress:
    """Log the mean loss since the last line and how it goes; the mean begins anew."""
    loss = progress.loss_sum / max(1, progress.loss_count)
    bar.set_postfix(loss=f"{loss:.4g}")
    if run.log:
        numbers = {
            "loss": loss,
            "lr": lr_at(progress.step - 1, run.config.optim),
            "gradient_norm": float(norm),
            "clips_per_second": speed.take(),
            "memory_gib": memory_gib(run.world.device),
            "failed_clips": len(run.failures),
        }
        run.log.scalars(progress.step, numbers)
    return Progress(step=progress.step)


@contextlib.contextmanager
def _progress_bar(done: int, steps: int, *, shown: bool) -> Iterator[tqdm]:
    with (
        logging_redirect_tqdm([logging.root]),
        tqdm(total=steps, initial=done, desc="training", disable=not shown, unit="step") as bar,
    ):
        yield bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: trained to the end; 2: something cannot be used; 130: stopped, with the state saved.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a model; where the output folder holds a state, go on from it.",
    )
    add_settings(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="(default: runs/NAME of the settings)"
    )
    given = parser.parse_intermixed_args(arguments)

    def work() -> int:
        config = load_config(given.config, given.overrides)
        folder = given.output or Path("runs") / given.config.stem
        with connect(config.execution.device) as world, stop_on_signals() as stop:
            if not world.is_main:
                say(logging.ERROR)
            return 0 if train(config, folder, world, stop) else INTERRUPTED

    return run_program("training.train", work)


if __name__ == "__main__":
    leave(main())
