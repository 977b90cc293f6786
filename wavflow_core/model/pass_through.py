"""Weights to begin short trainings from: the best linear estimate, set up before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .blocks import JointBlock
from .wavflow import WavFlow

# The patch enters at this gain upon this bias: SELU is linear for values down to -30.
INPUT_GAIN = 0.1
LINEAR_BIAS = 3.0
# What SiLU is given in the units that pass a channel on: the same for each.
GATE = 4.0
# The constant in the stream: the last normalisation is linear for levels well below its own, 7.5.
CARRIER = 60.0
# Times that the gain is measured at.
DRAWS = 256
# Of the variance of the means of conditions in their first direction: below it all is noise.
SMALLEST, TINY = 1e-3, 1e-8
# Of the least squares for the gain, per time: keeps its weights small.
RIDGE = 1e-3
# Of the six vectors that modulate a block, those that scale a normalised stream.
SCALES = (1, 4)


@torch.no_grad()
def pass_through(
    model: WavFlow, *, clip: Tensor, text: Tensor, generator: torch.Generator
) -> WavFlow:
    """Let a new network begin near the best linear estimate, for short trainings of x-prediction.

    A clean estimate contains most of a state near the data, and a network that begins at zero
    learns this identity slowly through its gated input layers. Here the first channels of the
    stream hold the cosine transform (DCT-II) of a patch, from the lowest frequency up to all or as
    many as there is room for, brought there through the linear ranges of SELU and SwiGLU; two
    channels hold a constant, against which the last normalisation keeps the patch's level; the
    output layer is the transform's inverse, and the time's modulation gives the gain
    t / (t² + (1 - t)²) of a Wiener filter for white data of unit variance. What is made of CLIP
    and text, tiny otherwise for features of unit length, is linear, and the pooled means are
    whitened.

    Args:
        model: From :func:`~.init.initialize`.
        clip: Means of the CLIP features of some clips ``(M, clip_dim)``.
        text: Means of their text features ``(M, text_dim)``.
        generator: The seed's generator.

    Returns:
        The model.
    """
    width = model.config.hidden_dim
    transform = _cosine_transform(model.config.patch_size)[: passed_on(model.config)]
    level = math.sqrt((len(transform) + 2 * CARRIER**2) / width)
    _pass_input(model, transform)
    output = model.get_parameter("final_layer.conv.weight")
    output[:, : len(transform), output.shape[-1] // 2] = level * transform.T
    for block in (*model.joint_blocks, *model.fused_blocks):
        stream = block.get_submodule("latent_block" if isinstance(block, JointBlock) else "")
        parts = stream.get_parameter("adaLN_modulation.1.bias").view(-1, width)
        for part in SCALES:
            parts[part, :-2], parts[part, -2:] = level - 1, -1
        _attend_to_alike(stream, model.config.num_heads)
    _pass_conditions(model, clip, text)
    _modulate_by_time(model, generator)
    return model


def passed_on(config: ModelConfig) -> int:
    """How many of a patch's frequencies the stream has room for, the lowest first."""
    return min(config.patch_size, config.hidden_dim * 7 // 8)


def _pass_input(model: WavFlow, transform: Tensor) -> None:
    """The first channels of the stream: the transformed patch; the last two: the constant."""
    size, rows = len(transform), torch.arange(len(transform))
    constant = F.selu(torch.tensor(LINEAR_BIAS)).item()
    gate = F.silu(torch.tensor(GATE)).item()
    first, w1, w2, w3 = (
        model.get_parameter(f"audio_input_proj.{name}.weight")
        for name in ("0", "2.w1", "2.w2", "2.w3")
    )
    centre = first.shape[-1] // 2
    first[: size + 1] = 0
    first[:size, :, centre] = INPUT_GAIN * transform
    model.get_parameter("audio_input_proj.0.bias")[: size + 1] = LINEAR_BIAS
    w1[: size + 1] = 0
    w1[: size + 1, size, centre] = GATE / constant
    w3[: size + 1] = 0
    w3[rows, rows, centre] = 1
    w3[rows, size, centre] = -1
    w3[size, size, centre] = 1
    w2[:size] = 0
    w2[:, : size + 1] = 0
    w2[rows, rows, centre] = LINEAR_BIAS / (gate * constant * INPUT_GAIN)
    w2[-2:, size, centre] = CARRIER / (gate * constant) * torch.tensor([1.0, -1.0])


def _attend_to_alike(stream: nn.Module, num_heads: int) -> None:
    """Attention that begins as the mean of patches alike: queries and keys are the patch itself.

    Each head takes a band of the transformed patch, its low frequencies where the rotary
    embedding turns slowest (non-local means, Buades et al. 2005). The gate is closed still.
    """
    qkv = stream.get_parameter("attn.qkv.weight")
    width = qkv.shape[1]
    bands = torch.arange(width).view(num_heads, -1).flip(1)
    parts = qkv.view(num_heads, -1, 3, width)
    parts.zero_()
    parts.scatter_(3, bands[:, :, None, None].expand(-1, -1, 3, 1), 1.0)
    output = stream.get_parameter("linear1.weight")
    output[:, :, output.shape[-1] // 2] = F.one_hot(bands.flatten(), width).T.to(output)


def _pass_conditions(model: WavFlow, clip: Tensor, text: Tensor) -> None:
    """Linear projections of CLIP and text; whitened means of both in the second half of pooled."""
    width = model.config.hidden_dim
    share = width // 4
    for name, features, first in (("clip", clip, width // 2), ("text", text, width // 2 + share)):
        enter, mlp = model.get_submodule(f"{name}_input_proj").children()
        size = min(features.shape[1], width - 1)
        gain = math.sqrt(features.shape[1])
        weight, bias = enter.get_parameter("weight"), enter.get_parameter("bias")
        weight.copy_(gain * torch.eye(*weight.shape))
        weight[size:] = 0
        bias.copy_(F.one_hot(torch.tensor(size), width))
        _pass_gated(mlp, range(size), constant=size)

        project = model.get_submodule(f"{name}_cond_proj")
        weight, bias = project.get_parameter("weight"), project.get_parameter("bias")
        weight.zero_()
        bias.zero_()
        whiten, mean = _whitening(features[:, :size], share)
        rows = slice(first, first + len(whiten))
        weight[rows, :size] = whiten / gain
        bias[rows] = -whiten @ mean
    model.get_parameter("text_cond_proj.bias")[0] = 1
    _pass_gated(model.global_cond_mlp, range(width // 2, width), constant=0)


def _pass_gated(mlp: nn.Module, channels: range, *, constant: int) -> None:
    """Let a gated MLP hand on some channels and nothing else, given a channel that is one."""
    rows, first = torch.tensor(channels), torch.arange(len(channels))
    weights = [mlp.get_parameter(f"{name}.weight") for name in ("w1", "w2", "w3")]
    w1, w2, w3 = (w if w.ndim == 2 else w[..., w.shape[-1] // 2] for w in weights)
    for weight in weights:
        weight.zero_()
    w1[first, constant] = GATE
    w3[first, rows] = 1
    w2[rows, first] = 1 / F.silu(torch.tensor(GATE)).item()


def _whitening(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``(count, W)`` by which vectors ``(M, W)`` become unit variance each; and their mean."""
    mean = features.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(features.T, correction=0))
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    floor = (SMALLEST * values[0]).clamp_min(TINY)
    return (vectors / (values + floor).sqrt()).T, mean


def _modulate_by_time(model: WavFlow, generator: torch.Generator) -> None:
    """Let the time be seen, and the last normalisation's scale be the best gain at each.

    The sinusoids change little over [0, 1], so what is common to all times is taken off. The time
    takes the first half of the vector that it shares with the pooled conditions: where these
    would disturb the gain, the first steps silence them for good.
    """
    t = torch.linspace(0, 1, DRAWS)
    first, first_bias, last, last_bias = (
        model.get_parameter(f"t_embed.mlp.{name}")
        for name in ("0.weight", "0.bias", "2.weight", "2.bias")
    )
    width, size = model.config.hidden_dim, passed_on(model.config)
    sinusoids = model.t_embed.sinusoids(t)
    mean = sinusoids.mean(0)
    nn.init.normal_(first, generator=generator)
    entered = _to_unit_variance(first, lambda: (sinusoids - mean) @ first.T)
    nn.init.normal_(first_bias, generator=generator)
    hidden = F.silu(entered + first_bias)
    first_bias -= first @ mean
    mean = hidden.mean(0)
    nn.init.normal_(last, generator=generator)
    _to_unit_variance(last, lambda: (hidden - mean) @ last.T)
    last[width // 2 :] = 0
    last_bias.copy_(-last @ mean)

    seen = F.silu((hidden - mean) @ last.T)
    gain = t / (t.square() + (1 - t).square())
    mean = seen.mean(0)
    seen = seen - mean
    moments = seen.T @ seen + RIDGE * len(seen) * torch.eye(width)
    weights = torch.linalg.solve(moments, seen.T @ (gain - gain.mean()))
    scale = model.get_parameter("final_layer.adaLN_modulation.1.weight")[width:]
    bias = model.get_parameter("final_layer.adaLN_modulation.1.bias")[width:]
    scale[:size] = weights
    bias[:size] = gain.mean() - 1 - weights @ mean
    bias[-2:] = -1


def _to_unit_variance(weight: Tensor, run: Callable[[], Tensor]) -> Tensor:
    """Divide a linear layer's weight by the deviation of what it gives; the result after it."""
    weight /= run().std()
    return run()


def _cosine_transform(size: int) -> Tensor:
    """Orthonormal DCT-II ``(size, size)``, frequencies first."""
    n = torch.arange(size, dtype=torch.float64)
    transform = torch.cos(math.pi / size * (n + 0.5) * n[:, None]) * math.sqrt(2 / size)
    transform[0] /= math.sqrt(2)
    return transform.float()
