"""AdamW, and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from .config import OptimConfig


def make_optimizer(
    model: nn.Module, config: OptimConfig, *, device: torch.device
) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) that decays weights with two axes or more, but no bias."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim > 1 and not name.endswith("bias")]
    others = [p for name, p in trained if p.ndim <= 1 or name.endswith("bias")]
    first, second = config.betas
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.peak_lr,
        betas=(first, second),
        eps=config.eps,
        fused=device.type == "cuda",
    )


def lr_at(step: int, config: OptimConfig) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.peak_lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.peak_lr * config.decay ** sum(step >= at for at in config.milestones)
    if config.schedule == "cosine":
        length = max(1, config.steps - config.warmup_steps)
        progress = min(1.0, (step - config.warmup_steps) / length)
        share = 0.5 + 0.5 * math.cos(math.pi * progress)
        return config.peak_lr * (config.final_lr + (1 - config.final_lr) * share)
    return config.peak_lr


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameters the rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
