"""Running a stage in a process of its own, and its memory."""

import re
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def peak_memory() -> float:
    """Peak resident memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss begins at what the parent held; the high-water mark does not.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run_alone(module: str, *arguments: str) -> str:
    """Last line that a module of ours prints in a fresh process."""
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.splitlines()[-1]
