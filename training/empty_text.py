"""The features of the empty caption: kept beside a store, and what a new model begins with."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from wavflow_core.errors import CheckpointError
from wavflow_core.features.clip import ClipEncoder
from wavflow_core.media.files import is_file
from wavflow_core.tensor_files import read_safetensors, write_safetensors

NAME = "empty_text.safetensors"
TENSOR = "empty_text"
FORMAT = "wavflow.empty_text"


def write_empty_text(encoder: ClipEncoder, folder: Path) -> None:
    """Encode the empty caption and write it.

    Args:
        encoder: With its text tower.
        folder: Of the store.

    Raises:
        CheckpointError: It cannot be written.
    """
    [empty] = encoder.encode_text([""])
    # One entry alone, because several are written in an order that chance decides.
    write_safetensors({TENSOR: empty}, {FORMAT: str(encoder.config)}, folder / NAME)


def read_empty_text(folder: Path) -> Tensor | None:
    """Features of the empty caption ``(L, text_dim)`` fp32, if the folder has them.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = folder / NAME
    if not is_file(path):
        return None
    tensors = read_safetensors(path)
    if TENSOR not in tensors:
        raise CheckpointError(f"{str(path)!r} has no {TENSOR!r}; remove it and extract again.")
    return tensors[TENSOR].float()
