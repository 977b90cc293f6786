"""What one step computes: a batch to the loss of each clip."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wavflow_core import flow
from wavflow_core.conditions import prepare_batch
from wavflow_core.config import AudioConfig, FlowConfig
from wavflow_core.model import WavFlow
from wavflow_core.model.patchify import to_waveform

from .config import LossConfig
from .data import TrainBatch
from .mel_loss import mel_loss_per_sample
from .perceptual_loss import PerceptualLoss
from .precision import multiplying


class TrainingStep(nn.Module):
    """The network with its loss, in one module that DDP or FSDP can wrap.

    Args:
        model: The network.
        config: Path, prediction and loss.
        loss: What is added to it.
        perceptual: The network's part of that, where there is one.
        audio: Rate and scale of the waveforms, for what is added.
        precision: In which matrices are multiplied, see :func:`~training.precision.multiplying`.
    """

    def __init__(
        self,
        model: WavFlow,
        config: FlowConfig,
        *,
        loss: LossConfig | None = None,
        perceptual: PerceptualLoss | None = None,
        audio: AudioConfig | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = loss or LossConfig()
        self.perceptual = perceptual
        self.audio = audio or AudioConfig()
        self.precision = precision

    def forward(self, batch: TrainBatch) -> Tensor:
        """Losses ``(B,)`` in fp32 (WavFlow Eq. 1-3, see :mod:`wavflow_core.flow`)."""
        config = self.config
        x_0 = config.noise_scale * batch.x_0
        x_t = flow.interpolate(x_0, batch.x_1, batch.t, min_sigma=config.min_sigma)
        with multiplying(x_t.device, self.precision):
            conditions = prepare_batch(self.model, batch.features, num_tokens=x_t.shape[1])
            output = self.model(x_t, batch.t, conditions)
        losses = flow.loss_per_sample(output, x_t, x_0, batch.x_1, batch.t, config=config)
        if self.loss.mel_weight or self.perceptual:
            clean = output if config.prediction == "x" else flow.to_clean(output, x_t, batch.t)
            losses = losses + self._heard(clean, batch)
        return losses

    def _heard(self, clean: Tensor, batch: TrainBatch) -> Tensor:
        """What is added for how clean estimates ``(B, N, P)`` sound: ``(B,)``."""
        made, real = (self._waveforms(tokens) for tokens in (clean, batch.x_1))
        added = torch.zeros_like(batch.t)
        if self.loss.mel_weight:
            distance = mel_loss_per_sample(made, real, rate=self.audio.sample_rate)
            added = added + self.loss.mel_weight * batch.t * distance
        if self.perceptual:
            with multiplying(made.device, self.precision):
                distance = self.perceptual.per_sample(made, real, batch.t)
            added = added + self.loss.perceptual_weight * distance
        return added

    def _waveforms(self, tokens: Tensor) -> Tensor:
        """``(B, N, P)`` to ``(B, N · P)``."""
        return to_waveform(tokens, self.audio, samples=tokens[0].numel())


def transformer_blocks(model: WavFlow) -> list[nn.Module]:
    """Blocks and filters' networks, which are compiled, checkpointed and shared out one by one."""
    filters = [one.power for one in model.wiener.filters()]
    return [*model.joint_blocks, *model.fused_blocks, *filters]


def compile_blocks(model: WavFlow) -> None:
    """Compile each block when it first runs, which takes a minute or two in all."""
    for block in transformer_blocks(model):
        block.compile()


def checkpoint_blocks(model: WavFlow) -> None:
    """Keep only what enters each block, and compute the rest again in the backward pass."""

    def checkpointed(forward: Callable[..., object]) -> Callable[..., object]:
        return lambda *args, **kwargs: checkpoint(forward, *args, use_reentrant=False, **kwargs)

    for block in transformer_blocks(model):
        block.forward = checkpointed(block.forward)
