"""A training run in memory, and what is done to it now and then: validate, sample, save."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from wavflow_core.batch import Failure
from wavflow_core.errors import WavFlowError
from wavflow_core.media.files import make_folder

from .build import share_out, start_model
from .config import TrainConfig
from .data import Clips, readable
from .distributed import World
from .ema import Average
from .event_network import load_event_network
from .export import export_state
from .failures import Failures
from .lock import only_run_in
from .log import RunLog
from .optim import make_optimizer
from .perceptual_loss import PerceptualLoss
from .samples import choose_average, gather_weights, write_samples
from .settings import write_config
from .sources import adopt_encoders, digest, read_rows, read_training_rows
from .state import Progress, latest_state, remove_left_over, restore, save_state
from .step import TrainingStep

logger = logging.getLogger(__name__)

MODEL_NAME = "model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """Everything that a training step touches.

    Attributes:
        config: All settings.
        folder: Where it writes.
        world: The processes.
        clips: What is trained on.
        data: Digest of those.
        held_out: What it is validated on, if there is anything.
        failures: Clips that could not be used, of all processes.
        unreported: Those of this process that the others have not heard of.
        model: The network.
        stepper: The network with its loss, wrapped for the processes.
        optimizer: Moves the weights.
        averages: Of the weights.
        log: On the process that writes.
    """

    config: TrainConfig
    folder: Path
    world: World
    clips: Clips
    data: str
    held_out: Clips | None
    failures: Failures
    unreported: list[Failure]
    model: nn.Module
    stepper: nn.Module
    optimizer: torch.optim.Optimizer
    averages: list[Average]
    log: RunLog | None


@contextlib.contextmanager
def hold_folder(folder: Path, world: World) -> Iterator[None]:
    """Make a run's folder and keep other runs out of it.

    Raises:
        WavFlowError: It cannot be written, or another run works in it.
    """
    with contextlib.ExitStack() as stack:
        if world.is_main:
            make_folder(folder)
            stack.enter_context(only_run_in(folder))
            remove_left_over(folder)
        world.barrier()
        yield


def set_up(config: TrainConfig, folder: Path, world: World) -> tuple[Run, Progress]:
    """Read the data's tables, and build everything new or as the newest state in the folder says.

    Raises:
        WavFlowError: Something given cannot be used.
    """
    rows, failures = read_training_rows(config.data)
    config = adopt_encoders(config, rows)
    clips = Clips(rows, config)
    data = digest(clips.rows)
    saved = latest_state(folder)
    model = start_model(config, saved, clips, data=data).to(world.device)
    step = TrainingStep(
        model,
        config.flow,
        loss=config.loss,
        perceptual=_perceptual(config, world),
        audio=config.audio,
        precision=config.execution.precision,
    )
    stepper = share_out(step, config.execution, world)
    optimizer = make_optimizer(model, config.optim, device=world.device)
    averages = [Average(model, decay=decay) for decay in config.ema.decays]
    progress = restore(saved, model, optimizer, averages) if saved else Progress()
    _check_alike(world, progress, data)
    held_out = _held_out(config)
    log = None
    if world.is_main:
        write_config(config, folder / "config.yaml")
        log = RunLog(folder, begin=progress.step, tensorboard=config.output.tensorboard)
    run = Run(
        config=config,
        folder=folder,
        world=world,
        clips=clips,
        data=data,
        held_out=held_out,
        failures=failures,
        unreported=[],
        model=model,
        stepper=stepper,
        optimizer=optimizer,
        averages=averages,
        log=log,
    )
    return run, progress


def _check_alike(world: World, progress: Progress, data: str) -> None:
    """See that all processes go on from the same state with the same clips.

    Raises:
        WavFlowError: They do not, as where each machine writes to a disk of its own.
    """
    found = world.gather((progress.step, data))
    if any(other != found[0] for other in found):
        told = ", ".join(f"{n}: {step} ({clips})" for n, (step, clips) in enumerate(found))  # pyright: ignore
        raise WavFlowError(
            "The processes do not begin alike (number: step, digest of the clips): "
            f"{told}. All machines must see the same data and the same --output."
        )


def share_failures(run: Run) -> None:
    """Tell all processes of the clips that one could not read.

    Raises:
        WavFlowError: They have become too many; all processes raise it.
    """
    for found in run.world.gather(list(run.unreported)):
        assert isinstance(found, list)
        for failure in found:
            run.failures.add(failure)
    run.unreported.clear()


def validate(run: Run, progress: Progress) -> None:
    """Log the validation loss of the weights and of their average.

    Every clip always has the same noise and time, and nothing is dropped, so that the figures of
    a run and of another with the same flow settings can be compared.
    """
    if run.held_out is None:
        return
    values = {"validation_loss": _mean_loss(run, run.held_out)}
    average = choose_average(run.averages)
    if average is not None:
        with average.in_place_of(run.model):
            values["validation_loss_ema"] = _mean_loss(run, run.held_out)
    if run.log:
        run.log.scalars(progress.step, values)


def sample(run: Run, progress: Progress) -> None:
    """Write sounds for the first clips held out, or else trained on."""
    weights = gather_weights(run.model, choose_average(run.averages))
    if run.log:
        write_samples(
            weights,
            run.held_out or run.clips,
            run.folder,
            step=progress.step,
            device=run.world.device,
            log=run.log,
        )
    run.world.barrier()


def save(run: Run, progress: Progress) -> None:
    """Write the state."""
    save_state(
        run.folder,
        world=run.world,
        config=run.config,
        progress=progress,
        data=run.data,
        model=run.model,
        optimizer=run.optimizer,
        averages=run.averages,
    )


def conclude(run: Run) -> None:
    """Write a checkpoint of the newest state, for the nodes and the command line.

    Raises:
        WavFlowError: It cannot be written.
    """
    if run.world.is_main:
        export_state(run.folder, run.folder / MODEL_NAME)


def _perceptual(config: TrainConfig, world: World) -> PerceptualLoss | None:
    if config.loss.perceptual is None:
        return None
    network = load_event_network(config.loss.perceptual).to(world.device)
    return PerceptualLoss(network, rate=config.audio.sample_rate)


def _held_out(config: TrainConfig) -> Clips | None:
    """Clips to validate on that can be read; all processes find the same."""
    if not config.data.validation:
        return None
    share = config.data.max_failures
    data = replace(config.data, crop="start", drop_video=0.0, drop_text=0.0, overfit=0, workers=0)
    rows, failures = read_rows(data.validation, max_failures=share, setting="data.validation")
    clips, broken = readable(
        Clips(rows, replace(config, data=data)), config.output.validation_clips
    )
    for failure in broken:
        failures.add(failure)
    return clips if len(clips) else None


@torch.no_grad()
def _mean_loss(run: Run, clips: Clips) -> float:
    """Mean loss over the clips; each process computes its share, all as many batches."""
    world = run.world
    count = len(clips)
    total = torch.zeros(2, dtype=torch.float64)
    run.stepper.eval()
    for turn in range(math.ceil(count / world.size)):
        position = turn * world.size + world.rank
        batch = clips.at(position % count, position % count).to(world.device)
        if position < count:
            total += torch.tensor([float(run.stepper(batch).sum()), 1.0], dtype=torch.float64)
        else:
            run.stepper(batch)  # the others need this process to share weights out
    run.stepper.train()
    total = world.sum(total)
    return float(total[0] / total[1])
