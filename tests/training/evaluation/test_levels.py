"""Levels are those that can be computed by hand."""

import math

import pytest
import torch

from training.evaluation.levels import measure_levels
from wavflow_core.media.audio import AudioClip

RATE = 16000


def levels_of(waveform, rate=RATE):
    waveform = waveform if waveform.ndim == 2 else waveform[None]
    return measure_levels(AudioClip(waveform=waveform.float(), sample_rate=rate))


def sine(frequency=1000, seconds=3.0, amplitude=0.5, rate=RATE):
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return amplitude * torch.sin(2 * math.pi * frequency * time)


def test_loudness_and_peak_are_those_of_the_standard():
    # BS.1770: a sine of 997 Hz at full scale in one channel has -3.01 LUFS.
    levels = levels_of(sine(997, amplitude=1.0, rate=48000), 48000)
    assert levels.loudness == pytest.approx(-3.01, abs=0.1)
    assert levels.true_peak == pytest.approx(0, abs=0.1)


def test_silence_is_silent():
    levels = levels_of(torch.zeros(RATE))
    assert (levels.silent, levels.clipped) == (1, 0)
    assert levels.loudness <= -70
    assert levels.true_peak == -math.inf


def test_the_silent_share_counts_frames_of_twenty_milliseconds():
    sound = sine(seconds=2.0)
    sound[RATE // 2 : RATE] = 0
    assert levels_of(sound).silent == pytest.approx(0.25)


@pytest.mark.parametrize(("decibels", "silent"), [(-59, 0), (-61, 1)])
def test_silence_begins_at_minus_sixty_decibels(decibels, silent):
    amplitude = math.sqrt(2) * 10 ** (decibels / 20)
    assert levels_of(sine(amplitude=amplitude)).silent == silent


def test_one_loud_channel_is_not_silence():
    sound = torch.stack([torch.zeros(RATE), sine(seconds=1.0).float()])
    assert levels_of(sound).silent == 0


@pytest.mark.parametrize("full", [1.0, -1.0, 1.7, 32767 / 32768])
def test_samples_at_full_scale_are_counted(full):
    sound = torch.zeros(2, 1000)
    sound[0, :50] = full
    assert levels_of(sound).clipped == pytest.approx(0.025)


def test_a_loud_sound_that_stays_below_is_not_clipped():
    assert levels_of(sine(amplitude=0.999)).clipped == 0


@pytest.mark.parametrize("samples", [1, 10, 320, 321])
def test_any_length_has_its_levels(samples):
    assert levels_of(0.5 * torch.ones(samples)).silent == 0
    assert levels_of(torch.zeros(samples)).silent == 1
