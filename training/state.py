"""The state of a training on disk: everything that is needed to go on exactly.

A safetensors file of whole tensors, whatever the number of processes and the strategy, so that a
training may go on with another. There is no state of chance to keep: it follows from the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wavflow_core import tensor_files
from wavflow_core.errors import CheckpointError, ConfigError
from wavflow_core.media.files import left_over
from wavflow_core.strict import from_dict

from .config import TrainConfig
from .distributed import World, laid_out_like, whole
from .ema import Average, trained_parameters

logger = logging.getLogger(__name__)

FORMAT = "wavflow.training"
VERSION = "1"
MOMENTS = ("exp_avg", "exp_avg_sq")
NAME = re.compile(r"state-(\d{8})\.safetensors")


@dataclass(frozen=True, kw_only=True, slots=True)
class AverageInfo:
    """What there is to know about an average beside its tensors; see :class:`~.ema.Average`."""

    decay: float
    updates: int
    start_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a training is.

    Attributes:
        step: Steps done.
        loss_sum: Sum of the losses since the last line of the log.
        loss_count: How many those are.
    """

    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """A state read from disk.

    Attributes:
        path: Its file.
        config: The run that wrote it.
        progress: How far that was.
        averages: The averages it holds.
        data: Digest of the clips it was trained on, in their order.
    """

    path: Path
    config: TrainConfig
    progress: Progress
    averages: tuple[AverageInfo, ...]
    data: str

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """Tensors of the model, of a moment or of an average, by the model's names."""
        prefix = f"{kind}/"

        def rename(name: str) -> str | None:
            return name.removeprefix(prefix) if name.startswith(prefix) else None

        return tensor_files.read_safetensors(self.path, rename=rename)


def latest_state(folder: Path) -> State | None:
    """The newest state in a folder that can be read, if there is one.

    Raises:
        CheckpointError: There are some, and all are damaged or of another version.
    """
    found = _states(folder)
    for path in reversed(found):
        try:
            return read_state(path)
        except CheckpointError as error:
            if path == found[0]:
                raise
            logger.warning("%s Going on from the state before it.", error)
    return None


def read_state(path: Path) -> State:
    """Open a state.

    Raises:
        CheckpointError: There is no such file, or it is damaged, of another kind or version.
    """
    metadata = tensor_files.read_metadata(tensor_files.check_file(path))
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{str(path)!r} is no training state of version {VERSION}, but of format "
            f"{metadata.get('format')!r}, version {metadata.get('version')!r}; give a "
            "state-….safetensors that this version of the training wrote."
        )
    fields = {
        name: tensor_files.json_field(metadata, name, path)
        for name in ("config", "progress", "averages")
    }
    try:
        return State(
            path=path,
            config=from_dict(TrainConfig, fields["config"]),
            progress=from_dict(Progress, fields["progress"]),
            averages=tuple(
                from_dict(AverageInfo, item)  # pyright: ignore[reportArgumentType]
                for item in fields["averages"].values()
            ),
            data=metadata.get("data", ""),
        )
    except ConfigError as error:
        raise CheckpointError(f"{str(path)!r} cannot be used: {error}") from error


def save_state(
    folder: Path,
    *,
    world: World,
    config: TrainConfig,
    progress: Progress,
    data: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: list[Average],
) -> Path:
    """Write a state; all processes must call it, and the first of them writes.

    Then states older than the newest ``output.keep`` go.

    Raises:
        CheckpointError: The disk is full or fails; older states stay.
        MediaError: The folder is missing or cannot be written.
    """
    path = folder / f"state-{progress.step:08d}.safetensors"
    tensors: dict[str, Tensor] = {}
    for name, tensor in named_tensors(model, optimizer, averages):
        complete = whole(tensor)
        if world.is_main:
            tensors[name] = complete.cpu()
    if world.is_main:
        names = [item.name for item in dataclasses.fields(AverageInfo)]
        infos = {
            str(i): {name: getattr(average, name) for name in names}
            for i, average in enumerate(averages)
        }
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "config": json.dumps(config.to_dict()),
            "progress": json.dumps(dataclasses.asdict(progress)),
            "averages": json.dumps(infos),
            "data": data,
        }
        tensor_files.write_safetensors(tensors, metadata, path)
        _remove_old(folder, config.output.keep)
    world.barrier()
    return path


def named_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, averages: list[Average]
) -> list[tuple[str, Tensor]]:
    """All tensors of a training, in an order on which all processes agree."""
    named = [(f"model/{name}", tensor) for name, tensor in model.state_dict().items()]
    for name, parameter in trained_parameters(model).items():
        moments = optimizer.state.get(parameter, {})
        named += [(f"{moment}/{name}", moments[moment]) for moment in MOMENTS if moments]
    for i, average in enumerate(averages):
        named += [(f"ema{i}/{name}", tensor) for name, tensor in average.tensors.items()]
    return named


@torch.no_grad()
def restore(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, averages: list[Average]
) -> Progress:
    """Give the optimizer and the averages what a state holds; the model has its weights already.

    An average whose decay the state does not know begins at the weights as they are now.

    Raises:
        CheckpointError: The state is of another model.
    """
    moments = {moment: state.tensors(moment) for moment in MOMENTS}
    restore_moments(model, optimizer, moments, step=state.progress.step)
    parameters = trained_parameters(model)
    known = {info.decay: (i, info) for i, info in enumerate(state.averages)}
    for average in averages:
        if average.decay in known:
            i, info = known[average.decay]
            average.updates, average.start_share = info.updates, info.start_share
            for name, tensor in state.tensors(f"ema{i}").items():
                if name in parameters:  # not frozen since
                    average.tensors[name] = laid_out_like(tensor, parameters[name].detach())
    return state.progress


@torch.no_grad()
def restore_moments(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    moments: Mapping[str, Mapping[str, Tensor]],
    *,
    step: int,
) -> None:
    """Give AdamW its moments back, by the model's names; a parameter without any begins anew."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for name, parameter in trained_parameters(model).items():
        if name in moments["exp_avg"]:
            place = parameter.device if fused else torch.device("cpu")
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=place),
                **{
                    moment: laid_out_like(tensors[name], parameter)
                    for moment, tensors in moments.items()
                },
            }


def remove_left_over(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for path in left_over(folder, NAME):
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_old(folder: Path, keep: int) -> None:
    for path in _states(folder)[:-keep]:
        with contextlib.suppress(OSError):  # someone reads it just now; it goes the next time
            path.unlink()


def _states(folder: Path) -> list[Path]:
    """States in a folder, the oldest first."""
    return sorted(path for path in folder.glob("state-*") if NAME.fullmatch(path.name))
