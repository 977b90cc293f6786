"""Two sounds become one: levels, places, channels and rates."""

import math

import pytest
import torch
from support.media import sine

from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip, measure_loudness
from wavflow_core.media.mix import mix


def clip(waveform, rate=48000):
    return AudioClip(waveform=waveform, sample_rate=rate)


def test_levels_are_in_decibels_and_sounds_are_added():
    low, high = sine(100, 1.0, level=0.2), sine(1000, 1.0, level=0.1)
    mixed = mix(clip(low), clip(high), new_db=-6, original_db=3)
    expected = low * 10 ** (-6 / 20) + high * 10 ** (3 / 20)
    torch.testing.assert_close(mixed.waveform, expected)


def test_the_longer_sound_sets_the_length_and_the_start_is_exact_to_the_sample():
    new, original = torch.full((1, 100), 0.25), torch.full((1, 500), 0.125)
    mixed = mix(clip(new, 1000), clip(original, 1000), start=0.45).waveform[0]
    assert mixed.shape == (550,)
    assert (mixed[:450] == 0.125).all()
    assert (mixed[450:500] == 0.375).all()
    assert (mixed[500:] == 0.25).all()


def test_over_silence_the_sound_is_as_it_was():
    sound = sine(440, 0.5, level=0.3, channels=2)
    assert torch.equal(mix(clip(sound)).waveform, sound)


def test_a_mono_sound_is_on_left_and_right_of_a_stereo_one():
    left = torch.stack([torch.full((100,), 0.25), torch.zeros(100)])
    mixed = mix(clip(torch.full((1, 100), 0.125)), clip(left))
    assert mixed.waveform[:, 0].tolist() == [0.375, 0.125]


def test_stereo_goes_to_the_front_of_more_channels():
    mixed = mix(clip(torch.full((2, 50), 0.125)), clip(torch.zeros(6, 50)))
    assert mixed.waveform[:, 0].tolist() == [0.125, 0.125, 0, 0, 0, 0]


def test_the_higher_rate_is_kept_and_the_other_sound_resampled():
    mixed = mix(
        clip(sine(440, 1.0, rate=16000, level=0.2), 16000), clip(torch.zeros(2, 44100), 44100)
    )
    assert mixed.sample_rate == 44100
    assert mixed.waveform.shape == (2, 44100)
    expected = sine(440, 1.0, rate=44100, level=0.2)[0]
    torch.testing.assert_close(mixed.waveform[0, 500:-500], expected[500:-500], atol=1e-3, rtol=0)


def test_a_mix_that_would_clip_is_turned_down_as_a_whole():
    loud = sine(440, 1.0, level=0.9)
    mixed = mix(clip(loud), clip(loud))
    assert measure_loudness(mixed).true_peak == pytest.approx(-1, abs=0.05)
    torch.testing.assert_close(
        mixed.waveform / mixed.waveform.abs().max(), loud / loud.abs().max(), atol=1e-4, rtol=0
    )


def test_the_arguments_are_not_changed():
    new, original = sine(440, 0.2), sine(100, 0.2)
    before = new.clone(), original.clone()
    mix(clip(new), clip(original), new_db=-3)
    assert torch.equal(new, before[0])
    assert torch.equal(original, before[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"new_db": math.nan}, "new_db is nan"),
        ({"original_db": -math.inf}, "original_db is -inf"),
        ({"start": -0.5}, "start is -0.5; it must be 0 or more"),
    ],
)
def test_mistakes_are_explained(settings, message):
    sound = clip(torch.zeros(1, 9))
    with pytest.raises(MediaError, match=message):
        mix(sound, sound, **settings)
