"""A loss between what a network hears in an estimate and in the data, beside that of the flow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wavflow_core.errors import ConfigError

from .event_network import ONSETS, RATE, EventNetwork, Heard

# At this time the distance counts half; in the noise there is no estimate to speak of.
HALF = 0.05
EPSILON = 1e-4


class PerceptualLoss:
    """How differently two sounds are heard, by what begins when, and what it sounds like.

    Args:
        network: What hears; its weights stay as they are.
        rate: Hz of the sounds.

    Raises:
        ConfigError: The network hears another rate.

    Source: R. Zhang et al., "The unreasonable effectiveness of deep features as a perceptual
        metric", 2018 (arXiv 1801.03924); for clean estimates of a flow, PixelGen (arXiv
        2602.02493).
    """

    def __init__(self, network: EventNetwork, *, rate: int) -> None:
        if rate != RATE:
            raise ConfigError(
                f"loss.perceptual hears sounds of {RATE} Hz; audio.sample_rate is {rate}. Leave "
                "it out."
            )
        self.network = network

    def per_sample(self, clean: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        """Distances ``(B,)`` of estimates ``(B, T)`` and data ``(B, T)`` at times ``(B,)``.

        The mean squared distance of activations of length 1 over the layers, and the cross
        entropies of onsets and classes above that of the data with itself, times t / (t + 0.05).
        """
        with torch.no_grad():
            real = self.network(x_1)
        made = self.network(clean)
        return (_distance(made, real) + _disagreement(made, real)) * t / (t + HALF)


def _distance(made: Heard, real: Heard) -> Tensor:
    layers = [
        (_unit(one) - _unit(other)).square().sum(1).flatten(1).mean(1)
        for one, other in zip(made.maps, real.maps, strict=True)
    ]
    return torch.stack(layers).mean(0)


def _unit(activations: Tensor) -> Tensor:
    values = activations.float()
    return values / (values.square().sum(1, keepdim=True) + EPSILON).sqrt()


def _disagreement(made: Heard, real: Heard) -> Tensor:
    onsets = _divergence(made.onsets, real.onsets)
    return ONSETS * onsets + _divergence(made.classes, real.classes)


def _divergence(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of probabilities, each for itself: ``(B,)``."""
    target = truth.float().sigmoid()
    each = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    least = F.binary_cross_entropy_with_logits(truth.float(), target, reduction="none")
    return (each - least).flatten(1).mean(1)
