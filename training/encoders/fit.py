"""A small loop for small networks: AdamW, warm-up and cosine, a state to go on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
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

SAVE_EVERY = 250
SHOW_EVERY = 25


def fit_for(
    output: Path, model: nn.Module, loss_of: Loss, *, optim: OptimConfig, device: torch.device
) -> bool:
    """:func:`fit` until it ends or a signal comes, with the state beside the file it is for."""
    state = output.with_name(f"{output.stem}.state.safetensors")
    with stop_on_signals() as stop:
        return fit(model, loss_of, optim=optim, state=state, stop=stop, device=device)


def fit(
    model: nn.Module,
    loss_of: Loss,
    *,
    optim: OptimConfig,
    state: Path,
    stop: StopRequest,
    device: torch.device,
) -> bool:
    """Train to the last step, going on where a run before was stopped.

    Args:
        model: All that is trained, on the device.
        loss_of: The loss of a step and figures to show.
        optim: Steps, rate, schedule and clipping; the batch is the loss's matter.
        state: File that keeps weights, moments and step.
        stop: Looked at between two steps.
        device: Where the model is.

    Returns:
        Whether the last step was reached.

    Raises:
        WavFlowError: The loss is no longer a number.
    """
    optimizer = make_optimizer(model, optim, device=device)
    begin = _restore(model, optimizer, state) if is_file(state) else 0
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
                    {"progress": json.dumps({"step": done})},
                    state,
                )
            if stop.made:
                return done == optim.steps
    return True


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    step = json_field(read_metadata(path), "progress", path)["step"]
    assert isinstance(step, int)
    tensors = read_safetensors(path)

    def of(kind: str) -> dict[str, Tensor]:
        prefix = f"{kind}/"
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    model.load_state_dict(of("model"))
    restore_moments(model, optimizer, {kind: of(kind) for kind in MOMENTS}, step=step)
    logger.info("Going on after step %d.", step)
    return step
