"""ComfyUI, once as a worker process and once as a server; see support/comfy.py."""

import pytest
from support import comfy as support


@pytest.fixture(scope="session")
def comfy_base(tmp_path_factory):
    """A base directory with the pack, tiny weights and videos; skips without COMFYUI_DIR."""
    support.directory()
    return support.make_base(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(scope="session")
def comfy(comfy_base):
    """ComfyUI's executor in a process: ``comfy.run(graph(...))``, ``comfy.code(...)``."""
    worker = support.Worker(comfy_base)
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def comfy_server(comfy_base):
    """A started ComfyUI server: ``.run``, ``.queue``, ``.get``, ``.post``, ``.files``."""
    server = support.Server(comfy_base)
    yield server
    server.close()
