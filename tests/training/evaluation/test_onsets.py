"""Onsets are found where they are, and nowhere else."""

import math

import pytest
import torch
from support import golden

from training.evaluation.onsets import OnsetAgreement, detect_onsets, onset_f1
from wavflow_core.errors import ConfigError
from wavflow_core.media.audio import AudioClip, read_audio, resample

RATE = 16000
NOTHING = OnsetAgreement(matched=0, found=0, expected=0)


def clip_of(samples, rate=RATE):
    return AudioClip(waveform=samples.to(torch.float32).reshape(1, -1), sample_rate=rate)


def uniform(generator, low, high):
    return float(torch.empty(1).uniform_(low, high, generator=generator))


def strike(generator, rate):
    """A struck body: decaying partials and a burst of noise, its attack 1 ms, its peak 1."""
    time = torch.arange(int(1.2 * rate)) / rate
    sound = torch.zeros_like(time)
    base = uniform(generator, 120, 1500)
    for partial in range(8):
        frequency = base * (1 + partial * uniform(generator, 0.6, 1.6))
        decay, phase = uniform(generator, 0.02, 0.35), uniform(generator, 0, 2 * math.pi)
        if frequency < 0.45 * rate:
            wave = torch.sin(2 * math.pi * frequency * time + phase)
            sound += torch.exp(-time / decay) * wave / (1 + partial)
    sound += 0.3 * torch.exp(-time / 0.01) * torch.randn(time.shape, generator=generator)
    attack = int(0.001 * rate)
    sound[:attack] *= torch.linspace(0, 1, attack)
    return sound / sound.abs().max()


def scene(seed, *, rate=RATE, floor=-50.0, seconds=8.0):
    """Strikes of different strength and distance over noise of ``floor`` dB, and their times."""
    generator = torch.Generator().manual_seed(seed)
    sound = 10 ** (floor / 20) * torch.randn(int(seconds * rate), generator=generator)
    times, time = [], 0.2
    while time < seconds - 0.3:
        times.append(time)
        body = strike(generator, rate) * uniform(generator, 0.1, 0.6)
        start = int(time * rate)
        body = body[: sound.shape[0] - start]
        sound[start : start + body.shape[0]] += body
        time += uniform(generator, 0.15, 1.0)
    return clip_of(sound.clamp(-1, 1), rate), times


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_clicks_are_found_within_ten_milliseconds(rate):
    times = [0.1, 0.5, 0.77, 1.3333, 2.0, 2.06, 2.9]
    sound = torch.zeros(3 * rate)
    for time in times:
        sound[round(time * rate)] = 0.5
    found = detect_onsets(clip_of(sound, rate))
    assert found == pytest.approx(times, abs=0.01)
    # The exact moment is looked for in steps of 1 ms; a resampler may ring before a click.
    assert found == pytest.approx(times, abs=0.002 if rate == 16000 else 0.005)


@pytest.mark.parametrize(
    ("rate", "floor"), [(16000, -80), (16000, -50), (16000, -40), (44100, -50)]
)
def test_strikes_over_noise_are_found_and_nothing_else(rate, floor):
    total = NOTHING
    for seed in range(6):
        clip, times = scene(seed, rate=rate, floor=floor)
        total += onset_f1(detect_onsets(clip), times)
    assert total.precision >= 0.98
    assert total.recall >= 0.95


def test_strikes_are_found_to_the_millisecond():
    clip, times = scene(3)
    found = detect_onsets(clip)
    assert len(found) == len(times)
    errors = torch.tensor(found) - torch.tensor(times)
    assert errors.abs().quantile(0.8) < 0.001


@pytest.mark.parametrize("gain", [0.1, 0.5])
def test_the_level_of_what_is_well_heard_does_not_matter(gain):
    clip, _ = scene(5, floor=-80)
    quiet = AudioClip(waveform=clip.waveform * gain, sample_rate=RATE)
    assert detect_onsets(quiet) == pytest.approx(detect_onsets(clip), abs=0.002)


def test_a_second_channel_changes_nothing():
    clip, _ = scene(7)
    stereo = AudioClip(waveform=clip.waveform.repeat(2, 1), sample_rate=RATE)
    assert detect_onsets(stereo) == detect_onsets(clip)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_another_rate_changes_little(rate):
    clip, _ = scene(7)
    other = clip_of(resample(clip.waveform, RATE, rate), rate)
    assert onset_f1(detect_onsets(other), detect_onsets(clip), tolerance=0.003).f1 == 1


def noise(power):
    """Ten seconds of noise whose power falls with frequency to the ``power``."""
    white = torch.randn(10 * RATE, generator=torch.Generator().manual_seed(1))
    slope = torch.arange(1, 5 * RATE + 2).double() ** (-power / 2)
    shaped = torch.fft.irfft(torch.fft.rfft(white.double()) * slope)
    return 0.4 * shaped / shaped.abs().max()


