"""Runs that are killed, interrupted or shared by processes give the store of a quiet one."""

import csv
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
    files,
    manifest,
    missing_rows,
    mixed_rows,
    run,
    times,
    tiny_encoders,
)

from training.lock import only_run_in
from training.manifest import read_manifest

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


def by_two(line):
    """The command line for two processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [sys.executable, *torchrun, *line[1:]]


def failed(store):
    with (store / "failures.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"] for row in csv.DictReader(file)}


def test_two_processes_make_the_same_store_as_one(tmp_path, quiet, options):
    table, wanted = quiet
    line = command(table, tmp_path / "store", options, "--shard-size", SIZE, "--workers", 0)
    done = run(by_two(line))
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "store") == content(wanted)
    assert f"Encoded {SHARDS * SIZE} clips in" in done.stderr


@pytest.mark.parametrize(("count", "code"), [(3, 0), (4, 1)], ids=["allowed", "too many"])
def test_what_another_process_leaves_out_is_named_and_in_the_table(tmp_path, options, count, code):
    good = mixed_rows(tmp_path, 8)
    rows = [*good[:4], *missing_rows(tmp_path, count), *good[4:]]  # the second shard
    table, store = manifest(tmp_path / "m.csv", rows), tmp_path / "store"
    line = command(table, store, options, "--shard-size", 4, "--workers", 0)
    done = run(by_two(line), timeout=90)
    assert done.returncode == code, done.stderr
    assert failed(store) == {f"missing{n:02d}" for n in range(count)}
    for n in range(count):
        assert done.stderr.count(f"Left out missing{n:02d}: There is no video") == 1
    assert ("4 of 12 samples failed, and 3 may: " in done.stderr) == bool(code)
    assert "RuntimeError" not in done.stderr


def test_one_that_is_refused_does_not_leave_the_other_waiting(tmp_path, quiet, options):
    pytest.importorskip("fcntl")
    table, _ = quiet
    (tmp_path / "store").mkdir()
    line = command(table, tmp_path / "store", options, "--workers", 0)
    with only_run_in(tmp_path / "store"):
        done = run(by_two(line), timeout=90)
    assert done.returncode == 1
    assert "Another run works in" in done.stderr
    assert "RuntimeError" not in done.stderr


def test_an_interrupt_of_two_processes_keeps_what_either_left_out(tmp_path, quiet, options):
    lost = missing_rows(tmp_path, 4)
    rows, _ = read_manifest(quiet[0])
    table = manifest(tmp_path / "m.csv", [rows[0], lost[0], rows[1], lost[1], *rows[2:]])
    store = tmp_path / "store"
    more = ("--shard-size", SIZE, "--workers", 0, "--max-failures", 1)
    process = start(by_two(command(table, store, options, *more)), start_new_session=True)
    wait_for(lambda: len(shards(store)) > 2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode
    assert failed(store) == {"missing00", "missing01"}, errors
    assert len(shards(store)) < SHARDS
    # The other's was perhaps not heard of yet when the signal came; the table has both.
    assert "Left out missing00: " in errors


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
    assert not [path for path in files(store) if path.name.startswith(".")]
    left = shards(store)
    assert 1 < len(left) < SHARDS
    rows = (store / "manifest.csv").read_text()
    assert all(name in rows for name in left)
    done = run(line)  # with as many threads as the others, so that every sum is the same
    assert done.returncode == 0, done.stderr
    assert content(store) == content(wanted)
