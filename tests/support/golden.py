"""Where the goldens and the real clips are."""

import json
import os
from pathlib import Path

import pytest
from safetensors import safe_open

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(__file__).parents[3] / "shared"


def path_of(name: str) -> Path:
    """A golden file, or a skip that says what is missing."""
    for folder in (DATA, SHARED / "golden", SHARED / "media"):
        if (folder / name).exists():
            return folder / name
    message = f"{name} is neither in tests/data nor in ../shared"
    if os.environ.get("WAVFLOW_REQUIRE_GOLDENS"):
        pytest.fail(f"{message}, and WAVFLOW_REQUIRE_GOLDENS is set")
    pytest.skip(message)


def load(name: str):
    """Tensors and JSON-decoded metadata of a golden safetensors file."""
    with safe_open(path_of(name), framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    decoded = {}
    for key, value in metadata.items():
        try:
            decoded[key] = json.loads(value)
        except json.JSONDecodeError:
            decoded[key] = value
    return tensors, decoded
