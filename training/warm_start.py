"""Beginning from the weights of another training, as far as they fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from wavflow_core.checkpoint import read_tensors
from wavflow_core.errors import CheckpointError
from wavflow_core.model import WavFlow

from .stretch import stretch_filter

logger = logging.getLogger(__name__)

SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What became of the tensors of a file.

    Attributes:
        taken: Names that fitted.
        stretched: Names of filters' tensors that were made to fit windows of another length.
        reshaped: Names whose shape is another, with both shapes; begun anew.
        missing: Names that the file lacks; begun anew.
        unused: Names of the file that the model does not have.
        share: Share of the model's values that were taken or stretched, 0 to 1.
    """

    taken: tuple[str, ...]
    stretched: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    share: float


@torch.no_grad()
def warm_start(model: WavFlow, path: str, *, choice: str = "auto") -> Fit:
    """Give a model all tensors of a file that have its names and shapes.

    Fits checkpoints of this architecture at any rate, and latent models of the same backbone,
    whose input and output layers are then begun anew. Filters are stretched to other windows.

    Args:
        model: Already initialised.
        path: Any state dictionary, see :func:`~wavflow_core.checkpoint.read_tensors`.
        choice: Which weights of a full training checkpoint.

    Raises:
        CheckpointError: The file cannot be read, or nothing of it fits.
    """
    given, provenance = read_tensors(path, weights=choice)
    own = model.state_dict()
    fitting: dict[str, Tensor] = {}
    for name in own.keys() & given.keys():
        tensor, shape = given[name], own[name].shape
        made = tensor if tensor.shape == shape else stretch_filter(name, tensor, shape)
        if made is not None:
            fitting[name] = made
    if not fitting:
        raise CheckpointError(
            f"Nothing in {path!r} fits this model; its first entries are "
            f"{', '.join(list(given)[:SHOWN]) or 'none'}. Give a state "
            "dictionary of the backbone."
        )
    for name, tensor in fitting.items():
        own[name].copy_(tensor)
    stretched = {name for name, tensor in fitting.items() if tensor is not given[name]}
    values = sum(tensor.numel() for tensor in own.values())
    fit = Fit(
        taken=tuple(name for name in own if name in fitting and name not in stretched),
        stretched=tuple(name for name in own if name in stretched),
        reshaped=tuple(
            f"{name} {tuple(given[name].shape)} -> {tuple(own[name].shape)}"
            for name in own
            if name in given and name not in fitting
        ),
        missing=tuple(name for name in own if name not in given),
        unused=tuple(name for name in given if name not in own),
        share=sum(own[name].numel() for name in fitting) / values,
    )
    logger.info(
        "%s (%s weights, step %s): %d of %d tensors fitted, %.1f %% of all values.",
        *(path, provenance.weights, provenance.step, len(fitting), len(own), 100 * fit.share),
    )
    for what, names in (
        ("Stretched to another window", fit.stretched),
        ("Begun anew, other shape", fit.reshaped),
        ("Begun anew, not in the file", fit.missing),
        ("Not used", fit.unused),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
            logger.info("%s: %s%s", what, ", ".join(names[:SHOWN]), more)
    return fit
