import re

import pytest
import torch
from support.launch import finish, losses_of, start, write_settings
from support.training import make_data, one_process, run_config, run_settings

from training.signals import StopRequest
from training.state import latest_state
from training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), 6)


@pytest.fixture(scope="module")
def alone(manifest, tmp_path_factory):
    """The run in one process: its losses and its last state."""
    folder = tmp_path_factory.mktemp("alone")
    train(run_config(manifest), folder, one_process(), StopRequest())
    return folder


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_several_processes_do_what_one_does(manifest, alone, tmp_path, processes, strategy):
    settings = run_settings(manifest, execution={"strategy": strategy})
    settings["data"]["validation"] = [str(manifest)]
    settings["output"] |= {"validate_every": 6, "sample_every": 6, "samples": 1, "sample_steps": 1}
    if processes == 2:
        settings["optim"]["micro_batch"] = 1
    path = write_settings(settings, tmp_path / "run.yaml")
    log = tmp_path / "output.txt"
    process = start(["training.train", path, "-o", tmp_path / "run"], processes=processes, log=log)
    assert finish(process) == 0, log.read_text()[-3000:]
    shares = re.findall(r"this process holds (\d+) of (\d+) weights", log.read_text())
    assert bool(shares) == (strategy == "fsdp")
    for share, whole in shares:  # nearly equal: each tensor's rows are dealt out whole
        assert int(share) < 1.5 * int(whole) / processes
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(alone), rel=1e-5)
    first, second = (latest_state(folder) for folder in (alone, tmp_path / "run"))
    for kind in ("model", "ema0", "ema1"):
        for name, tensor in first.tensors(kind).items():
            found = second.tensors(kind)[name]
            assert torch.allclose(found, tensor, rtol=1e-3, atol=2e-5), (kind, name)
    assert (tmp_path / "run" / "samples" / "step-00000006" / "00.wav").exists()


@pytest.mark.parametrize(("before", "after"), [("fsdp", "ddp"), ("ddp", "fsdp")])
def test_a_run_goes_on_with_another_number_of_processes_and_strategy(
    manifest, alone, tmp_path, before, after
):
    settings = run_settings(manifest, execution={"strategy": before})
    for strategy, steps, processes in ((before, 3, 2), (after, 6, 3 if before == "ddp" else 1)):
        settings["execution"]["strategy"] = strategy
        settings["optim"] |= {"steps": steps, "batch_size": 6 if before == "ddp" else 4}
        path = write_settings(settings, tmp_path / "run.yaml")
        log = tmp_path / f"{strategy}.txt"
        process = start(
            ["training.train", path, "-o", tmp_path / "run"], processes=processes, log=log
        )
        assert finish(process) == 0, log.read_text()[-3000:]
    if before == "ddp":
        expected = tmp_path / "alone"
        config = run_config(manifest, optim={"batch_size": 6})
        train(config, expected, one_process(), StopRequest())
    else:
        expected = alone
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(expected), rel=1e-5)
