import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.evaluation.onsets import OnsetAgreement, detect_onsets, onset_f1
from training.foley_world.classes import CLASSES
from training.foley_world.motion import simulate
from training.foley_world.noise import band_noise, bubble, click, friction, harmonics
from training.foley_world.room import air, critical_distance, room_response
from training.foley_world.scene import make_scene
from training.foley_world.sound import synthesize
from wavflow_core.media.audio import AudioClip

RATE = 16_000
CLIPS = 40
ALONE = 0.12  # seconds to the next event on either side


@pytest.fixture(scope="module")
def made():
    clips = []
    for seed in range(1000, 1000 + CLIPS):
        scene = make_scene(seed)
        motion = simulate(scene)
        clips.append((scene, motion, synthesize(scene, motion, rate=RATE)))
    return clips


def alone(events):
    times = [event.time for event in events]
    return [
        t
        for n, t in enumerate(times)
        if all(abs(t - o) >= ALONE for o in times[:n] + times[n + 1 :])
    ]


def test_the_onset_detector_finds_the_isolated_events_and_little_else(made):
    pooled = OnsetAgreement(matched=0, found=0, expected=0)
    isolated = found_isolated = 0
    for _, motion, waveform in made:
        found = detect_onsets(
            AudioClip(waveform=torch.from_numpy(waveform)[None], sample_rate=RATE)
        )
        times = [event.time for event in motion.events]
        pooled = pooled + onset_f1(found, times)
        lonely = alone(motion.events)
        isolated += len(lonely)
        found_isolated += onset_f1(found, lonely).matched
    assert isolated > 60
    assert found_isolated / isolated >= 0.9
    assert (
        pooled.recall >= 0.75
    )  # of two that are close, or one that drowns in another, one is found
    assert pooled.precision >= 0.9


def test_energy_rises_at_the_moment_of_isolated_blows_and_not_before(made):
    late = []
    for scene, motion, waveform in made:
        lonely = set(alone(motion.events)) if len(scene.actors) == 1 else set()
        power = waveform.astype(np.float64) ** 2 + 1e-9
        total = np.concatenate([[0.0], np.cumsum(power)])
        for event in motion.events:
            centre = round(event.time * RATE)
            if event.end is not None or event.time not in lonely or event.strength < 0.25:
                continue
            if centre < 800 or centre + 800 > len(waveform):
                continue
            places = np.arange(centre - 480, centre + 480, 4)
            after = (total[places + 48] - total[places]) / 48
            before = (total[places] - total[places - 80]) / 80
            late.append((places[(after / before).argmax()] - centre) / RATE)
    late = np.array(late)
    assert len(late) > 30
    assert abs(np.median(late)) <= 0.001
    assert (np.abs(late) <= 0.003).mean() > 0.9


def test_samples_are_whole_16_bit_steps_below_full_scale(made):
    for scene, _, waveform in made:
        assert waveform.dtype == np.float32
        assert waveform.shape == (round(scene.seconds * RATE),)
        assert np.abs(waveform).max() < 1
        assert np.array_equal(waveform * 32768, np.round(waveform * 32768))


@pytest.mark.parametrize("kind", list(CLASSES))
def test_every_class_is_heard_at_its_events_and_is_quiet_before(kind):
    scene = make_scene(3, kinds=[kind])
    motion = simulate(scene)
    waveform = synthesize(scene, motion, rate=RATE).astype(np.float64)
    first = motion.events[0]
    start = int(first.time * RATE)
    before = np.sqrt(np.mean(waveform[:start] ** 2))
    after = np.sqrt(np.mean(waveform[start : start + 4000] ** 2))
    assert before < 2e-3
    assert after > 4 * before


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_other_rates_sound_alike(rate):
    scene = make_scene(0, kinds=["drum"])
    motion = simulate(scene)
    usual, other = (synthesize(scene, motion, rate=r) for r in (RATE, rate))
    assert len(other) == round(scene.seconds * rate)
    levels = [np.sqrt(np.mean(x.astype(np.float64) ** 2)) for x in (usual, other)]
    assert levels[0] == pytest.approx(levels[1], rel=0.3)


