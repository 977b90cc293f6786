"""A small loop for small networks: AdamW, warm-up and cosine, a state to go on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wavflow_core.errors import WavFlowError
from wavflow_core.media.files import is_file
from wavflow_core.tensor_files import json_field, read_metadata, read_safetensors, write_safetensors

from ..config import OptimConfig
from ..optim import lr_at, make_optimizer, set_lr
from ..signals import StopRequest, stop_on_signals
from ..state import MOMENTS, named_tensors, restore_moments

logger = logging.getLogger(__name__)

# The loss of a step, which must follow from the step's number alone, and figures to show.
Loss = Callable[[int], tuple[Tensor, dict[str, float]]]
# What else a state depends on: names and values that JSON knows.
MadeFrom = Mapping[str, object]

SAVE_EVERY = 250
SHOW_EVERY = 25


def fit_for(
    output: Path,
    model: nn.Module,
    loss_of: Loss,
    *,
    optim: OptimConfig,
    made_from: MadeFrom,
    device: torch.device,
) -> bool:
    """:func:`fit` until it ends or a signal comes, with the state beside the file it is for."""
    state = output.with_name(f"{output.stem}.state.safetensors")
    with stop_on_signals() as stop:
        return fit(
            *(model, loss_of),
            optim=optim,
            made_from=made_from,
            state=state,
            stop=stop,
            device=device,
        )


def fit(
    model: nn.Module,
    loss_of: Loss,
    *,
    optim: OptimConfig,
    made_from: MadeFrom,
    state: Path,
    stop: StopRequest,
    device: torch.device,
) -> bool:
    """Train to the last step, going on where a run before was stopped.

    Args:
        model: All that is trained, on the device.
        loss_of: The loss of a step and figures to show.
        optim: Steps, rate, schedule and clipping; the batch is the loss's matter.
        made_from: Whatever else decides what comes of it, such as the seed and the clips.
        state: File that keeps weights, moments and step.
        stop: Looked at between two steps.
        device: Where the model is.

    Returns:
        Whether the last step was reached.

    Raises:
        WavFlowError: The loss is no longer a number, or the state was made otherwise.
    """
    optimizer = make_optimizer(model, optim, device=device)
    made = json.dumps({**asdict(optim), **made_from})
    begin = _restore(model, optimizer, state, made) if is_file(state) else 0
    model.train()
    with tqdm(total=optim.steps, initial=begin, unit="step") as bar:
        for step in range(begin, optim.steps):
            set_lr(optimizer, lr_at(step, optim))
            loss, figures = loss_of(step)
            if not torch.isfinite(loss):
                raise WavFlowError(f"The loss of step {step + 1} is not a number; lower the rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
            optimizer.step()
            bar.update()
            done = step + 1
            if done % SHOW_EVERY == 0:
                bar.set_postfix({"loss": round(float(loss.detach()), 3), **figures})
            if done % SAVE_EVERY == 0 or stop.made or done == optim.steps:
                write_safetensors(
                    dict(named_tensors(model, optimizer, [])),
                    {"progress": json.dumps({"step": done}), "made_from": made},
                    state,
                )
            if stop.made:
                return done == optim.steps
    return True


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, made: str) -> int:
    metadata = read_metadata(path)
    before, now = json_field(metadata, "made_from", path), json.loads(made)
    others = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if others:
        changed = ", ".join(f"{n} {before.get(n)!r}, now {now.get(n)!r}" for n in others)
        raise WavFlowError(
            f"{str(path)!r} was made with {changed}. Give what it was made with to go on, or "
            "another output file, or delete this one."
        )
    step = json_field(metadata, "progress", path)["step"]
    assert isinstance(step, int)
    tensors = read_safetensors(path)

    def of(kind: str) -> dict[str, Tensor]:
        prefix = f"{kind}/"
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    model.load_state_dict(of("model"))
    restore_moments(model, optimizer, {kind: of(kind) for kind in MOMENTS}, step=step)
    logger.info("Going on after step %d.", step)
    return step
