import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import golden, recipe
from support.launch import ROOT, environment, write_settings
from support.tiny import inputs, model_config
from support.training import make_data, one_process, run_config, run_settings

from training import signals
from training.data import TrainBatch
from training.distributed import World
from training.export import export_state
from training.export import main as export_main
from training.log import read_log
from training.run import hold_folder, set_up
from training.signals import StopRequest, stop_on_signals
from training.state import latest_state, read_state
from training.step import TrainingStep, checkpoint_blocks
from training.train import main, train
from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.conditions import FeatureBatch
from wavflow_core.config import FlowConfig
from wavflow_core.errors import CheckpointError, ConfigError, WavFlowError
from wavflow_core.model import WavFlow
from wavflow_core.pipeline import load_model
from wavflow_core.tensor_files import read_metadata

REFERENCE_CLAMP = 1e-6


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), 5)


def built(config, folder):
    with hold_folder(folder, one_process()):
        return set_up(config, folder, one_process())[0]


def losses_of(folder):
    return {entry["step"]: entry["loss"] for entry in read_log(folder / "log.jsonl")}


def run(config, folder, stop=None):
    return train(config, folder, one_process(), stop or StopRequest())


def weights_of(folder):
    return latest_state(folder).tensors("model")


def counted(monkeypatch, name):
    """A list that grows by one with every call of a function, which does what it did."""
    module, attribute = name.rsplit(".", 1)
    function, calls = getattr(importlib.import_module(module), attribute), []

    def counting(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)

    monkeypatch.setattr(name, counting)
    return calls


def golden_step():
    metadata = golden.load("wavflow_tiny.safetensors")[1]
    model = recipe.fill(WavFlow(model_config(metadata)))
    clip, sync, text = inputs()
    there = torch.ones(2, dtype=torch.bool)
    batch = TrainBatch(
        ids=("a", "b"),
        x_1=recipe.tensor("train.x1", (2, 50, 20)),
        x_0=recipe.tensor("train.x0", (2, 50, 20)),
        t=torch.tensor([0.2, 0.7]),
        features=FeatureBatch(
            clip=clip, sync=sync, text=text, has_clip=there, has_sync=there, has_text=there
        ),
    )
    return TrainingStep(model, FlowConfig(loss_clamp=REFERENCE_CLAMP)), batch


@pytest.mark.parametrize("checkpointed", [False, True])
def test_one_training_step_has_the_loss_and_every_gradient_norm_of_the_golden(
    checkpointed, monkeypatch
):
    tensors = golden.load("wavflow_tiny.safetensors")[0]
    step, batch = golden_step()
    if checkpointed:
        checkpoint_blocks(step.model)
    calls = counted(monkeypatch, "training.step.checkpoint")
    loss = step(batch).mean()
    loss.backward()
    assert bool(calls) == checkpointed
    assert torch.allclose(loss, tensors["train.loss"][0], rtol=1e-5)
    norms = torch.stack(
        [torch.zeros(()) if p.grad is None else p.grad.norm() for p in step.model.parameters()]
    )
    # Sums that cancel to nearly nothing are noise: relative to the largest norm they are zero.
    floor = 1e-7 * tensors["train.grad_norms"].max()
    assert torch.allclose(norms, tensors["train.grad_norms"], rtol=1e-5, atol=float(floor))


def test_a_dropped_modality_teaches_the_empty_features_and_nothing_else_of_that_modality():
    step, batch = golden_step()
    shown = torch.tensor([True, False])
    features = replace(batch.features, has_clip=shown, has_sync=~shown)
    step(replace(batch, features=features)).mean().backward()
    model = step.model
    assert model.empty_clip_feat.grad.norm() > 0
    assert model.empty_sync_feat.grad.norm() > 0
    assert model.empty_string_feat.grad is None
    model.zero_grad()
    step(batch).mean().backward()
    assert model.empty_clip_feat.grad.norm() == 0


