"""Distances between many sounds and many: functions of embeddings and class probabilities.

Which network makes them decides what the numbers mean; compare only numbers of the same one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wavflow_core.errors import WavFlowError

SUM_TOLERANCE = 1e-2  # half precision sums its probabilities no better
SMALLEST = 1e-12  # a probability of zero becomes this; the divergence stays finite


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussian:
    """A normal distribution.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, symmetric, without negative eigenvalues.
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        size = self.mean.shape[0] if self.mean.ndim == 1 else 0
        if size == 0 or self.covariance.shape != (size, size):
            raise WavFlowError(
                f"A mean of shape {tuple(self.mean.shape)} and a covariance of shape "
                f"{tuple(self.covariance.shape)} do not fit; they must be (D,) and (D, D)."
            )
        for name, value in (("mean", self.mean), ("covariance", self.covariance)):
            if value.dtype != torch.float64:
                raise WavFlowError(f"The {name} is {value.dtype}; it must be torch.float64.")
            if not bool(torch.isfinite(value).all()):
                raise WavFlowError(f"The {name} holds NaN or infinite values.")


@dataclass(frozen=True, kw_only=True, slots=True)
class InceptionScore:
    """Mean and standard deviation (of the whole population) over the splits."""

    mean: float
    std: float


def fit_gaussian(embeddings: Tensor) -> Gaussian:
    """Mean and covariance (divided by M - 1) of embeddings.

    Args:
        embeddings: (M, D) of any floating-point type, M at least 2.

    Raises:
        WavFlowError: The shape is another, or a value is not finite.
    """
    shape = tuple(embeddings.shape)
    if embeddings.ndim != 2 or shape[0] < 2 or shape[1] < 1:
        raise WavFlowError(f"Embeddings have shape {shape}; they must be (M, D), M 2 or more.")
    values = embeddings.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise WavFlowError("Embeddings hold NaN or infinite values; make them again.")
    mean = values.mean(dim=0)
    centred = values - mean
    return Gaussian(mean=mean, covariance=centred.T @ centred / (shape[0] - 1))


def frechet_distance(first: Gaussian | Tensor, second: Gaussian | Tensor) -> float:
    """Squared Frechet distance of two normal distributions, 0 or more.

    ``|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^1/2)``. The trace of the root is the sum of the roots of
    the eigenvalues of ``S1^1/2 S2 S1^1/2``, which is symmetric, so that fewer embeddings than
    dimensions do no harm. With few embeddings the distance comes out too large; compare sets of
    the same size.

    Args:
        first: A distribution, or embeddings (M, D) to fit one to.
        second: A distribution, or embeddings (N, D) to fit one to.

    Raises:
        WavFlowError: The shapes do not fit, or a value is not finite.

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions",
        1982; Heusel et al., arXiv 1706.08500, equation 6.
    """
    one = fit_gaussian(first) if isinstance(first, Tensor) else first
    other = fit_gaussian(second) if isinstance(second, Tensor) else second
    if one.mean.shape != other.mean.shape:
        raise WavFlowError(
            f"Embeddings of {one.mean.shape[0]} and of {other.mean.shape[0]} dimensions cannot be "
            "compared; make both with the same network."
        )
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ other.covariance @ root
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)
    trace = one.covariance.trace() + other.covariance.trace()
    trace = trace - 2 * eigenvalues.clamp_min(0).sqrt().sum()
    return max(0.0, float((one.mean - other.mean).square().sum() + trace))


def inception_score(
    probabilities: Tensor, *, splits: int = 10, seed: int | None = 2020
) -> InceptionScore:
    """``exp(mean KL(p(y|x) || p(y)))``, 1 to C, for each of several parts of the set.

    Args:
        probabilities: (M, C), each row summing to 1.
        splits: Parts; where they do not come out even, the first ones have one more.
        seed: Of the order in which the rows are shuffled first; None leaves them in order.

    Raises:
        WavFlowError: The rows are no probabilities, or fewer than the splits.

    Source: Salimans et al., arXiv 1606.03498, section 4.
    """
    values = _probabilities(probabilities)
    if not 1 <= splits <= values.shape[0]:
        raise WavFlowError(
            f"splits is {splits!r}; it must be 1 to the number of sounds, {values.shape[0]}."
        )
    if seed is not None:
        order = torch.randperm(values.shape[0], generator=torch.Generator().manual_seed(seed))
        values = values[order]
    scores = torch.stack(
        [
            _divergence(part, part.mean(dim=0, keepdim=True)).mean().exp()
            for part in values.tensor_split(splits)
        ]
    )
    return InceptionScore(mean=float(scores.mean()), std=float(scores.std(correction=0)))


def kl_divergence(reference: Tensor, probabilities: Tensor) -> float:
    """Mean over sounds of ``KL(reference || result)`` in nats, 0 or more.

    Args:
        reference: (M, C) class probabilities of the originals, each row summing to 1.
        probabilities: (M, C) class probabilities of the results; row i belongs to row i.

    Raises:
        WavFlowError: The rows are no probabilities, or the shapes differ.

    Source: Iashin and Rahtu, arXiv 2110.08791, section 4 (the direction: original first).
    """
    if reference.shape != probabilities.shape:
        raise WavFlowError(
            f"Probabilities of shapes {tuple(reference.shape)} and {tuple(probabilities.shape)} "
            "cannot be compared; row i of both must belong to the same sound."
        )
    return float(_divergence(_probabilities(reference), _probabilities(probabilities)).mean())


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """(M,) KL divergence of each row; 0 log 0 is 0."""
    ratio = first.clamp_min(SMALLEST).log() - second.clamp_min(SMALLEST).log()
    return (first * ratio).sum(dim=1)


def _probabilities(given: Tensor) -> Tensor:
    """(M, C) float64 whose rows sum to 1 exactly."""
    shape = tuple(given.shape)
    if given.ndim != 2 or 0 in shape:
        raise WavFlowError(f"Probabilities have shape {shape}; they must be (M, C), both above 0.")
    values = given.detach().cpu().to(torch.float64)
    sums = values.sum(dim=1, keepdim=True)
    worst = float((sums - 1).abs().max())
    if not (math.isfinite(worst) and worst <= SUM_TOLERANCE and float(values.min()) >= 0):
        raise WavFlowError(
            f"Rows must be probabilities, 0 or more with a sum of 1; the least is "
            f"{float(values.min()):g} and a sum is off by {worst:g}. Apply softmax to logits first."
        )
    return values / sums
