"""Files that users choose in ComfyUI's input and output folders, and those that nodes write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.v0_0_2 import io, ui

from ..wavflow_core.errors import MediaError, WavFlowError
from ..wavflow_core.weights import BUNDLED, bundled_file

BUNDLED_VIDEO = f"{BUNDLED['video'].filename} (bundled)"


def choose_file(choice: str) -> Path:
    """The file that a choice such as ``clip.mp4`` or ``a/clip.mp4 [output]`` stands for.

    Raises:
        CheckpointError: It is the bundled video, which is not there.
        MediaError: It is not there, or lies outside of ComfyUI's own folders.
    """
    if choice == BUNDLED_VIDEO:
        return bundled_file("video")
    name, folder = folder_paths.annotated_filepath(choice)
    base = Path(os.path.abspath(folder or folder_paths.get_input_directory()))  # noqa: PTH100
    # Not resolved: a link that somebody put into the folder may lead anywhere, a ".." may not.
    path = Path(os.path.abspath(base / name.strip()))  # noqa: PTH100
    if not path.is_relative_to(base):
        raise MediaError(f"{choice!r} lies outside of the folder {base.name!r}; choose another.")
    if not path.is_file():
        raise MediaError(
            f"The file {choice!r} is not in the folder {base.name!r}; upload it, or press R and "
            "choose another."
        )
    return path


def list_inputs(suffixes: Sequence[str]) -> list[str]:
    """Files of these kinds directly in the input folder."""
    folder = Path(folder_paths.get_input_directory())
    if not folder.is_dir():
        return []
    return sorted(
        item.name for item in folder.iterdir() if item.suffix.lower() in suffixes and item.is_file()
    )


def list_both(suffix: str) -> list[str]:
    """Files of this kind anywhere in the input and output folders, the latter marked so."""
    folders = (
        (folder_paths.get_input_directory(), ""),
        (folder_paths.get_output_directory(), " [output]"),
    )
    return [
        Path(where, name).relative_to(folder).as_posix() + mark
        for folder, mark in folders
        for where, _, names in sorted(os.walk(folder))
        for name in sorted(names)
        if name.lower().endswith(suffix)
    ]


def version_of(choice: str | None) -> str:
    """What changes when a file is replaced by another; a choice that is linked is not known."""
    if choice is None:
        return "linked"
    try:
        facts = choose_file(choice).stat()
    except WavFlowError:
        return "missing"
    return f"{facts.st_mtime_ns} {facts.st_size}"


def problem_of(choice: str | None) -> bool | str:
    """What is wrong with a choice, for ``validate_inputs``; True if nothing, or if it is linked."""
    if choice is None:
        return True
    try:
        choose_file(choice)
    except WavFlowError as error:
        return str(error)
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFile:
    """A file to write in the output or temporary folder.

    Attributes:
        path: Where to write it.
        shown: What tells the browser where it is.
    """

    path: Path
    shown: ui.SavedResult


def new_files(
    prefix: str, suffix: str, *, kind: io.FolderType = io.FolderType.output
) -> Iterator[NewFile]:
    """Names that no file has yet, one after the other, as ComfyUI counts them.

    Args:
        prefix: Begin of the names, with folders and variables such as ``%year%``.
        suffix: End of the names, with its dot.
        kind: ComfyUI's folder.

    Raises:
        MediaError: The prefix leads out of the folder.
    """
    output = kind is io.FolderType.output
    root = folder_paths.get_output_directory() if output else folder_paths.get_temp_directory()
    within = Path(os.path.abspath(Path(root) / prefix))  # noqa: PTH100
    if not within.is_relative_to(os.path.abspath(root)):  # noqa: PTH100
        raise MediaError(
            f"filename_prefix is {prefix!r}, which leads out of the folder {Path(root).name!r}; "
            "leave out '..' and drive letters."
        )
    folder, name, count, subfolder, _ = folder_paths.get_save_image_path(prefix, root)
    while True:
        file = f"{name}_{count:05}_{suffix}"
        path = Path(folder) / file
        count += 1
        if not path.exists():
            yield NewFile(path=path, shown=ui.SavedResult(file, subfolder, kind))


def workflow_tags(node: type[io.ComfyNode]) -> dict[str, str]:
    """Prompt and workflow as tags of a file; none where ComfyUI runs with --disable-metadata."""
    if args.disable_metadata or node.hidden is None:
        return {}
    found = {"prompt": node.hidden.prompt, **(node.hidden.extra_pnginfo or {})}
    return {name: json.dumps(value) for name, value in found.items() if value is not None}
