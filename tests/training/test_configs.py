"""The settings that come with the project, and what their README says about them."""

import re

import pytest
from support.launch import ROOT

from training.settings import load_config

CONFIGS = sorted((ROOT / "training" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_load_and_begin_with_their_command(path):
    config = load_config(path)
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = " ".join(line.lstrip("# ").rstrip("\\") for line in comment)
    assert f"-m training.train training/configs/{path.name}" in re.sub(r"\s+", " ", command)
    assert config.optim.batch_size % (config.optim.micro_batch or 1) == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_readme_has_a_line_for_the_settings(path):
    assert f"| `{path.stem}` |" in (ROOT / "training" / "README.md").read_text()


def test_eight_and_64_cards_can_share_the_batches():
    for path in CONFIGS:
        config = load_config(path)
        cards = {"large_16k": 64, "medium_16k": 8, "finetune_44k": 8, "t2a": 8}.get(path.stem, 1)
        share = config.optim.batch_size // cards
        assert config.optim.batch_size % cards == 0
        assert share % (config.optim.micro_batch or share) == 0
