"""Where weights are on this machine; the network is never asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError
from ..media.files import is_file
from .known import KINDS, KNOWN_FILES, KnownFile

ENVIRONMENT = "WAVFLOW_MODELS"


def default_folder() -> Path:
    """Folder for downloads: the first of ``WAVFLOW_MODELS``, or one in the user's cache."""
    return (_environment_folders() or [_expand("~/.cache/wavflow")])[0]


def resolve(name_or_path: str | os.PathLike[str], *, folders: Sequence[Path] = ()) -> Path:
    """Find weights on this machine, without the network.

    Looks at the path itself, then in ``folders``, in those of the environment variable
    ``WAVFLOW_MODELS`` (several are separated as in ``PATH``), in :func:`default_folder`, and in
    the cache of Hugging Face.

    Args:
        name_or_path: A path, a file name, the name of a known file, or ``clip`` or
            ``synchformer`` for any known file of that kind.
        folders: Where to look first.

    Raises:
        CheckpointError: It is nowhere; the message says where was looked and how to get it.
    """
    name = os.fspath(name_or_path)
    path = _expand(name)
    if is_file(path):
        return path
    known = _candidates(name)
    places = list(dict.fromkeys([*folders, *_environment_folders(), default_folder()]))
    names = [file for item in known for file in item.filenames] or [name]
    for folder in places:
        for file in names:
            if is_file(folder / file):
                return folder / file
    for item in known:
        cached = _in_hub_cache(item)
        if cached is not None:
            return cached
    raise CheckpointError(_advice(name, known, places))


def _candidates(name: str) -> list[KnownFile]:
    if name in KINDS:
        # "synchformer" is a kind and a file: the file asked for by its name comes first.
        return sorted((k for k in KNOWN_FILES if k.kind == name), key=lambda k: k.name != name)
    return [item for item in KNOWN_FILES if name == item.name or name in item.filenames]


def _environment_folders() -> list[Path]:
    value = os.environ.get(ENVIRONMENT, "")
    return [_expand(item) for item in value.split(os.pathsep) if item]


def _expand(name: str) -> Path:
    """The path with ``~`` replaced, where there is such a home."""
    with contextlib.suppress(RuntimeError):
        return Path(name).expanduser()
    return Path(name)


def _in_hub_cache(known: KnownFile) -> Path | None:
    """A file that another program has downloaded from the hub; the network is not asked."""
    with contextlib.suppress(ImportError):
        from huggingface_hub import try_to_load_from_cache

        for hub_id in known.hub_ids:
            found = try_to_load_from_cache(hub_id, known.hub_file)
            if isinstance(found, str) and Path(found).is_file():
                return Path(found)
    return None


def _advice(name: str, known: Sequence[KnownFile], places: Sequence[Path]) -> str:
    looked = ", ".join(str(place) for place in places)
    if not known:
        return (
            f"There is no file {name!r}, neither as a path nor in {looked}. Check the path, or "
            f"ask for one of {', '.join([*KINDS, *(item.name for item in KNOWN_FILES)])}."
        )
    names = ", ".join(item.filenames[0] for item in known)
    first = known[0]
    return (
        f"No weights for {name!r} are on this machine: {names} is neither in {looked} nor in the "
        f"Hugging Face cache. Get one with `wavflow download {first.name}`, or save "
        f"{first.url} as {places[0] / first.filenames[0]} (licence: {first.licence})."
    )
