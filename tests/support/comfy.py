"""ComfyUI under test: a worker process that runs prompts, and a started server.

COMFYUI_DIR is a ComfyUI checkout, COMFYUI_PYTHON the Python that runs it (default: this one). Both
forms work in a base directory of their own; nothing of the user's ComfyUI is read or written.
"""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
import torch

from . import recipe
from .media import make_video, sine

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
START_SECONDS = 120
MODEL = "wavflow_test.safetensors"
CLIP = "clip_tiny.safetensors"
SYNC = "synchformer_tiny.safetensors"
VIDEO = "test_video.mp4"
SILENT = "silent_video.mp4"


def directory():
    """The ComfyUI checkout under test, or a skip that says how to give one."""
    given = os.environ.get("COMFYUI_DIR")
    if not given:
        pytest.skip("set COMFYUI_DIR to a ComfyUI checkout (and COMFYUI_PYTHON to its Python)")
    if not (Path(given) / "execution.py").exists():
        pytest.fail(f"COMFYUI_DIR={given} is no ComfyUI checkout")
    return Path(given).absolute()


def python():
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


def environment():
    """No network for the encoders' libraries; threads that sleep, not spin, on a busy machine."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def make_base(base):
    """A base directory: the pack, the tests' nodes, tiny weights, videos with and without sound."""
    from wavflow_core.checkpoint import Checkpoint, write_checkpoint
    from wavflow_core.cli import main
    from wavflow_core.model import WavFlow
    from wavflow_core.presets import get_preset

    for name in ("custom_nodes", "models/wavflow", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "wavflow").symlink_to(ROOT, target_is_directory=True)
    shutil.copy(SUPPORT / "comfy_nodes.py", base / "custom_nodes")
    models = base / "models" / "wavflow"
    assert main(["init", "--preset", "clip_tiny", "-o", str(models / CLIP)]) == 0
    assert main(["init", "--preset", "synchformer_tiny", "-o", str(models / SYNC)]) == 0
    config = get_preset("tiny")
    filled = recipe.fill(WavFlow(config.model))  # fresh weights would be nearly silent
    write_checkpoint(Checkpoint(config=config, tensors=filled.state_dict()), models / MODEL)
    sound = sine(440, 2, rate=16000).numpy()
    make_video(base / "input" / VIDEO, fps=25, seconds=2, audio=sound)
    make_video(base / "input" / SILENT, fps=25, seconds=2)
    (base / "input" / "text.mp4").write_text("This is no video.\n")
    return base


@dataclasses.dataclass
class Result:
    """What became of a prompt."""

    outputs: dict  # node id -> what the node shows
    events: list  # (event, data), in order
    node_errors: dict = dataclasses.field(default_factory=dict)  # refused before it ran
    captured: dict = dataclasses.field(default_factory=dict)  # by TestCapture (worker only)

    @property
    def ok(self):
        return any(event == "execution_success" for event, _ in self.events)

    @property
    def error(self):
        """(node id, message) of the failure, from validation or from execution."""
        for node, report in self.node_errors.items():
            first = report["errors"][0]
            return node, f"{first['message']}: {first['details']}"
        for event, data in self.events:
            if event == "execution_error":
                return data["node_id"], data["exception_message"].strip()
        return None

    @property
    def executed(self):
        """Ids of the nodes that ran, in order; those from the cache are not among them."""
        ids = [data.get("node") for event, data in self.events if event == "executing"]
        return [node for node in ids if node is not None]

    @property
    def cached(self):
        return [
            node for event, data in self.events if event == "execution_cached"
            for node in data["nodes"]
        ]  # fmt: skip


def graph(**nodes):
    """An API prompt: ``graph(a=("Type", {"x": 1}), b=("Other", {"y": ["a", 0]}))``."""
    return {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}


