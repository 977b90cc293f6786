"""The spectral term of the loss."""

from dataclasses import replace

import pytest
import torch
from support import recipe
from support.sounds import waveforms as noise
from support.training import make_data, one_process, run_config

from training.config import LossConfig
from training.data import collate
from training.mel_loss import mel_loss_per_sample
from training.run import hold_folder, set_up
from training.settings import build_config
from training.step import TrainingStep
from wavflow_core import flow
from wavflow_core.conditions import prepare_batch
from wavflow_core.errors import ConfigError
from wavflow_core.model.patchify import to_waveform


def test_equal_sounds_have_no_distance_and_ten_times_the_amplitude_is_a_decade():
    sound = noise()
    scaled = sound * torch.tensor([[1.0], [10.0]])
    assert mel_loss_per_sample(scaled, sound, rate=16000).tolist() == pytest.approx(
        [0, 1], abs=1e-4
    )


def test_a_sound_at_another_time_or_of_another_pitch_is_farther_than_other_noise():
    time = torch.arange(8000) / 16000
    click = torch.zeros(1, 8000)
    click[:, 2000:2040] = noise(1, 40)
    assert mel_loss_per_sample(click.roll(800, 1), click, rate=16000) > 0.2
    low, high = (torch.sin(2 * torch.pi * f * time)[None] for f in (300.0, 900.0))
    again = torch.sin(2 * torch.pi * 300 * time + 1.0)[None]
    assert mel_loss_per_sample(high, low, rate=16000) > 1
    assert mel_loss_per_sample(again, low, rate=16000) < 0.2


def test_silence_gives_a_finite_gradient():
    made = torch.zeros(1, 8000, requires_grad=True)
    mel_loss_per_sample(made, noise(1), rate=16000).sum().backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


def test_the_step_adds_its_weight_times_the_time_and_the_distance(tmp_path):
    config = run_config(make_data(tmp_path / "data", 3))
    with hold_folder(tmp_path / "run", one_process()):
        built = set_up(config, tmp_path / "run", one_process())[0]
    recipe.fill(built.model)  # new layers would estimate silence
    batch = collate([built.clips[0], built.clips[1]])
    plain = TrainingStep(built.model, built.config.flow)
    audio = built.config.audio
    added = TrainingStep(
        built.model, built.config.flow, loss=LossConfig(mel_weight=0.5), audio=audio
    )
    x_t = flow.interpolate(batch.x_0, batch.x_1, batch.t)
    conditions = prepare_batch(built.model, batch.features, num_tokens=x_t.shape[1])
    samples = batch.x_1[0].numel()
    distance = mel_loss_per_sample(
        to_waveform(built.model(x_t, batch.t, conditions), audio, samples=samples),
        to_waveform(batch.x_1, audio, samples=samples),
        rate=audio.sample_rate,
    )
    assert torch.allclose(added(batch) - plain(batch), 0.5 * batch.t * distance, atol=1e-4)


def test_the_weight_is_a_setting_of_the_run():
    assert build_config({"preset": "tiny"}).loss.mel_weight == 0
    assert build_config({"preset": "tiny", "loss": {"mel_weight": 0.05}}).loss.mel_weight == 0.05
    with pytest.raises(ConfigError, match=r"loss\.mel_weight is -1"):
        replace(LossConfig(), mel_weight=-1)
