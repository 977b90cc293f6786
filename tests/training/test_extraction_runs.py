"""Runs that are killed, interrupted or shared by processes give the store of a quiet one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support.extraction import (
    ROOT,
    command,
    content,
    environment,
    extract,
    manifest,
    mixed_rows,
    run,
    times,
    tiny_encoders,
)

SHARDS, SIZE, KILLS = 24, 2, 10
# Imports once, and runs each command that it is told in a process of its own, which notes which
# clip it encodes when.
LAUNCHER = """
import json, os, sys
import open_clip
from training import extract_features
encode = extract_features.encode
def counted(clip, *arguments):
    with open(log, "a") as file:
        file.write(clip.row.id + "\\n")
    return encode(clip, *arguments)
extract_features.encode = counted
for line in sys.stdin:
    log, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        os._exit(extract_features.main(arguments))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return tiny_encoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, options):
    """A manifest and the store that an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("clips")
    table = manifest(folder / "m.csv", mixed_rows(folder, SHARDS * SIZE))
    line = command(table, folder / "store", options, "--shard-size", SIZE, "--workers", 0)
    done = run(line)
    assert done.returncode == 0, done.stderr
    return table, folder / "store"


def shards(store):
    return {path.name for path in store.glob("shard-*")} if store.is_dir() else set()


def wait_for(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)


def start(line, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(line, cwd=ROOT, env=environment(), text=True, **pipes)


@pytest.fixture
def launch(tmp_path):
    """Starts a run; gives its process number and a function that waits for its exit code."""
    with (tmp_path / "errors").open("w") as errors:
        launcher = start(
            [sys.executable, "-c", LAUNCHER], stdin=subprocess.PIPE, stderr=errors, bufsize=1
        )

    def run(log, line):
        launcher.stdin.write(json.dumps([str(log), *line[3:]]) + "\n")
        return int(launcher.stdout.readline()), lambda: int(launcher.stdout.readline())

    yield run
    launcher.stdin.close()
    launcher.wait(timeout=60)
    launcher.stdout.close()


@pytest.mark.slow
def test_ten_kills_lose_at_most_a_shard_each_and_change_nothing(tmp_path, quiet, options, launch):
    table, wanted = quiet
    store, log = tmp_path / "store", tmp_path / "log"
    store.mkdir()
    chance = random.Random(7)
    runs = []
    for kill in range(KILLS + 1):
        there, written = shards(store), times(store)
        log.write_text("")
        more = ("--shard-size", SIZE, "--workers", kill % 2)
        process, wait = launch(log, command(table, store, options, *more))
        if kill < KILLS:
            # In the middle of the work, but never so far that none is left for the next.
            wait_for(lambda: log.stat().st_size)
            if kill % 3:
                wait_for(lambda: len(shards(store)) > len(there))  # noqa: B023
            time.sleep(chance.uniform(0, 0.1 if kill % 2 else 0.02))
            os.kill(process, signal.SIGKILL)
            assert wait() == -signal.SIGKILL
            assert len(shards(store)) < SHARDS
        else:
            assert wait() == 0, (tmp_path / "errors").read_text()
        runs.append((there, log.read_text().split()))
        now = times(store)
        assert all(now[name] == written[name] for name in there)
    assert content(store) == content(wanted)
    order = {f"clip{n:03d}": f"shard-{n // SIZE:05d}.safetensors" for n in range(SHARDS * SIZE)}
    for there, encoded in runs:  # nothing finished is encoded again
        assert there.isdisjoint(order[id] for id in encoded)
    again = sum(len(encoded) for _, encoded in runs) - SHARDS * SIZE
    assert 0 <= again <= KILLS * SIZE


def test_two_processes_make_the_same_store_as_one(tmp_path, quiet, options):
    table, wanted = quiet
    line = command(table, tmp_path / "store", options, "--shard-size", SIZE, "--workers", 0)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run([sys.executable, *torchrun, *line[1:]])
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "store") == content(wanted)
    assert f"Encoded {SHARDS * SIZE} clips in" in done.stderr


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)],
    ids=["to all of a terminal", "to the process", "to all of a launcher"],
)
def test_a_signal_stops_with_130_and_the_next_run_goes_on(tmp_path, quiet, options, number, send):
    table, wanted = quiet
    store = tmp_path / "store"
    line = command(table, store, options, "--shard-size", SIZE, "--workers", 1)
    process = start(line, start_new_session=True)
    wait_for(lambda: len(shards(store)) > 1)
    send(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "interrupted; the same command goes on" in errors
    assert "Traceback" not in errors
    assert not [path for path in store.iterdir() if path.name.startswith(".")]
    left = shards(store)
    assert 1 < len(left) < SHARDS
    rows = (store / "manifest.csv").read_text()
    assert all(name in rows for name in left)
    assert extract(table, store, options) == 0
    assert content(store) == content(wanted)
