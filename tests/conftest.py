"""Fixtures of several rooms."""

import pytest
import torch
from support.bundled import make_stand_ins

from wavflow_core.weights import bundled


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    return make_stand_ins(tmp_path_factory.mktemp("assets"))


@pytest.fixture
def assets(stand_ins, monkeypatch):
    """A folder of untrained files in the place of the bundled ones."""
    monkeypatch.setattr(bundled, "ASSETS", stand_ins)
    return stand_ins
