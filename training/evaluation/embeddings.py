"""Embeddings and class probabilities of many sounds in files, and the distances of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wavflow_core.errors import WavFlowError
from wavflow_core.media.files import is_file
from wavflow_core.tensor_files import read_safetensors

from .distances import frechet_distance, inception_score, kl_divergence

SPLITS = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embeddings:
    """What a network says of M sounds.

    Attributes:
        embeddings: (M, D).
        probabilities: (M, C) of its classes, where they were kept.
    """

    embeddings: Tensor
    probabilities: Tensor | None = None


def read_embeddings(path: Path) -> Embeddings:
    """Read ``embeddings`` and, if there, ``probabilities`` of a safetensors file.

    Raises:
        WavFlowError: The file is missing, damaged or holds no embeddings.
    """
    if not is_file(path):
        raise WavFlowError(f"There is no file {str(path)!r}; give embeddings as .safetensors.")
    tensors = read_safetensors(path)
    if "embeddings" not in tensors:
        raise WavFlowError(
            f"{str(path)!r} holds {', '.join(sorted(tensors)) or 'nothing'}; it must hold "
            "'embeddings' (M, D), and may hold 'probabilities' (M, C)."
        )
    return Embeddings(embeddings=tensors["embeddings"], probabilities=tensors.get("probabilities"))


def compare_embeddings(results: Embeddings, reference: Embeddings) -> dict[str, float]:
    """All distances that can be computed.

    Args:
        results: Of the sounds made.
        reference: Of the originals; where both have probabilities and the same number of rows,
            row i of both must belong to the same clip.

    Returns:
        ``frechet_distance``; with probabilities ``inception_score`` and its deviation over 10
        parts (fewer for fewer sounds); with those of the originals also ``kl_divergence``.

    Raises:
        WavFlowError: Shapes do not fit, or values are no probabilities.
    """
    values = {"frechet_distance": frechet_distance(results.embeddings, reference.embeddings)}
    made, real = results.probabilities, reference.probabilities
    if made is not None:
        score = inception_score(made, splits=max(1, min(SPLITS, len(made))))
        values["inception_score"] = score.mean
        values["inception_score_std"] = score.std
    if made is not None and real is not None and made.shape[0] == real.shape[0]:
        values["kl_divergence"] = kl_divergence(real, made)
    return values
