"""The rooms and their doors: imports point one way, importing does nothing, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "wavflow_core"
MAX_FILE = 350
MAX_FUNCTION = 60
MAX_MODEL_FILE = 220

# Lowest first; a module may import from its own line and from those above it.
LAYERS = [
    ["errors"],
    ["strict"],
    ["config", "devices"],
    ["presets"],
    ["media"],
    ["picture"],
    ["tensor_files"],
    ["flow"],
    ["model"],
    ["features"],
    ["conditions"],
    ["weights"],
    ["checkpoint"],
    ["sampler"],
    ["encoding"],
    ["pipeline"],
    ["batch", "describe", "outputs"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = ("torchaudio", "torchvision", "open_clip", "transformers", "huggingface_hub")


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def room(path):
    """The top-level name of a core module, e.g. ``media`` for media/video.py."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def relative_imports(path):
    """Core rooms that a file imports, as (room, line), also inside functions."""
    package = path.relative_to(CORE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = (*base, *(node.module.split(".") if node.module else ()))
            for name in [module[0]] if module else [alias.name for alias in node.names]:
                yield name, node.lineno


def absolute_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0], node.lineno


def test_every_room_of_the_core_has_a_place_in_the_order():
    rooms = {room(path) for path in sources("wavflow_core")} - {"__init__"}
    assert rooms == set(LEVEL)


@pytest.mark.parametrize("path", sources("wavflow_core"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    if path == CORE / "__init__.py":
        return
    for name, line in relative_imports(path):
        assert LEVEL[name] <= LEVEL[room(path)], f"{path}:{line} imports {name}"
        same_level = LEVEL[name] == LEVEL[room(path)]
        assert not same_level or name == room(path), f"{path}:{line} imports its neighbour {name}"


@pytest.mark.parametrize("path", sources("wavflow_core"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_itself_relatively_and_neither_nodes_nor_training_nor_comfyui(path):
    forbidden = {"wavflow_core", "nodes", "training", "comfy", "comfy_api", "folder_paths"}
    assert not [item for item in absolute_imports(path) if item[0] in forbidden]


@pytest.mark.parametrize("path", sources("training"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_training_imports_itself_relatively_and_of_ours_the_core_alone(path):
    forbidden = {"training", "nodes", "comfy", "comfy_api", "folder_paths"}
    assert not [item for item in absolute_imports(path) if item[0] in forbidden]


@pytest.mark.parametrize(
    "path", sources("wavflow_core", "training"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    limit = MAX_MODEL_FILE if path == CORE / "model" / "wavflow.py" else MAX_FILE
    assert len(text.splitlines()) <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_core_loads_no_heavy_or_breakable_package():
    code = f"""
import sys, wavflow_core, wavflow_core.cli
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_importing_the_core_has_no_side_effects():
    code = """
import logging, os, random, sys, torch, av
import threading
state = lambda: (
    list(sys.path), dict(os.environ), logging.root.level, list(logging.root.handlers),
    torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
    torch.random.get_rng_state().tolist(), random.getstate(), threading.active_count(),
    av.logging.get_level(), os.getcwd(), sorted(os.listdir(".")),
)
before = state()
import wavflow_core, wavflow_core.cli
print(state() == before)
"""
    assert run_python(code).strip() == "True"


def test_importing_the_core_takes_under_a_second_beyond_torch():
    code = """
import torch, time
start = time.perf_counter()
import wavflow_core, wavflow_core.cli
print(time.perf_counter() - start)
"""
    assert min(float(run_python(code)) for _ in range(3)) < 1.0


def test_no_module_of_ours_touches_the_module_path():
    for path in sources("wavflow_core", "training", "nodes"):
        assert "sys.path" not in path.read_text()


def test_requirements_are_the_seven_names_without_pins():
    names = (ROOT / "requirements.txt").read_text().split()
    assert names == [
        "torch",
        "torchaudio",
        "open_clip_torch",
        "einops",
        "av",
        "safetensors",
        "numpy",
    ]


def test_the_programs_of_the_training_are_imported_without_side_effects():
    code = """
import signal, sys, logging
before = (list(sys.path), logging.root.level, signal.getsignal(signal.SIGINT))
import training.train, training.export, training.evaluate
import training.extract_features, training.make_manifest
print((list(sys.path), logging.root.level, signal.getsignal(signal.SIGINT)) == before)
heavy = ("tensorboard", "torchaudio", "open_clip", "av_bench", "pymunk")
print([name for name in heavy if name in sys.modules])
"""
    assert run_python(code).split("\n")[:2] == ["True", "[]"]