TIME = torch.arange(10 * RATE, dtype=torch.float64) / RATE
STEADY = {
    "silence": torch.zeros(10 * RATE),
    "white noise": noise(0),
    "pink noise": noise(1),
    "brown noise": noise(2),
    "very quiet noise": 1e-3 * noise(0),
    "a tone": 0.5 * torch.sin(2 * math.pi * 440 * TIME),
    "a chord": 0.1 * sum(torch.sin(2 * math.pi * f * TIME) for f in (220, 277, 330, 440)),
    "vibrato": 0.5 * torch.sin(2 * math.pi * 440 * TIME + 5 * torch.sin(12 * math.pi * TIME)),
    "tremolo": (0.5 + 0.4 * torch.sin(10 * math.pi * TIME)) * torch.sin(880 * math.pi * TIME),
    "a glide": 0.5 * torch.sin(2 * math.pi * (100 * TIME + 300 * TIME**2)),
    "swelling noise": (0.5 + 0.4 * torch.sin(4 * math.pi * TIME)) * noise(0),
}


@pytest.mark.parametrize("name", STEADY)
def test_what_is_steady_or_changes_slowly_has_no_onsets(name):
    assert detect_onsets(clip_of(STEADY[name])) == []


@pytest.mark.parametrize("kind", ["a tone", "white noise"])
def test_what_sets_in_is_one_onset(kind):
    sound = STEADY[kind].clone()
    sound[: 5 * RATE] *= 0.001
    assert detect_onsets(clip_of(sound)) == pytest.approx([5.0], abs=0.01)


@pytest.mark.parametrize("samples", [1, 2, 79, 80, 81, 479, 480, 481, 5000])
def test_any_length_is_listened_to(samples):
    assert detect_onsets(clip_of(0.1 * torch.ones(samples))) == []


def test_the_sound_of_a_real_drum_has_many_onsets_and_that_of_a_forest_few():
    drum = detect_onsets(read_audio(golden.path_of("music_drum.mp4")))
    forest = detect_onsets(read_audio(golden.path_of("natural_forest.mp4")))
    assert len(drum) > 2 * len(forest) > 0


def test_a_real_sound_agrees_with_itself_moved_a_little_and_not_with_itself_moved_far():
    clip = read_audio(golden.path_of("sport_skateboard.mp4"))
    found = detect_onsets(clip)

    def moved(seconds):
        waveform = clip.waveform.roll(round(seconds * clip.sample_rate), dims=1)
        return detect_onsets(AudioClip(waveform=waveform, sample_rate=clip.sample_rate))

    assert onset_f1(moved(0.02), found).f1 > 0.85
    assert onset_f1(moved(0.12), found).f1 < 0.5


TIMES = [0.5, 1.0, 1.7, 2.4]


@pytest.mark.parametrize(
    ("shift", "f1"), [(0.0, 1), (0.049, 1), (-0.05, 1), (0.05, 1), (0.051, 0), (-0.06, 0)]
)
def test_shifted_onsets_match_up_to_the_tolerance(shift, f1):
    assert onset_f1([time + shift for time in TIMES], TIMES).f1 == f1


def test_precision_recall_and_f1_are_what_they_should_be():
    result = onset_f1([0.5, 0.9, 1.01, 3.0], [0.52, 1.0])
    assert result == OnsetAgreement(matched=2, found=4, expected=2)
    assert (result.precision, result.recall) == (0.5, 1.0)
    assert result.f1 == pytest.approx(2 / 3)


def test_each_onset_is_matched_once():
    assert onset_f1([1.0, 1.01, 1.02], [1.01]).matched == 1
    assert onset_f1([1.0], [0.98, 1.01, 1.02]).matched == 1


def test_the_matching_is_the_greatest_there_is():
    # Each taking its nearest would leave one without.
    assert onset_f1([1.0, 1.04], [1.03, 1.08]).matched == 2
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        found = (2 * torch.rand(20, generator=generator)).tolist()
        expected = (2 * torch.rand(20, generator=generator)).tolist()
        assert onset_f1(found, expected).matched == greatest_matching(found, expected)


def greatest_matching(found, expected):
    """By augmenting paths, which take no advantage of the order."""
    partner = {}

    def place(i, seen):
        for j, time in enumerate(expected):
            if abs(found[i] - time) <= 0.05 and j not in seen:
                seen.add(j)
                if j not in partner or place(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(found)))


@pytest.mark.parametrize(
    ("found", "expected", "scores"),
    [([], [], (1, 1, 1)), ([], [1.0], (0, 0, 0)), ([1.0], [], (0, 0, 0))],
)
def test_nothing_expected_and_nothing_found_is_right_and_one_alone_is_wrong(
    found, expected, scores
):
    result = onset_f1(found, expected)
    assert (result.precision, result.recall, result.f1) == scores


def test_pooling_counts_every_onset_the_same():
    first = OnsetAgreement(matched=1, found=1, expected=1)
    second = OnsetAgreement(matched=0, found=3, expected=0)
    assert first + second == OnsetAgreement(matched=1, found=4, expected=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([math.nan], [1.0], 0.05), "found holds nan; moments must be finite"),
        (([1.0], [math.inf], 0.05), "expected holds inf"),
        (([1.0], [1.0], -0.1), "tolerance is -0.1; it must be 0 or more"),
        (([1.0], [1.0], math.nan), "tolerance is nan"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    found, expected, tolerance = arguments
    with pytest.raises(ConfigError, match=message):
        onset_f1(found, expected, tolerance=tolerance)
