"""Exponential moving averages of the weights, with a warm-up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .distributed import local_part

# Of an average whose start still weighs more than this, the live weights are better.
CONVERGED = 0.01


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that move, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def first_converged(shares: Iterable[float]) -> int | None:
    """Index of the first average whose start still weighs little enough, if there is one."""
    return next((i for i, share in enumerate(shares) if share < CONVERGED), None)


class Average:
    """An average of the trained parameters over the steps, in fp32.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), so that the weights of the start
    are soon forgotten; an average of decay 0.9999 without it is noise for 50 000 steps.

    Args:
        model: Its parameters at this moment are the start.
        decay: The decay that it comes to.

    Attributes:
        updates: How often it was updated.
        start_share: What the weights of the start still contribute, 1 to 0.
        tensors: The average, by name; laid out as the parameters are.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.start_share = 1.0
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().clone()
            for name, parameter in trained_parameters(model).items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the parameters of one more step in."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        parameters = trained_parameters(model)
        mine = [local_part(tensor) for tensor in self.tensors.values()]
        theirs = [local_part(parameters[name]) for name in self.tensors]
        get_ema_multi_avg_fn(decay)(mine, theirs, None)
        self.updates += 1
        self.start_share *= decay

    @contextlib.contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Let the model compute with the average for a while."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, parameter in trained_parameters(model).items():
            mine, theirs = local_part(self.tensors[name]), local_part(parameter)
            kept = theirs.clone()
            theirs.copy_(mine)
            mine.copy_(kept)
