"""Deterministic weights and inputs from names; the goldens were computed from these numbers."""

import math
import zlib

import numpy as np
import torch


def tensor(name: str, shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0):
    """Normal numbers seeded by a name, equal on every platform."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    values = shift + scale * state.standard_normal(tuple(shape))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def weight(name: str, shape: tuple[int, ...]):
    """The recipe's value of the parameter of that name."""
    if name.endswith(".weight"):
        if len(shape) >= 2:
            return tensor(name, shape, math.prod(shape[1:]) ** -0.5)
        if len(shape) == 1:
            return tensor(name, shape, 0.1, 1.0)
    return tensor(name, shape, 0.1)


@torch.no_grad()
def fill(module, prefix: str = ""):
    """Set every parameter of a module by the recipe and return the module."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weight(prefix + name, tuple(parameter.shape)))
    return module
