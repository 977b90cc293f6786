"""The three commands that make the bundled weights, with a few clips and steps."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.bundled import need_files

from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.features.encoders import load_clip, load_synchformer
from wavflow_core.weights.bundled import ASSETS, BUNDLED

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_three_commands_make_a_model_of_the_bundled_ones_kind(tmp_path):
    need_files()
    # The environment is that of the tests, whatever it is called; it is not to be set up again.
    place = [f"WORLD={tmp_path}", f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/.installed"]
    for command in ("world", "encoders", "model"):
        done = subprocess.run(
            ["make", command, "TRIAL=1", *place],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
    made, bundled = (
        read_checkpoint(folder / BUNDLED["model"].filename) for folder in (tmp_path, ASSETS)
    )
    encoders = {
        "clip": load_clip(tmp_path / BUNDLED["clip"].filename).config,
        "sync": load_synchformer(tmp_path / BUNDLED["synchformer"].filename).config,
    }
    for kind, config in encoders.items():
        assert config.architecture == getattr(bundled.config, kind).architecture
    assert made.config == dataclasses.replace(bundled.config, **encoders)
    assert made.provenance.data == bundled.provenance.data
    assert {n: t.shape for n, t in made.tensors.items()} == {
        n: t.shape for n, t in bundled.tensors.items()
    }
