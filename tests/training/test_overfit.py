"""Two clips seen again and again come back from the sampler: it undoes what training does."""

import math
from pathlib import Path

import pytest
import torch
from support.training import RATE, make_data, one_process

from training.evaluation.spectra import log_mel, log_mel_correlation, mono
from training.log import read_log
from training.manifest import read_manifest
from training.settings import load_config
from training.signals import StopRequest
from training.train import train
from wavflow_core.media.audio import AudioClip, read_audio, write_audio

SETTINGS = Path(__file__).parents[2] / "training" / "configs" / "overfit.yaml"
SECONDS, STEPS = 0.75, 250


def melody():
    """Five tones with overtones, one after the other."""
    time = torch.arange(round(RATE * SECONDS / 5), dtype=torch.float64) / RATE
    fade = torch.sin(math.pi * time / time[-1]).clamp_min(0).sqrt()
    notes = [
        sum(torch.sin(2 * math.pi * k * pitch * time) / k for k in (1, 2, 3)) * fade
        for pitch in (262.0, 392.0, 330.0, 523.0, 220.0)
    ]
    return 0.3 * torch.cat(notes)


def drum():
    """Three strokes that die away, low and high in turn."""
    time = torch.arange(round(RATE * SECONDS), dtype=torch.float64) / RATE
    sound = torch.zeros_like(time)
    for begin, pitch in ((0.05, 90.0), (0.3, 1800.0), (0.55, 90.0)):
        since = (time - begin).clamp_min(0)
        sound += torch.exp(-10 * since) * torch.sin(2 * math.pi * pitch * since)
    return 0.6 * sound


@pytest.fixture
def manifest(tmp_path):
    table = make_data(tmp_path / "data", 2, seconds=SECONDS)
    rows, _ = read_manifest(table)
    for row, sound in zip(rows, (melody(), drum()), strict=True):
        clip = AudioClip(waveform=sound.float()[None], sample_rate=RATE)
        write_audio(clip, row.audio, subtype="32f")
    return table


def spectrum(path):
    return log_mel(mono(read_audio(path)))


@pytest.mark.slow
def test_two_clips_are_memorised_and_sampled_again(manifest, tmp_path):
    changes = {
        "data.train": f"[{manifest}]",
        "data.overfit": 2,
        "audio.window": SECONDS,
        "optim.steps": STEPS,
        "optim.batch_size": 2,
        "optim.lr": 4e-3,
        "output.save_every": 0,
        "output.sample_every": STEPS,
        "output.tensorboard": "false",
        "execution.device": "cpu",
    }
    config = load_config(SETTINGS, [f"{name}={value}" for name, value in changes.items()])
    folder = tmp_path / "run"
    assert train(config, folder, one_process(), StopRequest())

    losses = [entry["loss"] for entry in read_log(folder / "log.jsonl") if "loss" in entry]
    assert sum(losses[-5:]) / 5 <= losses[0] / 20
    made, true = (
        [spectrum(folder / "samples" / name / f"{n:02d}.wav") for n in range(2)]
        for name in (f"step-{STEPS:08d}", "true")
    )
    for n in range(2):
        own, other = (
            log_mel_correlation(made[n], true[n]),
            log_mel_correlation(made[n], true[1 - n]),
        )
        assert own > 0.9
        assert other < 0.7