def test_what_is_hidden_does_not_change_the_loss():
    step, batch = golden_step()
    hidden = replace(batch.features, has_text=torch.tensor([False, False]))
    other = replace(hidden, text=hidden.text + 5)
    first, second = (step(replace(batch, features=f)) for f in (hidden, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, step(batch))


def test_bf16_is_near_fp32():
    step, batch = golden_step()
    low = TrainingStep(step.model, step.config, precision="bf16")
    assert torch.allclose(low(batch), step(batch), rtol=0.05)
    assert not torch.equal(low(batch), step(batch))
    assert low(batch).dtype == torch.float32


def test_a_run_writes_a_log_states_and_a_checkpoint_and_learns(manifest, tmp_path):
    config = run_config(manifest, optim={"steps": 30, "lr": 3e-3}, data={"overfit": 2})
    assert run(config, tmp_path)
    losses = losses_of(tmp_path)
    assert list(losses) == list(range(1, 31))
    assert sum(list(losses.values())[-5:]) < 0.5 * sum(list(losses.values())[:5])
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["model.safetensors", *(f"state-000000{n}.safetensors" for n in (26, 28, 30))]
    entry = read_log(tmp_path / "log.jsonl")[-1]
    assert entry["clips_per_second"] > 0
    assert entry["memory_gib"] > 0


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_run_that_was_stopped_goes_on_exactly(manifest, tmp_path, cut):
    """Steps 1 to 6 with states at 2 and 4, stopped before the end and begun again."""
    config = run_config(manifest)
    run(config, tmp_path / "whole")
    run(replace(config, optim=replace(config.optim, steps=cut)), tmp_path / "cut")
    assert run(config, tmp_path / "cut")
    assert losses_of(tmp_path / "cut") == losses_of(tmp_path / "whole")
    first, second = (latest_state(tmp_path / name) for name in ("cut", "whole"))
    for kind in ("model", "exp_avg", "exp_avg_sq", "ema0", "ema1"):
        for name, tensor in second.tensors(kind).items():
            assert torch.equal(tensor, first.tensors(kind)[name]), (kind, name)
    assert first.averages == second.averages
    assert read_checkpoint(tmp_path / "cut" / "model.safetensors").provenance.step == 6


def test_steps_after_the_last_state_are_logged_once(manifest, tmp_path):
    config = run_config(manifest)
    run(config, tmp_path)
    latest_state(tmp_path).path.unlink()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # cut off by a kill
    assert run(config, tmp_path)
    steps = [entry["step"] for entry in read_log(tmp_path / "log.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_mean_over_several_steps_is_the_same_after_a_restart(manifest, tmp_path):
    config = run_config(manifest, output={"log_every": 4, "save_every": 3})
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut")
    latest_state(tmp_path / "cut").path.unlink()
    run(config, tmp_path / "cut")
    assert losses_of(tmp_path / "cut") == losses_of(tmp_path / "whole")


def test_a_signal_saves_the_state_and_stops(manifest, tmp_path):
    config = run_config(manifest, optim={"steps": 500}, output={"save_every": 0})
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.made
        assert not run(config, tmp_path, stop)
    assert latest_state(tmp_path).progress.step == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_being_stopped_between_two_lines_of_the_log_changes_neither(manifest, tmp_path):
    config = run_config(manifest, output={"log_every": 4})
    run(config, tmp_path / "whole")
    stop = StopRequest()
    stop.made = True
    for _ in range(3):
        assert not run(config, tmp_path / "cut", stop)
    assert latest_state(tmp_path / "cut").progress.step == 3
    run(config, tmp_path / "cut")
    assert losses_of(tmp_path / "cut") == losses_of(tmp_path / "whole")


def test_a_damaged_state_is_passed_over(manifest, tmp_path, caplog):
    config = run_config(manifest)
    run(config, tmp_path)
    path = latest_state(tmp_path).path
    path.write_bytes(path.read_bytes()[:5000])
    assert latest_state(tmp_path).progress.step == 4
    assert "Going on from the state before it" in caplog.text
    for other in tmp_path.glob("state-*"):
        other.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        latest_state(tmp_path)


def test_other_clips_are_said_when_going_on(manifest, tmp_path, caplog):
    for _ in range(2):
        run(run_config(manifest, data={"overfit": 3}), tmp_path / "same")
    assert "The clips are not those" not in caplog.text
    run(run_config(manifest), tmp_path / "run")
    fewer = make_data(tmp_path / "fewer", 4)
    run(run_config(fewer), tmp_path / "run")
    assert "The clips are not those that state-00000006.safetensors was trained on" in caplog.text


def test_a_second_run_in_the_same_folder_is_refused(manifest, tmp_path):
    with hold_folder(tmp_path, one_process()):
        code = f"""
from support.training import one_process
from training.run import hold_folder
from pathlib import Path
with hold_folder(Path({str(tmp_path)!r}), one_process()):
    pass
"""
        environment_ = {**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment_
        )
    assert f"Another run works in {str(tmp_path)!r} (process {os.getpid()} on" in done.stderr


def test_an_output_that_is_a_file_is_told(manifest, tmp_path, capsys):
    (tmp_path / "file").touch()
    path = write_settings(run_settings(manifest), tmp_path / "run.yaml")
    assert main([str(path), "-o", str(tmp_path / "file"), "optim.steps=1"]) == 2
    assert "Cannot make the folder" in capsys.readouterr().err


def test_samples_that_fail_do_not_stop_the_training(manifest, tmp_path, caplog):
    config = run_config(manifest, output={"sample_every": 3, "sample_steps": 1})
    (tmp_path / "samples").touch()
    assert run(config, tmp_path)
    assert "The samples of step 3 are not complete" in caplog.text


def test_clips_to_validate_on_that_cannot_be_read_are_named_and_left_out(tmp_path, caplog):
    manifest = make_data(tmp_path / "data", 4)
    held_out = make_data(tmp_path / "held", 5)
    (tmp_path / "held" / "clip1.wav").write_bytes(b"no sound")
    config = run_config(manifest, data={"validation": [str(held_out)], "max_failures": 0.5})
    found = built(config, tmp_path / "run").held_out
    assert [row.id for row in found.rows] == ["clip0", "clip2", "clip3", "clip4"]
    assert "Left out clip1" in caplog.text


def test_a_signal_that_is_passed_on_changes_nothing_and_a_later_one_interrupts(monkeypatch):
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # of the launcher
        assert stop.made
        monkeypatch.setattr(signals, "PATIENCE", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_finished_run_writes_a_missing_checkpoint_and_nothing_more(manifest, tmp_path):
    config = run_config(manifest)
    run(config, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("state*")}
    assert run(config, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("state*")} == before
    assert (tmp_path / "model.safetensors").exists()


def test_micro_batches_and_checkpointed_blocks_change_nothing_but_rounding(
    manifest, tmp_path, monkeypatch
):
    config = run_config(manifest)
    calls = counted(monkeypatch, "training.step.checkpoint")
    run(config, tmp_path / "plain")
    for name, changed in (
        ("micro", replace(config, optim=replace(config.optim, micro_batch=1))),
        ("uneven", replace(config, optim=replace(config.optim, micro_batch=3))),
        (
            "checkpointed",
            replace(config, execution=replace(config.execution, checkpoint_activations=True)),
        ),
    ):
        run(changed, tmp_path / name)
        expected = losses_of(tmp_path / "plain")
        assert losses_of(tmp_path / name) == pytest.approx(expected, rel=1e-5), name
        assert bool(calls) == (name == "checkpointed")


def test_compiled_blocks_change_nothing_but_rounding(manifest, tmp_path, compiled_modules):
    config = run_config(manifest, optim={"steps": 3})
    run(config, tmp_path / "plain")
    compiled = replace(config, execution=replace(config.execution, compile=True))
    assert not compiled_modules
    run(compiled, tmp_path / "compiled")
    assert len(compiled_modules) == config.model.depth + config.model.fused_depth - 1
    expected = losses_of(tmp_path / "plain")
    assert losses_of(tmp_path / "compiled") == pytest.approx(expected, rel=1e-4)


def test_what_is_frozen_stays_as_it_began_also_after_a_restart(manifest, tmp_path):
    config = run_config(manifest, optim={"freeze": ["audio_input_proj", "joint_blocks.0"]})
    begun = built(config, tmp_path / "begun").model.state_dict()
    run(replace(config, optim=replace(config.optim, steps=3)), tmp_path / "run")
    assert run(config, tmp_path / "run")
    ended = weights_of(tmp_path / "run")
    moved = {name for name, tensor in begun.items() if not torch.equal(tensor, ended[name])}
    assert {"fused_blocks.0.attn.qkv.weight", "final_layer.conv.weight"} <= moved
    frozen = tuple(f"{name}." for name in config.optim.freeze)
    assert not any(name.startswith(frozen) for name in moved)
    assert set(load_model(tmp_path / "run" / "model.safetensors").model.state_dict()) == set(begun)


def test_a_module_can_be_frozen_when_a_run_goes_on(manifest, tmp_path):
    config = run_config(manifest)
    run(replace(config, optim=replace(config.optim, steps=3)), tmp_path)
    before = weights_of(tmp_path)
    assert run(replace(config, optim=replace(config.optim, freeze=("final_layer",))), tmp_path)
    after = weights_of(tmp_path)
    assert torch.equal(after["final_layer.conv.weight"], before["final_layer.conv.weight"])


def test_processes_that_would_not_begin_alike_are_stopped(manifest, tmp_path):
    class Apart(World):
        def gather(self, item):
            return [item, (3, "0" * 16)]

    apart = Apart(rank=0, size=1, device=torch.device("cpu"))
    with pytest.raises(WavFlowError, match=r"do not begin alike .* 1: 3 \(0000000000000000\)"):
        set_up(run_config(manifest), tmp_path, apart)


def test_the_precision_of_a_run_is_that_of_its_steps(manifest, tmp_path):
    for name in ("fp32", "bf16"):
        config = run_config(manifest, execution={"precision": name})
        assert built(config, tmp_path / name).stepper.precision == name


def test_a_module_to_freeze_must_be_there(manifest, tmp_path):
    config = run_config(manifest, optim={"freeze": ["audio_input"]})
    with pytest.raises(ConfigError, match="no module 'audio_input'; nearest: audio_input_proj"):
        built(config, tmp_path)


def test_a_run_can_begin_by_passing_its_input_on(manifest, tmp_path):
    model = {"patch_size": 20, "hidden_dim": 32}
    for begin in (False, True):
        config = run_config(manifest, model=model, start={"pass_through": begin})
        output = built(config, tmp_path / str(begin)).model.final_layer.conv.weight
        assert bool(output.any()) == begin


def test_passing_on_needs_clips_with_pictures_and_captions_to_measure(tmp_path):
    config = run_config(make_data(tmp_path / "data", 3, video=False), start={"pass_through": True})
    with pytest.raises(ConfigError, match="of the first 3 0 have both, and it needs two"):
        built(config, tmp_path / "run")


def test_a_run_can_begin_with_its_filters_open(manifest, tmp_path):
    changes = {"patch_size": 50, "hidden_dim": 32, "filter_windows": [256]}
    first = run_config(manifest, model=changes)
    model = built(first, tmp_path / "first").model
    torch.nn.init.normal_(model.get_parameter("wiener.0.gate.weight"))
    save_file(model.state_dict(), tmp_path / "given.safetensors")
    start = {"weights": str(tmp_path / "given.safetensors"), "open_gates": True}
    opened = built(run_config(manifest, model=changes, start=start), tmp_path / "opened").model
    assert not opened.get_parameter("wiener.0.gate.weight").any()
    with pytest.raises(ConfigError, match="open_gates: this model has no Wiener filters"):
        built(run_config(manifest, start={"open_gates": True}), tmp_path / "none")


def test_velocity_prediction_trains_too(manifest, tmp_path):
    config = run_config(manifest, flow={"prediction": "v", "noise_shift": 3.0, "noise_scale": 1.5})
    assert run(config, tmp_path)


def test_a_loss_that_is_no_number_stops_with_the_clips_and_keeps_the_last_state(manifest, tmp_path):
    config = run_config(manifest, optim={"steps": 4})
    run(config, tmp_path)
    state = latest_state(tmp_path)
    broken = state.tensors("model")
    everything = {
        f"{kind}/{name}": tensor.clone()
        for kind in ("model", "exp_avg", "exp_avg_sq", "ema0", "ema1")
        for name, tensor in state.tensors(kind).items()
    }
    everything["model/final_layer.conv.bias"] = torch.full_like(
        broken["final_layer.conv.bias"], torch.nan
    )
    save_file(everything, state.path, metadata=read_metadata(state.path))
    longer = replace(config, optim=replace(config.optim, steps=9))
    with pytest.raises(WavFlowError, match=r"loss of step 5 is not a number; its clips are clip\d"):
        run(longer, tmp_path)
    assert latest_state(tmp_path).progress.step == 4
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "not a number"
    assert "clip" in last["text"]


def test_validation_and_samples_are_written(manifest, tmp_path):
    pytest.importorskip("tensorboard")
    config = run_config(
        manifest,
        data={"validation": [str(manifest)]},
        output={
            "validate_every": 3,
            "sample_every": 6,
            "samples": 2,
            "sample_steps": 2,
            "tensorboard": True,
        },
    )
    run(config, tmp_path)
    entries = read_log(tmp_path / "log.jsonl")
    validated = [entry for entry in entries if "validation_loss" in entry]
    assert [entry["step"] for entry in validated] == [3, 6]
    assert validated[1]["validation_loss"] < validated[0]["validation_loss"]
    written = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "samples").rglob("*.*"))
    assert written == [
        f"samples/{place}/{name}"
        for place in ("step-00000006", "true")
        for name in ("00.png", "00.wav", "01.png", "01.wav")
    ]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_folder_of_another_model_is_not_gone_on_with(manifest, tmp_path):
    run(run_config(manifest), tmp_path)
    with pytest.raises(ConfigError, match="holds a training .* with other settings of model"):
        run(run_config(manifest, model={"hidden_dim": 32}), tmp_path)


def test_other_settings_are_said_when_going_on(manifest, tmp_path, caplog):
    run(run_config(manifest), tmp_path)
    run(run_config(manifest, optim={"lr": 5e-4}), tmp_path)
    assert "Settings of optim are not those" in caplog.text


def test_the_empty_caption_comes_from_beside_the_features(manifest, tmp_path):
    model = built(run_config(manifest), tmp_path).model
    assert torch.equal(model.empty_string_feat, recipe.tensor("empty.text", (77, 64)))


def test_without_the_empty_caption_it_is_said(tmp_path, caplog):
    manifest = make_data(tmp_path, 2)
    (tmp_path / "empty_text.safetensors").unlink()
    built(run_config(manifest), tmp_path / "run")
    assert "features of the empty caption stay zero" in caplog.text


@pytest.mark.parametrize("choice", ["live", "ema", "ema2", "auto"])
def test_an_exported_checkpoint_loads_without_any_further_argument(manifest, tmp_path, choice):
    config = run_config(
        manifest, data={"name": "some clips", "license": "CC0-1.0"}, ema={"decays": [0.5, 0.3]}
    )
    run(config, tmp_path)
    state = latest_state(tmp_path)
    output = tmp_path / f"{choice}.safetensors"
    assert export_main([str(tmp_path), "-o", str(output), "--weights", choice]) == 0
    loaded = load_model(output, device="cpu")
    kind = {"live": "model", "ema": "ema0", "ema2": "ema1", "auto": "ema0"}[choice]
    expected = state.tensors(kind)["audio_input_proj.0.weight"]
    assert torch.equal(loaded.model.audio_input_proj[0].weight, expected)
    assert loaded.config == state.config.wavflow
    assert loaded.config.clip.fingerprint == "c" * 16
    provenance = loaded.provenance
    assert (provenance.step, provenance.data, provenance.license) == (6, "some clips", "CC0-1.0")
    assert provenance.ema_decay == {"live": None, "ema": 0.5, "ema2": 0.3, "auto": 0.5}[choice]


def test_an_exported_checkpoint_of_half_precision_is_half_as_large(manifest, tmp_path):
    run(run_config(manifest), tmp_path)
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    export_state(tmp_path, whole)
    assert export_main([str(tmp_path), "-o", str(half), "--dtype", "fp16"]) == 0
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    expected = load_model(whole, device="cpu").model.state_dict()
    for name, tensor in load_model(half, device="cpu").model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, expected[name], rtol=1e-3, atol=1e-6), name


def test_weights_too_large_for_half_precision_are_refused(manifest, tmp_path):
    run(run_config(manifest), tmp_path)
    state = latest_state(tmp_path).path
    tensors, metadata = load_file(state), read_metadata(state)
    tensors["model/final_layer.conv.bias"] += 1e5
    save_file(tensors, tmp_path / "large.safetensors", metadata)
    output = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match=r"final_layer.conv.bias has weights that .*float16"):
        export_state(tmp_path / "large.safetensors", output, choice="live", dtype=torch.float16)
    assert not output.exists()


def test_what_cannot_be_exported_is_said(manifest, tmp_path, capsys):
    assert export_main([str(tmp_path), "-o", str(tmp_path / "x.safetensors")]) == 2
    assert "holds no state" in capsys.readouterr().err
    run(run_config(manifest, ema={"decays": []}), tmp_path)
    assert export_state(tmp_path, tmp_path / "x.safetensors").weights == "live"
    with pytest.raises(CheckpointError, match="has 0 averages, so no 'ema'"):
        export_state(tmp_path, tmp_path / "x.safetensors", choice="ema")
    with pytest.raises(CheckpointError, match="no training state of version"):
        read_state(tmp_path / "x.safetensors")
