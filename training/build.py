"""The network of a training: where its weights come from, and how processes share the work."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from wavflow_core.errors import ConfigError, WavFlowError
from wavflow_core.features import Features
from wavflow_core.model import WavFlow
from wavflow_core.model.init import initialize
from wavflow_core.model.pass_through import pass_through

from .config import ExecutionConfig, TrainConfig
from .data import Clips
from .distributed import World
from .draws import seed_of
from .empty_text import read_empty_text
from .manifest import Row
from .state import State
from .step import TrainingStep, checkpoint_blocks, compile_blocks, transformer_blocks
from .warm_start import warm_start

logger = logging.getLogger(__name__)

# Clips whose features tell how the conditions are spread.
MEASURED = 512


def start_model(config: TrainConfig, saved: State | None, clips: Clips, *, data: str) -> WavFlow:
    """The network on the CPU: as it was saved, warm-started, or new.

    Args:
        config: The run.
        saved: State to go on from, if there is one.
        clips: The data, beside whose features the empty caption's may lie.
        data: Their digest.

    Raises:
        CheckpointError: The file to start from cannot be used.
        ConfigError: The state is of another model or sound, or there is no module to freeze.
    """
    model = WavFlow(config.model)
    _freeze(model, config.optim.freeze)
    if saved is not None:
        _check_same(config, saved)
        if saved.data != data:
            logger.warning(
                "The clips are not those that %s was trained on; the order is another one.",
                saved.path.name,
            )
        model.load_state_dict(saved.tensors("model"))
        logger.info("Going on after step %d (%s).", saved.progress.step, saved.path.name)
        return model
    seed = seed_of(config.execution.seed, "weights")
    generator = torch.Generator().manual_seed(seed)
    initialize(model, generator=generator)
    if config.start.pass_through:
        clip, text = _mean_features(clips)
        pass_through(model, clip=clip, text=text, generator=generator)
    has_empty = _take_empty_text(model, clips.rows)
    if config.start.weights is not None:
        fit = warm_start(model, config.start.weights, choice=config.start.choice)
        has_empty = has_empty or "empty_string_feat" in fit.taken
    if config.start.open_gates:
        _open_gates(model)
    if not has_empty:
        logger.warning(
            "The features of the empty caption stay zero: neither the data's folder nor "
            "start.weights has them. Captions can then be guided less well."
        )
    return model


def share_out(step: TrainingStep, execution: ExecutionConfig, world: World) -> nn.Module:
    """Wrap a step as the run says: blocks recomputed, compiled, and dealt to the processes."""
    blocks = transformer_blocks(step.model)
    if execution.checkpoint_activations:
        checkpoint_blocks(step.model)
    if execution.compile:
        compile_blocks(step.model)
    if world.size == 1:
        return step
    if execution.strategy == "fsdp":
        mesh = init_device_mesh(world.device.type, (world.size,))
        for module in (*blocks, step):
            # Also the outermost weights are dealt out again, as the averages expect them.
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
        own = [p.to_local() if isinstance(p, DTensor) else p for p in step.parameters()]
        logger.info(
            "Dealt out with fsdp: this process holds %d of %d weights.",
            *(sum(part.numel() for part in parts) for parts in (own, step.parameters())),
        )
        return step
    cards = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(step, device_ids=cards, gradient_as_bucket_view=True)


def gradient_sync(stepper: nn.Module, *, on: bool) -> AbstractContextManager[None]:
    """Whether the next backward pass adds its gradients up over the processes."""
    if isinstance(stepper, FSDPModule):
        stepper.set_requires_gradient_sync(on)
    elif isinstance(stepper, DistributedDataParallel) and not on:
        return stepper.no_sync()
    return contextlib.nullcontext()


def _freeze(model: WavFlow, names: Sequence[str]) -> None:
    """Let the optimizer leave modules alone, their parameters included."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            nearest = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0))
            raise ConfigError(f"optim.freeze: there is no module {name!r}; nearest: {nearest}.")
        model.get_submodule(name).requires_grad_(False)


def _open_gates(model: WavFlow) -> None:
    filters = model.wiener.filters()
    if not filters:
        raise ConfigError(
            "start.open_gates: this model has no Wiener filters; leave it off, or give "
            "model.filter_windows."
        )
    for one in filters:
        one.open_gate()


def _mean_features(clips: Clips) -> tuple[Tensor, Tensor]:
    """Means over time of the CLIP and the text features ``(M, W)`` of the first clips with both."""
    found: list[Features] = []
    for row in clips.rows[:MEASURED]:
        with contextlib.suppress(WavFlowError, OSError):  # the training itself reports it
            found.append(clips.reader.features(row))
    means = [
        (features.clip.float().mean(0), features.text.float().mean(0))
        for features in found
        if features.clip is not None and features.text is not None
    ]
    if len(means) < 2:
        raise ConfigError(
            f"start.pass_through measures clips with pictures and captions; of the first "
            f"{len(found)} {len(means)} have both, and it needs two. Leave it off."
        )
    clip, text = zip(*means, strict=True)
    return torch.stack(clip), torch.stack(text)


def _take_empty_text(model: WavFlow, rows: Sequence[Row]) -> bool:
    """Take the empty caption's features from beside the data's, where the extraction put them."""
    for folder in dict.fromkeys(row.features.parent for row in rows if row.features):
        found = read_empty_text(folder)
        if found is not None and found.shape == model.empty_string_feat.shape:
            model.empty_string_feat.data.copy_(found)
            return True
    return False


def _check_same(config: TrainConfig, saved: State) -> None:
    before, now = saved.config.to_dict(), config.to_dict()
    for section in ("audio", "model"):
        if before[section] != now[section]:
            raise ConfigError(
                f"The folder holds a training ({saved.path.name}) with other settings of "
                f"{section}: {before[section]}, now {now[section]}. Give another --output."
            )
    changed = [name for name in now if before[name] != now[name] and name != "output"]
    if changed:
        logger.warning(
            "Settings of %s are not those that %s was written with; what follows is not what "
            "that run would have done.",
            ", ".join(changed),
            saved.path.name,
        )
