"""Files of the small networks that a training is helped or judged by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from wavflow_core.errors import CheckpointError
from wavflow_core.tensor_files import check_file, read_metadata, read_safetensors

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def open_network(
    path: str | os.PathLike[str], *, form: str, version: int, what: str, program: str
) -> tuple[Path, Mapping[str, str]]:
    """A file and its metadata, if it holds such a network.

    Args:
        path: The file.
        form: What its metadata call its format.
        version: Of the format.
        what: What it is called in the error.
        program: Module that makes one.

    Raises:
        CheckpointError: The file is missing, damaged or holds something else.
    """
    file = check_file(path)
    metadata = read_metadata(file)
    if metadata.get("format") != form or metadata.get("version") != str(version):
        raise CheckpointError(f"{str(file)!r} is no {what}; make one with python -m {program}.")
    return file, metadata


def load_network(model: NetworkT, file: Path) -> NetworkT:
    """Fill a network with the weights of its file, in fp32.

    Raises:
        CheckpointError: They are not its weights.
    """
    try:
        model.load_state_dict(read_safetensors(file, dtype=torch.float32))
    except RuntimeError as error:
        raise CheckpointError(f"{str(file)!r} is damaged ({error}); train it again.") from error
    return model.eval()
