import subprocess
import sys

CHILD = """
import atexit, logging, sys
from training.program import leave
atexit.register(print, "taken apart")
logging.basicConfig(stream=sys.stderr, format="%(message)s")
logging.warning("logged")
sys.stdout.write("said")
leave(3)
"""


def test_leaving_says_everything_and_shuts_nothing_down():
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "said", "logged\n")
