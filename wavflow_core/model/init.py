"""Weights to begin training from."""

from __future__ import annotations

import math

import torch
from torch import nn

from .ratios import RatioLayer
from .wavflow import WavFlow

TIME_EMBEDDING_STD = 0.02
# Beside projected tokens, whose deviation is about 1: seen from the first step, and no disturbance.
PART_EMBEDDING_STD = 0.3
# Layers of a filter that do not begin at zero: those behind them do.
FILTER_RANDOM = {"conv_in", "layers", "enter"}


@torch.no_grad()
def initialize(model: WavFlow, *, generator: torch.Generator) -> WavFlow:
    """Set all weights: the output, every modulation and a filter begin at zero (adaLN-Zero, DiT).

    Linear weights are Xavier-uniform with zero biases, convolutions uniform within
    1 / sqrt(fan-in) as PyTorch makes them, the time embedding N(0, 0.02), that of a Synchformer
    token's parts N(0, 0.3).

    Args:
        model: A model on the CPU; ``empty_string_feat`` stays zero until an encoder's is known.
        generator: The seed's generator; the same seed gives the same weights everywhere.

    Returns:
        The model.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
    for layer in model.t_embed.mlp:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=TIME_EMBEDDING_STD, generator=generator)
    for name, parameter in model.named_parameters():
        filters = name.startswith("wiener") and not FILTER_RANDOM & set(name.split("."))
        zero = filters or "adaLN_modulation" in name or name.startswith("final_layer.conv")
        if zero or name == "sync_pos_emb" or name.startswith("empty_"):
            nn.init.zeros_(parameter)
        elif name == "sync_part_emb":
            nn.init.normal_(parameter, std=PART_EMBEDDING_STD, generator=generator)
    for module in model.modules():
        if isinstance(module, RatioLayer):
            module.reset_kernels(generator)
    return model
