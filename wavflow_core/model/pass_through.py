"""Weights to begin short trainings from: the best linear estimate, set up before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from .blocks import CONV_KERNEL, JointBlock
from .layers import along_time
from .wavflow import WavFlow

# The patch enters at this gain upon this bias: SELU is linear for values down to -30.
INPUT_GAIN = 0.1
LINEAR_BIAS = 3.0
# What SiLU is given in the units that pass a channel on: the same for each.
GATE = 4.0
# The constant in the stream: the last normalisation is linear for levels well below its own, 7.5.
CARRIER = 60.0
# Times, and conditions of chance, that all this is measured with.
DRAWS = 256
# Of the least squares for the gain, per time: keeps its weights small.
RIDGE = 1e-3
# Of the six vectors that modulate a block, those that scale a normalised stream.
SCALES = (1, 4)


@torch.no_grad()
def pass_through(model: WavFlow, *, generator: torch.Generator) -> WavFlow:
    """Let a new network begin near the best linear estimate, for short trainings of x-prediction.

    A clean estimate contains most of a state near the data, and a network that begins at zero
    learns this identity slowly through its gated input layers. Here the first P channels of the
    stream hold the cosine transform (DCT-II) of a patch, brought there through the linear ranges
    of SELU and SwiGLU; two channels hold a constant, against which the last normalisation keeps
    the patch's level; the output layer is the transform's inverse, and the time's modulation gives
    the gain t / (t² + (1 - t)²) of a Wiener filter for white data of unit variance. What is made
    of time, CLIP and text, tiny otherwise for features of unit length, begins with unit variance.

    Args:
        model: From :func:`~.init.initialize`.
        generator: The seed's generator.

    Returns:
        The model.

    Raises:
        ConfigError: The stream is too narrow for the patches.
    """
    size, width = model.config.patch_size, model.config.hidden_dim
    if width < size + 2:
        raise ConfigError(
            f"A network of width {width} cannot pass on patches of {size} samples; it needs "
            f"{size + 2}. Leave start.pass_through off, or take smaller patches."
        )
    transform = _cosine_transform(size)
    level = math.sqrt((size + 2 * CARRIER**2) / width)
    _pass_input(model, transform)
    output = model.get_parameter("final_layer.conv.weight")
    output[:, :size, output.shape[-1] // 2] = level * transform.T
    for block in (*model.joint_blocks, *model.fused_blocks):
        stream = block.get_submodule("latent_block" if isinstance(block, JointBlock) else "")
        parts = stream.get_parameter("adaLN_modulation.1.bias").view(-1, width)
        for part in SCALES:
            parts[part, :-2], parts[part, -2:] = level - 1, -1
        _attend_to_alike(stream, model.config.num_heads)
    _scale_conditions(model, generator)
    _modulate_by_time(model, generator)
    return model


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


def _scale_conditions(model: WavFlow, generator: torch.Generator) -> None:
    """Bring what is made of unit vectors to unit variance, the pooled in the second half alone."""

    def draw(width: int) -> Tensor:
        vectors = torch.randn(DRAWS, 1, width, generator=generator)
        return F.normalize(vectors, dim=2).expand(-1, CONV_KERNEL, -1)

    def project(name: str, width: int) -> Tensor:
        first, mlp = model.get_submodule(f"{name}_input_proj").children()
        vectors = draw(width)
        entered = _to_unit_variance(first.get_parameter("weight"), lambda: first(vectors))

        def run() -> Tensor:
            return along_time(mlp, entered) if name == "clip" else mlp(entered)

        projected = _to_unit_variance(mlp.get_parameter("w2.weight"), run)[:, 1]
        last = model.get_submodule(f"{name}_cond_proj")
        return _to_unit_variance(last.get_parameter("weight"), lambda: last(projected))

    pooled = project("clip", model.config.clip_dim) + project("text", model.config.text_dim)
    mlp = model.global_cond_mlp
    last = mlp.get_parameter("w2.weight")
    _to_unit_variance(last, lambda: mlp(pooled))
    last[: model.config.hidden_dim // 2] = 0


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
    width, size = model.config.hidden_dim, model.config.patch_size
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
