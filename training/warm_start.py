"""Beginning from the weights of another training, as far as they fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from wavflow_core.checkpoint import read_tensors
from wavflow_core.errors import CheckpointError
from wavflow_core.model import WavFlow

logger = logging.getLogger(__name__)

SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What became of the tensors of a file.

    Attributes:
        taken: Names that fitted.
        reshaped: Names whose shape is another, with both shapes; begun anew.
        missing: Names that the file lacks; begun anew.
        unused: Names of the file that the model does not have.
        share: Share of the model's values that were taken, 0 to 1.
    """

    taken: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    share: float


@torch.no_grad()
def warm_start(model: WavFlow, path: str, *, choice: str = "auto") -> Fit:
    """Give a model all tensors of a file that have its names and shapes.

    Fits checkpoints of this architecture at any rate, and latent models of the same backbone,
    whose input and output layers are then begun anew.

    Args:
        model: Already initialised.
        path: Any state dictionary, see :func:`~wavflow_core.checkpoint.read_tensors`.
        choice: Which weights of a full training checkpoint.

    Raises:
        CheckpointError: The file cannot be read, or nothing of it fits.
    """
    given, provenance = read_tensors(path, weights=choice)
    own = model.state_dict()
    taken = [name for name in own if name in given and given[name].shape == own[name].shape]
    if not taken:
        raise CheckpointError(
            f"Nothing in {path!r} fits this model; its first entries are "
            f"{', '.join(list(given)[:3]) or 'none'}. Give a state dictionary of the backbone."
        )
    for name in taken:
        own[name].copy_(given[name])
    values = sum(tensor.numel() for tensor in own.values())
    fit = Fit(
        taken=tuple(taken),
        reshaped=tuple(
            f"{name} {tuple(given[name].shape)} -> {tuple(own[name].shape)}"
            for name in own
            if name in given and given[name].shape != own[name].shape
        ),
        missing=tuple(name for name in own if name not in given),
        unused=tuple(name for name in given if name not in own),
        share=sum(own[name].numel() for name in taken) / values,
    )
    logger.info(
        "%s (%s weights, step %s): %d of %d tensors fitted, %.1f %% of all values.",
        *(path, provenance.weights, provenance.step, len(taken), len(own), 100 * fit.share),
    )
    for what, names in (
        ("Begun anew, other shape", fit.reshaped),
        ("Begun anew, not in the file", fit.missing),
        ("Not used", fit.unused),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
            logger.info("%s: %s%s", what, ", ".join(names[:SHOWN]), more)
    return fit
