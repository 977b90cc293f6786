"""Two machines, simulated by two network namespaces, that only see each other by a cable."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.launch import finish, last_step, losses_of, start, wait_until, write_settings
from support.training import make_data, one_process, run_config, run_settings

from training.signals import StopRequest
from training.train import train

pytestmark = pytest.mark.slow

STEPS = 40
DOWN_SECONDS = 5
ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def kill_machine(name, process):
    """Kill everything that runs on a machine: also what would outlive its launcher."""
    for number in ip("netns", "pids", name).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)
    process.wait()


@pytest.fixture
def namespaces():
    """Names of two network namespaces with a cable between them."""
    if sys.platform != "linux" or shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs Linux, root and the ip command to make network namespaces")
    names = [f"wavflow{os.getpid()}{side}" for side in "ab"]
    cables = [f"wf{os.getpid() % 100000}{side}" for side in "ab"]
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, ADDRESSES, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield dict(zip(names, cables, strict=True))
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_two_machines_train_and_survive_the_restart_of_one(namespaces, tmp_path, monkeypatch):
    manifest = make_data(tmp_path / "data", 6)
    sections = {"optim": {"steps": STEPS}, "output": {"save_every": 5}}
    path = write_settings(run_settings(manifest, **sections), tmp_path / "run.yaml")
    folder = tmp_path / "run"

    def launch(number):
        name, cable = list(namespaces.items())[number]
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", cable)
        # Otherwise those who stayed do not tell those who come back where to meet.
        monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
        rendezvous = {
            "nnodes": "2",
            "max-restarts": "5",
            "rdzv-backend": "c10d",
            "rdzv-id": "pair",
            "rdzv-endpoint": f"{ADDRESSES[0]}:29471",
            "rdzv-conf": f"is_host={int(number == 0)}",
            "local-addr": ADDRESSES[number],
        }
        return start(
            ["training.train", path, "-o", folder],
            torchrun=[f"--{key}={value}" for key, value in rendezvous.items()],
            prefix=["ip", "netns", "exec", name],
            log=tmp_path / f"machine{number}.txt",
        )

    machines = [launch(0), launch(1)]
    try:
        wait_until(lambda: last_step(folder) >= 8, process=machines[0])
        kill_machine(list(namespaces)[1], machines[1])
        assert last_step(folder) < STEPS
        time.sleep(DOWN_SECONDS)
        machines[1] = launch(1)
        codes = [finish(machine) for machine in machines]
        assert codes == [0, 0], (tmp_path / "machine0.txt").read_text()[-3000:]
    finally:
        for name, machine in zip(namespaces, machines, strict=True):
            kill_machine(name, machine)
    assert "Going on after step" in "".join(p.read_text() for p in tmp_path.glob("machine*.txt"))
    train(run_config(manifest, **sections), tmp_path / "alone", one_process(), StopRequest())
    assert list(losses_of(folder)) == list(range(1, STEPS + 1))
    assert losses_of(folder) == pytest.approx(losses_of(tmp_path / "alone"), rel=1e-5)
