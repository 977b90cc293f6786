"""Programs of the training in processes of their own, one or several."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from training.log import read_log

ROOT = Path(__file__).parents[2]


def write_settings(settings, path):
    path.write_text(yaml.safe_dump(settings))
    return path


def environment():
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}


def start(arguments, *, processes=1, torchrun=(), prefix=(), log=None):
    """Begin ``python -m arguments...``, by torchrun where there are several processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launcher += torchrun or ["--standalone"]  # else all use one port, and the next finds it taken
    many = processes > 1 or torchrun
    command = [sys.executable, *(launcher if many else ()), "-m", *map(str, arguments)]
    output = subprocess.DEVNULL if log is None else log.open("ab")
    return subprocess.Popen(
        [*prefix, *command],
        env=environment(),
        cwd=ROOT,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def finish(process, *, seconds=300):
    """Wait for a program and give its exit code; one that hangs is killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def kill(process):
    """Kill a program with all its processes, so that nothing can be tidied up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(condition, *, seconds=120, process=None):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        assert process is None or process.poll() is None, "the program has ended"
        time.sleep(0.01)


def losses_of(folder):
    return {e["step"]: e["loss"] for e in read_log(folder / "log.jsonl") if "loss" in e}


def last_step(folder):
    return max(losses_of(folder), default=0)
