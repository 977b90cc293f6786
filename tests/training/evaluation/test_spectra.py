"""Log-mel spectrograms show what is there, and their distances are what can be computed by hand."""

import math

import pytest
import torch

from training.evaluation.spectra import (
    BANDS,
    FLOOR_DB,
    log_mel,
    log_mel_correlation,
    log_mel_distance,
    mel_filters,
    mel_power,
    mono,
)
from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip

RATE = 16000


def sine(frequency, seconds=2.0, amplitude=1.0, rate=RATE):
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2 * math.pi * frequency * time)).float()


def noise(seconds=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(int(seconds * RATE), generator=generator)


def mel(frequency):
    return 2595 * math.log10(1 + frequency / 700)


def test_the_tops_of_the_filters_are_evenly_spaced_in_mel():
    filters = mel_filters(RATE, 16384, bands=20, lowest=0.0)
    tops = filters.argmax(dim=1) * RATE / 16384
    mels = torch.tensor([mel(float(top)) for top in tops])
    assert mels.diff() == pytest.approx(mel(8000) / 21, rel=0.01)
    assert filters.max(dim=1).values == pytest.approx(1.0, abs=0.01)


def test_a_filter_ends_where_its_neighbours_are_at_their_tops():
    filters = mel_filters(RATE, 16384, bands=20)
    inside = (torch.arange(8193) * RATE / 16384 > 200) & (torch.arange(8193) * RATE / 16384 < 7000)
    assert filters.sum(dim=0)[inside] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("window", "bands"), [(400, 64), (480, 40), (64, 64)])
def test_no_filter_is_empty(window, bands):
    assert mel_filters(RATE, window, bands=bands).sum(dim=1).min() >= 0.5


@pytest.mark.parametrize("frequency", [200, 1000, 3000, 6000])
def test_a_sine_at_full_scale_is_at_zero_decibels_in_its_band(frequency):
    shown = log_mel(sine(frequency))[:, 20:-20]
    place = (mel(frequency) - mel(50)) / (mel(8000) - mel(50)) * (BANDS + 1) - 1
    assert shown.mean(dim=1).argmax().item() == pytest.approx(place, abs=0.75)
    # Between the tops of two bands a sine loses 3 dB, and narrow bands leave some of it aside.
    assert -6.5 < shown.max().item() < 2.5


def test_half_the_amplitude_is_six_decibels_less():
    loud, soft = log_mel(noise()), log_mel(noise() / 2)
    heard = soft > FLOOR_DB + 1
    assert (loud - soft)[heard] == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_an_impulse_is_at_its_frame():
    sound = torch.zeros(RATE)
    sound[8000] = 1.0
    assert log_mel(sound).sum(dim=0).argmax().item() == 50
    assert log_mel(sound).shape == (BANDS, 101)


def test_silence_is_at_the_floor():
    assert (log_mel(torch.zeros(RATE)) == FLOOR_DB).all()


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 399, 400, 401, 16001])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_any_length_has_its_frames(samples, rate):
    hop = round(0.01 * rate)
    assert log_mel(noise(2)[:samples], rate).shape == (BANDS, 1 + samples // hop)


def test_long_sounds_in_parts_are_as_in_one(monkeypatch):
    from training.evaluation import spectra

    whole = mel_power(noise(3), window=400, hop=160, bands=40)
    monkeypatch.setattr(spectra, "FRAMES_AT_ONCE", 7)
    assert mel_power(noise(3), window=400, hop=160, bands=40) == pytest.approx(whole, rel=1e-4)


def test_channels_are_averaged_and_the_rate_changed():
    stereo = torch.stack([sine(440, rate=48000), -0.5 * sine(440, rate=48000)])
    mixed = mono(AudioClip(waveform=stereo, sample_rate=48000))
    assert mixed.shape == (2 * RATE,)
    assert mixed[1000:-1000] == pytest.approx(0.25 * sine(440)[1000:-1000], abs=1e-3)


def test_the_distance_to_itself_is_zero_and_the_correlation_one():
    shown = log_mel(noise())
    assert log_mel_distance(shown, shown) == 0
    assert log_mel_correlation(shown, shown) == pytest.approx(1)


def test_a_gain_is_a_distance_in_decibels_and_no_change_of_correlation():
    loud, soft = log_mel(noise()), log_mel(noise() * 10**-0.5)
    assert log_mel_distance(loud, soft) == pytest.approx(10, abs=0.01)
    assert log_mel_correlation(loud, soft) == pytest.approx(1, abs=1e-4)


def test_the_distance_is_the_mean_over_frames_of_the_root_of_the_mean_square():
    first = torch.zeros(2, 3)
    second = torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, 1.0]])
    assert log_mel_distance(first, second) == pytest.approx((math.sqrt(12.5) + 0 + 1) / 3)


def test_the_correlation_is_pearsons():
    first, second = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind()
    expected = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert log_mel_correlation(first, second) == pytest.approx(expected.item(), abs=1e-6)
    assert log_mel_correlation(first, -first) == pytest.approx(-1)


def test_silence_correlates_with_silence_alone():
    silence, sound = log_mel(torch.zeros(RATE)), log_mel(noise(1))
    assert log_mel_correlation(silence, silence) == 1
    assert log_mel_correlation(silence, sound) == 0


def test_the_common_beginning_is_compared():
    sound = noise(3)
    short, long = log_mel(sound)[:, :100], log_mel(sound)
    assert log_mel_distance(short, long) == 0
    assert log_mel_correlation(long, short) == pytest.approx(1)


def test_a_different_sound_is_farther_than_a_changed_one():
    sound = log_mel(noise())
    changed, other = log_mel(noise() + 0.1 * noise(seed=1)), log_mel(sine(440))
    assert log_mel_distance(sound, changed) < log_mel_distance(sound, other)
    assert log_mel_correlation(sound, changed) > log_mel_correlation(sound, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_mel(torch.zeros(2, 5)), r"shape \(2, 5\); it must be \(T,\), T > 0"),
        (lambda: log_mel(torch.zeros(0)), r"shape \(0,\)"),
        (lambda: mel_filters(RATE, 400, bands=0), "there must be a band"),
        (lambda: mel_filters(RATE, 400, bands=4, highest=9000.0), "from 50 to 9000 Hz at 16000"),
        (lambda: log_mel_distance(torch.zeros(4, 5), torch.zeros(3, 5)), "the same bands"),
        (lambda: log_mel_correlation(torch.zeros(4, 0), torch.zeros(4, 5)), "not empty"),
        (lambda: log_mel_distance(torch.zeros(4), torch.zeros(4)), r"shapes \(4,\) and \(4,\)"),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(MediaError, match=message):
        call()
