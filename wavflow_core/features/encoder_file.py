"""A file of encoder weights, whoever wrote it, of which only what is needed is read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..tensor_files import (
    check_file,
    convert,
    read_metadata,
    read_pickle,
    read_safetensors,
    read_shapes,
)

WRAPPERS = ("state_dict", "model")
# Pages of a mapped file count as ours until it is closed, so that conversions reopen it.
CHUNK_VALUES = 4 * 1024**2


class EncoderFile:
    """Names, shapes and metadata of a weights file; values are read when they are asked for.

    Args:
        path: A safetensors file, or a pickle written by ``torch.save`` that holds tensors alone,
            possibly under ``state_dict`` or ``model``.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, empty of tensors, or
            would run code.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_file(path)
        self.metadata = read_metadata(self.path)
        self._safetensors = self.path.suffix.lower() == ".safetensors"
        if self._safetensors:
            self.shapes = read_shapes(self.path)
        else:
            self.shapes = {name: tuple(value.shape) for name, value in self._unpickle().items()}
        if not self.shapes:
            raise CheckpointError(f"{self.path} holds no tensors; give a file of encoder weights.")

    def load(
        self,
        names: Iterable[str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> dict[str, Tensor]:
        """Read tensors; peak memory is little above their size in the new type.

        Tensors that need no conversion stay mapped to the file: do not change them in place.

        Args:
            names: Which tensors, all of them in the file.
            device: Where to put them.
            dtype: Type of the floating ones; None keeps the file's.
        """
        wanted = list(names)
        if self._safetensors:
            there = set(wanted)
            values = read_safetensors(
                self.path, rename=lambda name: name if name in there else None, dtype=dtype
            )
            return {name: values.pop(name).to(device) for name in wanted}
        result = {}
        mapped = zipfile.is_zipfile(self.path)  # files of torch before 1.6 are read whole each time
        for chunk in self._chunks(wanted) if mapped else [wanted]:
            content = self._unpickle()
            result.update({name: convert(content[name], dtype).to(device) for name in chunk})
        return result

    def _chunks(self, names: list[str]) -> Iterator[list[str]]:
        chunk: list[str] = []
        size = 0
        for name in names:
            chunk.append(name)
            size += torch.Size(self.shapes[name]).numel()
            if size >= CHUNK_VALUES:
                yield chunk
                chunk, size = [], 0
        yield chunk

    def _unpickle(self) -> dict[str, Tensor]:
        content: object = read_pickle(self.path)
        while isinstance(content, Mapping):
            tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
            content = next((content[key] for key in WRAPPERS if key in content), None)
        return {}
