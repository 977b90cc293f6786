"""Integrating the flow from noise to sound: noise, guidance and solvers.

All solvers work on clean estimates, so x- and v-prediction share them. Sources: Euler in data form
(DDIM, arXiv 2010.02502); Heun (EDM, arXiv 2206.00364); Adams-Bashforth 2 with variable steps;
DPM-Solver++(2M) (arXiv 2211.01095); Dormand-Prince 5(4); guidance (arXiv 2207.12598), also in an
interval of t (arXiv 2404.07724).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import flow as flow_
from .config import FlowConfig, SamplerConfig
from .errors import WavFlowError
from .model import Conditions, WavFlow

# The network's output (B, N, P) in fp32, at a state (B, N, P) and a time in [0, 1].
Predictor = Callable[[Tensor, float], Tensor]
# Called after each step with (step, total, t, clean estimate (B, N, P)); it may raise to cancel.
Callback = Callable[[int, int, float, Tensor], None]

# An x-prediction has no velocity at t = 1: the adaptive solver hands over to one last Euler step.
ADAPTIVE_END = 1 - 1e-3
ADAPTIVE_TOTAL = 100
MAX_EVALUATIONS = 20000


def draw_noise(seeds: Sequence[int], num_tokens: int, patch_size: int) -> Tensor:
    """Unit noise ``(len(seeds), N, P)``, drawn on the CPU: a seed means the same everywhere."""
    shape = (num_tokens, patch_size)
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


def guide(
    model: WavFlow,
    conditional: Conditions,
    unconditional: Conditions,
    *,
    flow: FlowConfig,
    sampler: SamplerConfig,
    dtype: torch.dtype = torch.float32,
) -> Predictor:
    """The guided network: cfg · conditional + (1 - cfg) · unconditional.

    Both passes run in one batch. At ``cfg`` of 1 or below, and from the time ``cfg_end`` on, the
    conditional one runs alone.

    Args:
        model: The network.
        conditional: Conditions of the batch.
        unconditional: Conditions of the empty or negative prompt, of the same shapes.
        flow: Says when guidance ends.
        sampler: Says how strong it is, and perhaps another time at which it ends.
        dtype: Type that the network computes in.
    """
    cfg, end = sampler.cfg, flow.cfg_end if sampler.cfg_end is None else sampler.cfg_end
    both = conditional.join(unconditional) if cfg > 1 and end > 0 else None

    def predict(x_t: Tensor, t: float) -> Tensor:
        guided = both is not None and t < end
        state = torch.cat((x_t, x_t)) if guided else x_t
        times = torch.full((len(state),), t, dtype=torch.float32, device=x_t.device)
        output = model(state.to(dtype), times, both if guided else conditional).float()
        if not guided:
            return output
        positive, negative = output.chunk(2)
        return cfg * positive + (1 - cfg) * negative

    return predict


def time_steps(steps: int, *, shift: float = 1.0, min_sigma: float = 0.0) -> list[float]:
    """``steps + 1`` times from 0 to 1 - ``min_sigma``, evenly spaced, then shifted."""
    return [flow_.shift_time((1 - min_sigma) * i / steps, shift) for i in range(steps + 1)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """The network asked once: state, time and its output, which is clean data or a velocity."""

    x: Tensor
    t: float
    output: Tensor
    prediction: str

    @property
    def clean(self) -> Tensor:
        """Estimate of the clean tokens."""
        is_clean = self.prediction == "x"
        return self.output if is_clean else flow_.to_clean(self.output, self.x, self.t)

    @property
    def velocity(self) -> Tensor:
        """Velocity towards the clean estimate."""
        is_velocity = self.prediction == "v"
        return self.output if is_velocity else flow_.to_velocity(self.output, self.x, self.t)

    def step_to(self, t_next: float) -> Tensor:
        """Euler step to another time."""
        return flow_.step_to(self.x, self.clean, self.t, t_next)


Evaluate = Callable[[Tensor, float], Evaluation]
Solver = Callable[[Evaluate, Evaluation, float, Evaluation | None], Tensor]


def _euler(_: Evaluate, now: Evaluation, t_next: float, __: Evaluation | None) -> Tensor:
    return now.step_to(t_next)


def _heun(evaluate: Evaluate, now: Evaluation, t_next: float, _: Evaluation | None) -> Tensor:
    ahead = evaluate(now.step_to(t_next), t_next)
    return now.x + (t_next - now.t) / 2 * (now.velocity + ahead.velocity)


def _midpoint(evaluate: Evaluate, now: Evaluation, t_next: float, _: Evaluation | None) -> Tensor:
    t_middle = (now.t + t_next) / 2
    middle = evaluate(now.step_to(t_middle), t_middle)
    return now.x + (t_next - now.t) * middle.velocity


def _ab2(_: Evaluate, now: Evaluation, t_next: float, before: Evaluation | None) -> Tensor:
    if before is None:
        return now.step_to(t_next)
    half = (t_next - now.t) / (now.t - before.t) / 2
    velocity = (1 + half) * now.velocity - half * before.velocity
    return now.x + (t_next - now.t) * velocity


def _dpmpp_2m(_: Evaluate, now: Evaluation, t_next: float, before: Evaluation | None) -> Tensor:
    if before is None or before.t == 0:
        return now.step_to(t_next)
    ratio = (_log_snr(t_next) - _log_snr(now.t)) / (_log_snr(now.t) - _log_snr(before.t))
    clean = now.clean + ratio / 2 * (now.clean - before.clean)
    return flow_.step_to(now.x, clean, now.t, t_next)


def _log_snr(t: float) -> float:
    return math.log(t / (1 - t))


# Solver, and whether its last step to t = 1 must be Euler's: an x-prediction has no velocity
# there, and multistep extrapolation would overshoot the clean estimate.
_SOLVERS: dict[str, tuple[Solver, bool]] = {
    "euler": (_euler, False),
    "heun": (_heun, True),
    "midpoint": (_midpoint, False),
    "ab2": (_ab2, True),
    "dpmpp_2m": (_dpmpp_2m, True),
}


@torch.no_grad()
def sample(
    predict: Predictor,
    noise: Tensor,
    *,
    flow: FlowConfig,
    sampler: SamplerConfig,
    callback: Callback | None = None,
) -> Tensor:
    """Integrate from noise to clean tokens.

    Args:
        predict: The network with its guidance, from :func:`guide`.
        noise: Unit noise ``(B, N, P)``; ``flow.noise_scale`` is applied here.
        flow: Prediction type, noise scale and shift trained with.
        sampler: Solver, steps, tolerances and an optional other shift.
        callback: Called after every step with ``(step, total, t, clean estimate)``; what it
            raises ends the sampling at once. For ``adaptive``, step and total count hundredths
            of t, and a count may come several times.

    Returns:
        Clean tokens ``(B, N, P)``.

    Raises:
        WavFlowError: The network gave infinite or undefined numbers.
    """

    def evaluate(x: Tensor, t: float) -> Evaluation:
        return Evaluation(x=x, t=t, output=predict(x, t), prediction=flow.prediction)

    x = flow.noise_scale * noise
    if sampler.solver == "adaptive":
        result = _sample_adaptive(evaluate, x, flow, sampler, callback)
    else:
        shift = flow.noise_shift if sampler.noise_shift is None else sampler.noise_shift
        times = time_steps(sampler.steps, shift=shift, min_sigma=flow.min_sigma)
        result = _sample_fixed(evaluate, x, times, sampler.solver, callback)
    if not result.isfinite().all():
        raise WavFlowError(_not_finite())
    return result


def _not_finite() -> str:
    return (
        "The network gave infinite or undefined numbers. Its weights may be damaged, or fp16 may "
        "be too narrow for them: try dtype bf16 or fp32."
    )


def _sample_fixed(
    evaluate: Evaluate, x: Tensor, times: list[float], solver: str, callback: Callback | None
) -> Tensor:
    advance, ends_with_euler = _SOLVERS[solver]
    total = len(times) - 1
    before = None
    for step, (t, t_next) in enumerate(itertools.pairwise(times), start=1):
        now = evaluate(x, t)
        if step == total and ends_with_euler:
            advance = _euler
        x = advance(evaluate, now, t_next, before)
        before = now
        if callback is not None:
            callback(step, total, t_next, now.clean)
    return x


# Dormand-Prince 5(4): nodes, stage weights (the last row is the 5th-order result) and the
# difference between the 5th- and the 4th-order weights.
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _sample_adaptive(
    evaluate: Evaluate,
    x: Tensor,
    flow: FlowConfig,
    sampler: SamplerConfig,
    callback: Callback | None,
) -> Tensor:
    """Dormand-Prince in t itself, so that a time shift cannot change the result."""
    last = 1 - flow.min_sigma
    end = min(last, ADAPTIVE_END) if flow.prediction == "x" else last
    t, width = 0.0, 0.05
    now = evaluate(x, t)
    for _ in range(MAX_EVALUATIONS // len(_STAGES)):
        width = min(width, end - t)
        ahead, error = _dormand_prince(evaluate, now, width, sampler)
        if not math.isfinite(error):
            raise WavFlowError(_not_finite())
        if error <= 1:
            t, now = ahead.t, ahead
        if callback is not None:  # after rejected steps too, so that it can cancel at once
            done = min(int(ADAPTIVE_TOTAL * t / last), ADAPTIVE_TOTAL - 1)
            callback(done, ADAPTIVE_TOTAL, t, now.clean)
        if t >= end:
            break
        width *= min(10.0, max(0.2, 0.9 * max(error, 1e-10) ** -0.2))
    else:
        raise WavFlowError(
            f"The adaptive solver stopped at t = {t:.3f} after {MAX_EVALUATIONS} evaluations; "
            f"its tolerances (rtol {sampler.rtol:g}, atol {sampler.atol:g}) are too small."
        )
    x = now.x if end == last else now.step_to(last)
    if callback is not None:
        callback(ADAPTIVE_TOTAL, ADAPTIVE_TOTAL, last, now.clean)
    return x


def _dormand_prince(
    evaluate: Evaluate, now: Evaluation, width: float, sampler: SamplerConfig
) -> tuple[Evaluation, float]:
    """One step, and its error relative to the tolerances (accepted at 1 or below)."""
    slopes = [now.velocity]
    ahead = now
    for node, weights in zip(_NODES, _STAGES, strict=True):
        x = now.x + width * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
        ahead = evaluate(x, now.t + node * width)
        slopes.append(ahead.velocity)
    error = width * sum(w * k for w, k in zip(_ERROR, slopes, strict=True) if w)
    assert isinstance(error, Tensor)
    scale = sampler.atol + sampler.rtol * torch.maximum(now.x.abs(), ahead.x.abs())
    return ahead, float((error / scale).square().mean().sqrt())
