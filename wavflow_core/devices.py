"""Where to compute, and in which type."""

from __future__ import annotations

import torch

from .errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes the best there is.

    Raises:
        ConfigError: The name is unknown or there is no such device here.
    """
    kind, _, index = name.partition(":")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    there = {"cpu": name == "cpu", "mps": mps and name == "mps", "cuda": cuda}.get(kind, False)
    if name != kind:
        there = there and index.isdecimal() and int(index) < torch.cuda.device_count()
    if not there:
        found = [n for n, ok in (("cpu", True), ("cuda", cuda), ("mps", mps)) if ok]
        raise ConfigError(f"device is {name!r}; on this machine there is: {', '.join(found)}.")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The weight type of that name; ``auto`` is bf16 on cuda that has it, and fp32 elsewhere.

    Raises:
        ConfigError: The name is unknown.
    """
    if name == "auto":
        # Cards before Ampere only emulate bf16, slowly.
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"dtype is {name!r}; allowed: auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