def test_a_scene_sounds_the_same_again_and_quieter_from_further_away():
    scene = make_scene(7, kinds=["drum"])
    room = replace(scene.room, decay=0.12)
    motion = simulate(scene)
    near, again, far = (
        synthesize(replace(scene, room=replace(room, distance=d)), motion, rate=RATE)
        for d in (1.0, 1.0, 4.0)
    )
    assert np.array_equal(near, again)
    assert np.abs(far).max() < 0.9 * np.abs(near).max()  # the room's answer stays


def test_the_room_decays_in_its_time_and_begins_with_the_direct_sound():
    scene = make_scene(0)
    room = replace(scene.room, decay=0.8, distance=1.0, sides=(6.0, 5.0, 3.0))
    response = room_response(replace(scene, room=room), rate=RATE)
    assert response[0] == 1
    tail = response[int(0.1 * RATE) :].astype(np.float64)
    energy = np.cumsum(tail[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    first, last = np.argmax(level < -5), np.argmax(level < -25)
    assert (last - first) / RATE * 3 == pytest.approx(room.decay, rel=0.15)
    assert critical_distance(room) == pytest.approx(0.057 * math.sqrt(90 / 0.8))


def test_air_keeps_low_frequencies_and_takes_more_of_high_ones_further_away():
    frequency = np.array([0.0, 4000.0])
    near, far = (np.abs(air(frequency, distance, rate=RATE)) for distance in (1.0, 5.0))
    assert near[0] == pytest.approx(1)
    assert far[0] == pytest.approx(1)
    assert far[1] < near[1] < 1


def test_noise_lies_in_its_band():
    noise = band_noise(np.random.default_rng(0), RATE, rate=RATE, centre=1000.0, octaves=0.5)
    power = np.abs(np.fft.rfft(noise)) ** 2
    axis = np.fft.rfftfreq(RATE, 1 / RATE)
    assert noise.std() == pytest.approx(1, rel=0.02)
    assert power[(axis > 500) & (axis < 2000)].sum() / power.sum() > 0.9


def test_friction_follows_the_speed():
    speed = np.concatenate([np.zeros(8000), np.full(8000, 0.3), np.full(8000, -0.9)])
    noise = friction(np.random.default_rng(0), speed, rate=RATE, centre=800.0, roughness=0.3)
    levels = [part.std() for part in np.split(noise, 3)]
    assert levels[0] == 0
    assert levels[2] / levels[1] == pytest.approx(3, rel=0.35)


def test_a_bubble_rises_in_pitch_and_dies_away():
    sound = bubble(RATE, rate=RATE, pitch=800.0, late=0.0)
    radius = 3 / 800.0
    decay = 0.13 / radius + 0.0072 * radius**-1.5
    crossings = np.flatnonzero(np.diff(np.signbit(sound)))
    periods = np.diff(crossings)
    assert RATE / (2 * periods[:8].mean()) == pytest.approx(800, rel=0.1)
    assert periods[-8:].mean() < 0.85 * periods[:8].mean()
    peaks = np.abs(sound[: int(2 / decay * RATE)])
    assert peaks.argmax() < 20
    assert len(sound) <= math.ceil(7 / decay * RATE)


def test_clicks_peak_at_one_and_harmonics_stay_below_half_the_rate():
    assert np.abs(click(np.random.default_rng(0), rate=RATE, duration=1e-3)).max() == pytest.approx(
        1
    )
    steady = np.full(RATE, 3000.0)
    tone = harmonics(steady, np.ones(4), np.zeros(4), rate=RATE)
    power = np.abs(np.fft.rfft(tone)) ** 2
    assert set(np.flatnonzero(power > 0.01 * power.max())) == {3000, 6000}