class Worker:
    """ComfyUI's executor in a process of its own: no server, a prompt takes milliseconds."""

    def __init__(self, base, *flags):
        self.base = base
        self.log = base / "worker.log"
        self._errors = self.log.open("w")
        pack = base / "custom_nodes" / "wavflow"
        command = [python(), str(SUPPORT / "comfy_worker.py"), *map(str, (directory(), base, pack))]
        self._process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(),
        )
        self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"ComfyUI ended:\n{self.log.read_text()[-5000:]}")
        answer = json.loads(line)
        if "crash" in answer:
            raise RuntimeError(answer["crash"])
        return answer

    def _ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def run(self, prompt):
        """Run an API prompt; values of TestCapture nodes are in ``captured`` by their name."""
        kept = self.base / "temp" / f"{uuid.uuid4()}.pt"
        answer = self._ask(prompt=prompt, save_to=str(kept))
        if not answer["valid"]:
            return Result({}, [], answer["node_errors"] or {"": {"errors": [answer["error"]]}})
        captured = torch.load(kept, weights_only=True)
        kept.unlink()
        events = [*answer["messages"], *answer["events"]]
        return Result(answer["outputs"], events, captured=captured)

    def code(self, code, **arguments):
        """Run Python there; ``pack`` is our loaded package, the answer is its ``result``."""
        return self._ask(code=code, arguments=arguments)["result"]

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A started ComfyUI on 127.0.0.1."""

    def __init__(self, base, *flags):
        self.base = base
        self.log = base / "server.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._output = self.log.open("w")
        options = {
            "--base-directory": base,
            "--listen": "127.0.0.1",
            "--port": self.url.rpartition(":")[2],
            "--database-url": f"sqlite:///{base / 'user' / 'comfyui.db'}",
        }
        self._process = subprocess.Popen(
            [
                *(python(), "main.py", "--cpu", "--disable-api-nodes", "--disable-auto-launch"),
                *(str(part) for pair in options.items() for part in pair),
                *flags,
            ],
            cwd=directory(),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        self._wait_until_up()

    def _wait_until_up(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.25)
        self.close()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-5000:]}")

    @property
    def pid(self):
        return self._process.pid

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.loads(answer.read())

    def post(self, path, body):
        """Status and decoded answer, also of a refusal."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def queue(self, prompt):
        """Queue a prompt; gives its id, or the Result of a refusal."""
        status, answer = self.post("/prompt", {"prompt": prompt, "client_id": "test"})
        if status == 200 and not answer["node_errors"]:
            return answer["prompt_id"]
        return Result({}, [], answer["node_errors"] or {"": {"errors": [answer["error"]]}})

    def wait(self, prompt_id, seconds=120):
        """Wait for a queued prompt's end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry and entry.get("status"):
                return Result(entry["outputs"], entry["status"]["messages"])
            assert self._process.poll() is None, self.log.read_text()[-5000:]
            time.sleep(0.05)
        raise TimeoutError(f"the prompt did not end within {seconds} s")

    def run(self, prompt, seconds=120):
        queued = self.queue(prompt)
        return queued if isinstance(queued, Result) else self.wait(queued, seconds)

    def interrupt(self):
        status, _ = self.post("/interrupt", {})
        assert status == 200

    def files(self, result):
        """Paths of all files that a result's nodes show."""
        return [
            self.base / item["type"] / item["subfolder"] / item["filename"]
            for shown in result.outputs.values()
            for items in shown.values()
            if isinstance(items, list)
            for item in items
            if isinstance(item, dict) and "filename" in item
        ]

    def memory(self):
        """Resident bytes of the server."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


class Listener:
    """A server's websocket: (time, event, data) as they come, previews as their bytes."""

    def __init__(self, server, client_id="test"):
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._stream = self._socket.makefile("rb")
        self._socket.sendall(
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: d2F2Zmxvdy10ZXN0LWtleQ==\r\n\r\n".encode()
        )
        assert b"101" in self._stream.readline()
        while self._stream.readline().strip():
            pass
        self._socket.settimeout(None)
        self.events = []
        self.previews = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.wait_for(lambda event, _: event == "status")

    def _message(self):
        """One message's kind and content, or None at the end; a server's frames are not masked."""
        whole, kind = b"", 0
        while True:
            head = self._stream.read(2)
            if len(head) < 2:
                return None
            size = head[1] & 127
            if size >= 126:
                size = int.from_bytes(self._stream.read(2 if size == 126 else 8), "big")
            whole += self._stream.read(size)
            kind = head[0] & 15 or kind
            if head[0] & 128:
                return kind, whole

    def _listen(self):
        while (message := self._message()) is not None:
            kind, content = message
            with self._news:
                if kind == 1:
                    item = json.loads(content)
                    self.events.append((time.monotonic(), item["type"], item["data"]))
                elif kind == 2:
                    self.previews.append(content)
                self._news.notify_all()

    def wait_for(self, wanted, seconds=60):
        """The first (time, event, data) that ``wanted(event, data)`` accepts."""
        end = time.monotonic() + seconds
        with self._news:
            while True:
                for item in self.events:
                    if wanted(item[1], item[2]):
                        return item
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not seen; last events: {self.events[-5:]}")
                self._news.wait(left)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._stream.close()
        self._socket.close()
