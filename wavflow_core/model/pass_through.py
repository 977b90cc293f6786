"""Weights to begin short trainings from: the best linear estimate, set up before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
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
# Below the time's unit variance, that the gain may depend on the time alone.
POOLED_STD = 0.5
# Times, and conditions of chance, that all this is measured with.
DRAWS = 256
RIDGE = 1e-2
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
    output = model.final_layer.conv
    output.weight[:, :size, output.kernel_size[0] // 2] = level * transform.T
    for block in (*model.joint_blocks, *model.fused_blocks):
        stream = block.latent_block if isinstance(block, JointBlock) else block
        parts = stream.adaLN_modulation.get_submodule("1").bias.view(-1, width)
        for part in SCALES:
            parts[part, :-2], parts[part, -2:] = level - 1, -1
    pooled = _scale_conditions(model, generator)
    _modulate_by_time(model, pooled, generator)
    return model


def _pass_input(model: WavFlow, transform: Tensor) -> None:
    """The first channels of the stream: the transformed patch; the last two: the constant."""
    size = len(transform)
    first, selu, mlp = model.audio_input_proj
    centre, rows = first.kernel_size[0] // 2, torch.arange(size)
    first.weight[: size + 1] = 0
    first.weight[:size, :, centre] = INPUT_GAIN * transform
    first.bias[: size + 1] = LINEAR_BIAS
    constant = selu(torch.tensor(LINEAR_BIAS)).item()
    gate = nn.functional.silu(torch.tensor(GATE)).item()
    for layer in (mlp.w1, mlp.w3):
        layer.weight[: size + 1] = 0
    mlp.w1.weight[: size + 1, size, centre] = GATE / constant
    mlp.w3.weight[rows, rows, centre] = 1
    mlp.w3.weight[rows, size, centre] = -1
    mlp.w3.weight[size, size, centre] = 1
    mlp.w2.weight[:size] = 0
    mlp.w2.weight[:, : size + 1] = 0
    mlp.w2.weight[rows, rows, centre] = LINEAR_BIAS / (gate * constant * INPUT_GAIN)
    mlp.w2.weight[-2:, size, centre] = CARRIER / (gate * constant) * torch.tensor([1.0, -1.0])


def _scale_conditions(model: WavFlow, generator: torch.Generator) -> Tensor:
    """Bring what is made of unit vectors to unit variance; the pooled conditions of each draw."""

    def draw(width: int) -> Tensor:
        vectors = torch.randn(DRAWS, 1, width, generator=generator)
        return (vectors / vectors.norm(dim=2, keepdim=True)).expand(-1, CONV_KERNEL, -1)

    def project(name: str, width: int) -> Tensor:
        first, mlp = model.get_submodule(f"{name}_input_proj")
        entered = _to_unit_variance(first, lambda: first(draw(width)))

        def run() -> Tensor:
            return along_time(mlp, entered) if name == "clip" else mlp(entered)

        projected = _to_unit_variance(mlp.w2, run)[:, 1]
        last = model.get_submodule(f"{name}_cond_proj")
        return _to_unit_variance(last, lambda: last(projected))

    pooled = project("clip", model.config.clip_dim) + project("text", model.config.text_dim)
    mlp = model.global_cond_mlp
    _to_unit_variance(mlp.w2, lambda: mlp(pooled))
    mlp.w2.weight *= POOLED_STD
    return mlp(pooled)


def _modulate_by_time(model: WavFlow, pooled: Tensor, generator: torch.Generator) -> None:
    """Let the time be seen, and the last normalisation's scale be the best gain at each.

    The sinusoids change little over [0, 1], so what is common to all times is taken off.
    """
    t = torch.linspace(0, 1, DRAWS)
    sinusoids = model.t_embed.sinusoids(t)
    first, activation, last = model.t_embed.mlp
    nn.init.normal_(first.weight, generator=generator)
    hidden = _to_unit_variance(first, lambda: first(sinusoids - sinusoids.mean(0)))
    nn.init.normal_(first.bias, generator=generator)
    hidden = activation(hidden + first.bias)
    first.bias -= first.weight @ sinusoids.mean(0)
    nn.init.normal_(last.weight, generator=generator)
    embedded = _to_unit_variance(last, lambda: last(hidden - hidden.mean(0)))
    last.bias.copy_(-last.weight @ hidden.mean(0))

    # Least squares over all times and pooled conditions.
    seen = nn.functional.silu(embedded[:, None] + pooled).flatten(0, 1)
    gain = t / (t.square() + (1 - t).square())
    target = gain.repeat_interleave(len(pooled))
    mean = seen.mean(0)
    seen = seen - mean
    moments = seen.T @ seen + RIDGE * len(seen) * torch.eye(seen.shape[1])
    weights = torch.linalg.solve(moments, seen.T @ (target - gain.mean()))
    modulation = model.final_layer.adaLN_modulation.get_submodule("1")
    width, size = model.config.hidden_dim, model.config.patch_size
    modulation.weight.view(2, width, width)[1, :size] = weights
    modulation.bias.view(2, width)[1, :size] = gain.mean() - 1 - weights @ mean
    modulation.bias.view(2, width)[1, -2:] = -1


def _to_unit_variance(layer: nn.Module, run: Callable[[], Tensor]) -> Tensor:
    """Divide a linear layer's weights by the deviation of what it gives; the result after it."""
    layer.weight /= run().std()
    return run()


def _cosine_transform(size: int) -> Tensor:
    """Orthonormal DCT-II ``(size, size)``, frequencies first."""
    n = torch.arange(size, dtype=torch.float64)
    transform = torch.cos(math.pi / size * (n + 0.5) * n[:, None]) * math.sqrt(2 / size)
    transform[0] /= math.sqrt(2)
    return transform.float()
