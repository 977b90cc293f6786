"""The part of the loss that hears."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from support import recipe
from support.sounds import waveforms as noise
from support.training import make_data, one_process, run_config

from training.config import LossConfig
from training.data import collate
from training.event_network import EventNetwork, load_event_network, save_event_network, spectra
from training.perceptual_loss import HALF, PerceptualLoss
from training.run import hold_folder, set_up
from training.step import TrainingStep
from wavflow_core import flow
from wavflow_core.conditions import prepare_batch
from wavflow_core.errors import CheckpointError, ConfigError
from wavflow_core.model.patchify import to_waveform

RATE = 16000


def network():
    torch.manual_seed(0)
    return EventNetwork(["bell", "rain"]).eval().requires_grad_(False)


def test_spectra_have_the_level_of_the_sound_and_both_resolutions():
    time = torch.arange(RATE) / RATE
    sine = 0.1 * torch.sin(2 * torch.pi * 1000 * time)[None]
    made = spectra(sine)
    assert made.shape == (1, 2, 96, 101)
    # 20 dB below full scale in a range of 80: within what a frequency between two bands loses.
    assert made[0, :, :, 50].amax(1).tolist() == pytest.approx([0.5, 0.5], abs=0.06)
    assert (spectra(torch.zeros(1, RATE)) == -1).all()
    wide, narrow = ((row > -0.5).sum() for row in made[0, :, :, 50])
    assert wide > 2 * narrow


def test_equal_sounds_have_no_distance_and_different_ones_do():
    loss = PerceptualLoss(network(), rate=RATE)
    t = torch.tensor([0.5, 0.5])
    assert loss.per_sample(noise(), noise(), t).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert (loss.per_sample(noise(seed=1) * 0.1, noise(), t) > 0.01).all()


def test_the_distance_counts_less_near_the_noise():
    loss = PerceptualLoss(network(), rate=RATE)
    near, half, far = (
        loss.per_sample(noise(1) * 0.1, noise(1), torch.tensor([t])) for t in (0.0, HALF, 1.0)
    )
    assert near == 0
    assert far.item() / half.item() == pytest.approx((1 / (1 + HALF)) / 0.5)


def test_silence_gives_a_finite_gradient():
    made = torch.zeros(1, 8000, requires_grad=True)
    loss = PerceptualLoss(network(), rate=RATE)
    loss.per_sample(made, noise(1), torch.ones(1)).sum().backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_a_network_comes_back_from_its_file_and_stays_as_it_is(tmp_path):
    before = network()
    save_event_network(before, tmp_path / "e.safetensors", training={"steps": 3})
    after = load_event_network(tmp_path / "e.safetensors")
    assert after.names == ("bell", "rain")
    assert torch.equal(after(noise()).onsets, before(noise()).onsets)
    assert not any(parameter.requires_grad for parameter in after.parameters())
    assert not after.training


def test_files_that_hold_something_else_are_refused(tmp_path):
    path = tmp_path / "e.safetensors"
    with pytest.raises(CheckpointError, match="There is no file"):
        load_event_network(path)
    wrong = {"format": "wavflow.event_network", "version": "1"}
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "something"})
    with pytest.raises(CheckpointError, match="is no event network of version 1"):
        load_event_network(path)
    save_file({"x": torch.zeros(1)}, path, metadata={**wrong, "network": '{"classes": []}'})
    with pytest.raises(CheckpointError, match="names no classes"):
        load_event_network(path)
    save_file({"x": torch.zeros(1)}, path, metadata={**wrong, "network": '{"classes": ["bell"]}'})
    with pytest.raises(CheckpointError, match="is damaged"):
        load_event_network(path)


def test_another_rate_is_refused():
    with pytest.raises(ConfigError, match="audio.sample_rate is 44100"):
        PerceptualLoss(network(), rate=44100)


def test_the_step_adds_its_weight_times_the_distance(tmp_path):
    config = run_config(make_data(tmp_path / "data", 3))
    with hold_folder(tmp_path / "run", one_process()):
        built = set_up(config, tmp_path / "run", one_process())[0]
    recipe.fill(built.model)  # new layers would estimate silence
    batch = collate([built.clips[0], built.clips[1]])
    audio = built.config.audio
    hearing = PerceptualLoss(network(), rate=RATE)
    plain = TrainingStep(built.model, built.config.flow)
    added = TrainingStep(
        built.model,
        built.config.flow,
        loss=LossConfig(perceptual_weight=0.5),
        perceptual=hearing,
        audio=audio,
    )
    x_t = flow.interpolate(batch.x_0, batch.x_1, batch.t)
    conditions = prepare_batch(built.model, batch.features, num_tokens=x_t.shape[1])
    clean = built.model(x_t, batch.t, conditions)
    made, real = (
        to_waveform(tokens, audio, samples=tokens[0].numel()) for tokens in (clean, batch.x_1)
    )
    distance = hearing.per_sample(made, real, batch.t)
    assert (distance > 0).all()
    assert torch.allclose(added(batch) - plain(batch), 0.5 * distance, atol=1e-4)


def test_a_run_hears_with_the_file_of_its_settings(tmp_path):
    save_event_network(network(), tmp_path / "e.safetensors", training={})
    config = run_config(make_data(tmp_path / "data", 3))
    heard = replace(config, loss=LossConfig(perceptual=str(tmp_path / "e.safetensors")))
    values = []
    for number, each in enumerate((config, heard)):
        folder = tmp_path / f"run{number}"
        with hold_folder(folder, one_process()):
            built = set_up(each, folder, one_process())[0]
        batch = collate([built.clips[0], built.clips[1]])
        values.append(built.stepper(batch))
    assert (values[1] > values[0]).all()
    # What hears is no part of what is trained and saved.
    assert [name for name, _ in built.stepper.named_parameters()] == [
        f"model.{name}" for name, _ in built.model.named_parameters()
    ]
