"""Stand-ins of the bundled files, and whether the trained ones are in the repository."""

import dataclasses

import pytest
import torch

from wavflow_core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from wavflow_core.cli import main
from wavflow_core.config import AudioConfig
from wavflow_core.weights import WEIGHTS, bundled

from . import recipe

SECONDS = 2.0  # window of the stand-in: less than the demonstration's video


def missing():
    """Names of bundled files that are not in the repository."""
    files = [bundled.ASSETS / bundled.BUNDLED[kind].filename for kind in WEIGHTS]
    return [path.name for path in files if not path.exists()]


def untrained():
    """Whether what lies in assets/ are stand-ins of somebody who works on the project."""
    about = read_checkpoint(bundled.bundled_file("model")).provenance
    return about.step == 0


def need_files():
    """Skip where the weights are not in the repository (yet)."""
    if missing():
        pytest.skip(f"the bundled {', '.join(missing())} are not in assets/")


def need_trained():
    """Skip where the trained weights are not in the repository (yet)."""
    need_files()
    if untrained():
        pytest.skip("what lies in assets/ is untrained")


def make_stand_ins(folder):
    """Files with the bundled names that are small, quick and loud, and belong together."""
    from wavflow_core.features import load_clip, load_synchformer
    from wavflow_core.model import WavFlow
    from wavflow_core.presets import get_preset

    names = {kind: folder / bundled.BUNDLED[kind].filename for kind in WEIGHTS}
    for kind, preset in (("clip", "clip_tiny"), ("synchformer", "synchformer_tiny")):
        assert main(["init", "--preset", preset, "-o", str(names[kind])]) == 0
    config = dataclasses.replace(
        get_preset("tiny"),
        audio=AudioConfig(window=SECONDS),
        clip=load_clip(names["clip"]).config,
        sync=load_synchformer(names["synchformer"]).config,
    )
    with torch.no_grad():
        tensors = recipe.fill(WavFlow(config.model)).state_dict()
    write_checkpoint(Checkpoint(config=config, tensors=tensors), names["model"])
    return folder
