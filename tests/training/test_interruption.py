import os
import random
import signal
import time

import pytest
from support.launch import finish, kill, last_step, losses_of, start, wait_until, write_settings
from support.training import make_data, run_settings

KILLS = 10
STEPS = 250


@pytest.fixture
def run_file(tmp_path):
    manifest = make_data(tmp_path / "data", 6)
    settings = run_settings(manifest, data={"workers": 1})
    settings["optim"] |= {"steps": STEPS, "warmup_steps": 20}
    settings["output"] |= {"save_every": 7, "log_every": 1}
    return write_settings(settings, tmp_path / "run.yaml")


@pytest.mark.slow
def test_a_training_that_is_killed_ten_times_has_the_losses_of_an_undisturbed_one(
    run_file, tmp_path
):
    chance = random.Random(0)
    log = tmp_path / "output.txt"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for number in range(KILLS):
        process = start(["training.train", run_file, "-o", killed], log=log)
        before = last_step(killed)
        # In the middle of the run: some steps, but far fewer than are left.
        goal = min(before + chance.randint(1, 20), STEPS - 15)
        if number % 3 == 2:
            time.sleep(chance.uniform(0.5, 4.0))  # at any moment, also while it sets up
        else:
            wait_until(lambda goal=goal: last_step(killed) >= goal, process=process)
            time.sleep(chance.uniform(0, 0.05))
        assert process.poll() is None, log.read_text()[-2000:]
        kill(process)
    assert last_step(killed) < STEPS
    assert finish(start(["training.train", run_file, "-o", killed], log=log)) == 0
    assert finish(start(["training.train", run_file, "-o", whole], log=log)) == 0
    assert list(losses_of(killed)) == list(range(1, STEPS + 1))
    assert losses_of(killed) == pytest.approx(losses_of(whole), rel=1e-6)
    assert not list(killed.glob(".state-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_program_saves_and_a_second_start_goes_on(run_file, tmp_path, number):
    log = tmp_path / "output.txt"
    process = start(["training.train", run_file, "-o", tmp_path / "run"], log=log)
    wait_until(lambda: last_step(tmp_path / "run") >= 3, process=process)
    os.killpg(process.pid, number)
    assert finish(process, seconds=60) == 130
    text = log.read_text()
    assert f"{number.name}: stopping when the work at hand is done" in text
    assert "Traceback" not in text
    stopped = last_step(tmp_path / "run")
    assert (tmp_path / "run" / f"state-{stopped:08d}.safetensors").exists()
    process = start(["training.train", run_file, "-o", tmp_path / "run"], log=log)
    wait_until(lambda: last_step(tmp_path / "run") > stopped, process=process)
    kill(process)
    assert f"Going on after step {stopped}" in log.read_text()
