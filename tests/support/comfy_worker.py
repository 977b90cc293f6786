"""ComfyUI's core in one process, without its server: runs prompts that it reads as JSON lines.

Started by comfy.py with ComfyUI's own Python: ``python comfy_worker.py COMFYUI_DIR BASE PACK``.
A request is one line on standard input, its answer one line on the first standard output; all that
ComfyUI itself prints goes to standard error.

    {"prompt": {...}}                     run an API prompt
    {"code": "...", "arguments": {...}}   run Python; ``result`` is the answer
"""
# ruff: noqa: E402, F401, I001  what is imported when matters here

import asyncio
import dataclasses
import inspect
import itertools
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

comfyui, base, pack_path = (str(Path(item).absolute()) for item in sys.argv[1:4])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # prints of ComfyUI and of nodes must not mix with the answers
here = str(Path(__file__).parent)
sys.path[:] = [comfyui, *(item for item in sys.path if item != here)]
sys.argv = ["main.py", "--cpu", "--base-directory", base, *sys.argv[4:]]
os.chdir(comfyui)

import comfy.options

comfy.options.enable_args_parsing()

import utils.extra_config  # before nodes, or comfy/utils.py takes the name "utils"
import execution
import nodes
import torch
from comfy.cli_args import args


class FakeServer:
    """What an executor and the nodes ask a server for; keeps every message."""

    def __init__(self):
        self.client_id = "test"
        self.last_node_id = None
        self.sockets_metadata = {}
        self.messages = []

    def send_sync(self, event, data, sid=None):
        self.messages.append((event, data))

    def queue_updated(self):
        pass


async def load():
    import server

    fake = FakeServer()
    server.PromptServer.instance = fake
    await nodes.init_public_apis()
    extras = Path(comfyui) / "comfy_extras"
    for path in (
        extras / "nodes_audio.py",
        extras / "nodes_video.py",
        Path(__file__).with_name("comfy_nodes.py"),
        Path(pack_path),
    ):
        if not await nodes.load_custom_node(str(path), ignore=set(nodes.NODE_CLASS_MAPPINGS)):
            raise SystemExit(f"ComfyUI did not load {path}")
    return fake


def hijack_progress(fake):
    """As main.py does: progress becomes messages, and cancelling raises."""
    import comfy.model_management
    import comfy.utils

    def hook(value, total, preview, **_):
        comfy.model_management.throw_exception_if_processing_interrupted()
        size = None if preview is None else preview[1].size
        fake.messages.append(("progress", {"value": value, "max": total, "preview": size}))

    comfy.utils.set_progress_bar_global_hook(hook)


def make_executor(fake):
    known = inspect.signature(execution.PromptExecutor.__init__).parameters
    extra = (
        {"cache_args": {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}}
        if "cache_args" in known
        else {"cache_size": 0}
    )
    return execution.PromptExecutor(fake, cache_type=execution.CacheType.CLASSIC, **extra)


def plain(value):
    """A captured value without classes of ComfyUI or of the pack: readable by any Python."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return repr(value)


def jsonable(value):
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


def run_prompt(executor, fake, prompt, save_to):
    captured = sys.modules[str(Path(__file__).with_name("comfy_nodes"))].CAPTURED
    captured.clear()
    fake.messages.clear()
    checked = execution.validate_prompt("prompt", prompt, None)
    valid, error, outputs, node_errors = asyncio.run(checked)
    answer = {"valid": valid, "error": error, "node_errors": node_errors, "events": []}
    if valid:
        executor.execute(prompt, "prompt", {"client_id": "test"}, execute_outputs=outputs)
        answer["events"] = [[event, data] for event, data in executor.status_messages]
        answer["messages"] = [list(item) for item in fake.messages]
        answer["outputs"] = executor.history_result["outputs"]
        torch.save({name: plain(value) for name, value in captured.items()}, save_to)
    return jsonable(answer)


def run_code(code, arguments):
    pack = sys.modules[pack_path.replace(".", "_x_")]
    scope = {"pack": pack, "result": None, **arguments}
    exec(code, scope)  # noqa: S102  the tests' own code
    return {"result": jsonable(scope["result"])}


def main():
    fake = asyncio.run(load())
    hijack_progress(fake)
    executor = make_executor(fake)
    if args.base_directory != base:
        raise SystemExit("ComfyUI did not read its arguments")
    for line in itertools.chain(['{"ready": true}'], sys.stdin):
        request = json.loads(line)
        try:
            if "prompt" in request:
                answer = run_prompt(executor, fake, request["prompt"], request["save_to"])
            elif "code" in request:
                answer = run_code(request["code"], request["arguments"])
            else:
                answer = {"ready": True}
        except Exception:  # noqa: BLE001  the test shall see it, whatever it is
            answer = {"crash": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
