"""The path from noise (t = 0) to data (t = 1): each formula once, for training and sampling.

Source: WavFlow (arXiv 2605.18749) Eq. 1-3; rectified flow with x- or v-prediction as in JiT
(arXiv 2511.13720). Shapes: times are ``(B,)``, states ``(B, N, P)``.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from .config import FlowConfig

MIN_REMAINING = 1e-6


def expand_time(t: Tensor, like: Tensor) -> Tensor:
    """View times ``(B,)`` so that they broadcast against ``like`` ``(B, ...)``."""
    return t.view(-1, *[1] * (like.ndim - 1))


def _remaining(t: Tensor | float, like: Tensor, minimum: float) -> Tensor | float:
    """1 - t, at least ``minimum``, for one time or one a sample."""
    if isinstance(t, Tensor):
        return expand_time((1 - t).clamp(min=minimum), like)
    return max(1 - t, minimum)


TimeT = TypeVar("TimeT", Tensor, float)


def shift_time(t: TimeT, shift: float) -> TimeT:
    """Move times in [0, 1] towards the noise: t / (t + k (1 - t)), k = ``shift``."""
    return t / (t + shift * (1 - t))


def interpolate(x_0: Tensor, x_1: Tensor, t: Tensor, *, min_sigma: float = 0.0) -> Tensor:
    """The state at time t: (1 - (1 - s) t) x_0 + t x_1, s = ``min_sigma``."""
    t = expand_time(t, x_1)
    return (1 - (1 - min_sigma) * t) * x_0 + t * x_1


def velocity_target(x_0: Tensor, x_1: Tensor, *, min_sigma: float = 0.0) -> Tensor:
    """The time derivative of :func:`interpolate`."""
    return x_1 - (1 - min_sigma) * x_0


def to_velocity(clean: Tensor, x_t: Tensor, t: Tensor | float) -> Tensor:
    """The velocity from the state to a clean estimate, (x_hat - x_t) / (1 - t), 1 - t >= 1e-6."""
    return (clean - x_t) / _remaining(t, x_t, MIN_REMAINING)


def to_clean(velocity: Tensor, x_t: Tensor, t: Tensor | float) -> Tensor:
    """The clean estimate to which a velocity leads: x_t + (1 - t) v."""
    return x_t + _remaining(t, x_t, 0.0) * velocity


def step_to(x_t: Tensor, clean: Tensor, t: float, t_next: float) -> Tensor:
    """Straight step from t to t' towards a clean estimate; it ends exactly there at t' = 1.

    The Euler step in data form, ((1 - t') / (1 - t)) x_t + ((t' - t) / (1 - t)) x_hat, which needs
    no clamp; t < 1.
    """
    return ((1 - t_next) / (1 - t)) * x_t + ((t_next - t) / (1 - t)) * clean


def sample_times(
    count: int, config: FlowConfig, *, generator: torch.Generator | None = None
) -> Tensor:
    """Training times ``(count,)``: a logit-normal, then shifted; drawn on the CPU."""
    normal = torch.randn(count, generator=generator)
    t = torch.sigmoid(config.time_mean + config.time_scale * normal)
    return shift_time(t, config.noise_shift)


def loss_per_sample(
    output: Tensor, x_t: Tensor, x_0: Tensor, x_1: Tensor, t: Tensor, *, config: FlowConfig
) -> Tensor:
    """Squared error of the network's output, averaged over all values of each sample.

    Args:
        output: The network's output at (x_t, t), read as ``config.prediction`` says.
        x_t: The state, from :func:`interpolate`.
        x_0: The noise, already scaled.
        x_1: The data.
        t: Times ``(B,)``, already shifted.
        config: Prediction, loss space, min_sigma and the clamp of 1 - t in a velocity loss.

    Returns:
        Losses ``(B,)`` in fp32.
    """
    output, x_t, x_0, x_1 = output.float(), x_t.float(), x_0.float(), x_1.float()
    if config.prediction == "v" and config.loss == "v":
        error = output - velocity_target(x_0, x_1, min_sigma=config.min_sigma)
    else:
        clean = output if config.prediction == "x" else to_clean(output, x_t, t)
        error = clean - x_1
        if config.loss == "v":
            error = error / _remaining(t, error, config.loss_clamp)
    return error.square().flatten(1).mean(1)
