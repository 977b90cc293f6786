import math
from dataclasses import replace

import numpy as np
import pytest

from training.foley_world.classes import CLASSES
from training.foley_world.events import Event
from training.foley_world.modal import (
    FREE_BAR,
    HELD,
    Bank,
    Modes,
    blow_gains,
    contact_spectrum,
    floor_modes,
    material_decay,
    mode_ratios,
    object_modes,
    place_weights,
    strongest,
)
from training.foley_world.motion import simulate
from training.foley_world.scene import make_scene

RATE = 16_000
RINGING = [name for name, row in CLASSES.items() if row.modes != "none"]


def modes_of(frequencies, decays, gains):
    count = len(frequencies)
    return Modes(
        frequencies=np.array(frequencies),
        decays=np.array(decays),
        gains=np.array(gains),
        family="plate",
        phases=np.zeros(count),
    )


def test_a_struck_bank_has_the_frequencies_decays_and_amplitudes_that_were_asked_for():
    frequencies, decays, gains = [440.0, 1234.5, 3100.25], [4.0, 9.0, 20.0], [1.0, 0.5, 0.25]
    bank = Bank(modes_of(frequencies, decays, gains), rate=RATE, samples=RATE)
    out = np.zeros(RATE)
    bank.strike(out, 0.0, np.array(gains))
    spectrum = np.abs(np.fft.rfft(out * np.hanning(RATE), 16 * RATE))
    axis = np.fft.rfftfreq(16 * RATE, 1 / RATE)
    for frequency, decay, gain in zip(frequencies, decays, gains, strict=True):
        near = np.abs(axis - frequency) < 50
        assert axis[near][spectrum[near].argmax()] == pytest.approx(frequency, abs=0.5)
        # Shifted to zero, averaged over what holds whole periods of the others, and fitted.
        t = np.arange(RATE) / RATE
        moved = out * np.exp(-2j * math.pi * frequency * t)
        smooth = np.convolve(moved, np.hanning(401) / np.hanning(401).sum(), "valid")
        level = np.log(2 * np.abs(smooth))
        first, last = 200, int(min(0.9, 4 / decay) * RATE) - 600
        slope, start = np.polyfit(t[first:last] + 200 / RATE, level[first:last], 1)
        assert -slope == pytest.approx(decay, rel=0.03)
        assert math.exp(start) == pytest.approx(gain, rel=0.05)


def test_a_blow_between_samples_is_exact():
    bank = Bank(modes_of([500.0], [5.0], [1.0]), rate=RATE, samples=800)
    time = 0.01237
    out = np.zeros(800)
    bank.strike(out, time, np.array([0.7]))
    t = np.arange(800) / RATE - time
    expected = np.where(t < 0, 0, 0.7 * np.exp(-5 * t) * np.sin(2 * math.pi * 500 * t))
    assert np.abs(out - expected).max() < 1e-9


def test_modes_above_half_the_rate_are_left_out_and_a_late_blow_adds_nothing():
    bank = Bank(modes_of([500.0, 9000.0], [5.0, 5.0], [1.0, 1.0]), rate=RATE, samples=100)
    out = np.zeros(100)
    bank.strike(out, 0.0, np.array([0.0, 1.0]))
    bank.strike(out, 1.0, np.array([1.0, 1.0]))
    assert not out.any()


def test_the_bars_ratios_solve_the_equation_of_a_free_bar():
    for x in FREE_BAR:
        assert math.cos(x) * math.cosh(x) == pytest.approx(1.0, abs=2e-3 * math.cosh(x) / 1e3)
    assert mode_ratios("bar")[:4] == pytest.approx([1, 2.757, 5.404, 8.933], abs=1e-3)


def test_the_drums_ratios_are_those_of_a_membrane():
    assert mode_ratios("membrane")[:4] == pytest.approx([1, 1.593, 2.136, 2.295], abs=1e-3)


def test_a_plate_and_a_ring_have_the_ratios_of_their_formulas():
    assert mode_ratios("plate")[1] == pytest.approx((4 + 1 / 0.49) / (1 + 1 / 0.49))
    ring = mode_ratios("ring")
    assert (ring[2] + ring[3]) / 2 == pytest.approx(24 / math.sqrt(10) / (6 / math.sqrt(5)))
    assert len(mode_ratios("none")) == 0


def test_a_bar_does_not_sound_where_it_does_not_move():
    modes = replace(modes_of(np.ones(7), np.ones(7), np.ones(7)), family="bar")
    assert place_weights(modes, 0.2242)[0] < 0.002  # the textbook's node of the first mode
    assert place_weights(modes, 0.0) == pytest.approx(np.ones(7), abs=1e-6)
    assert place_weights(modes, 0.5)[1] < 1e-6  # the second has one in the middle


def test_a_drum_struck_in_the_middle_sounds_its_first_mode_the_most():
    modes = object_modes(make_scene(0, kinds=["drum"]), 0)
    assert place_weights(modes, 0.5).argmax() == 0
    middle, rim = (place_weights(modes, place) for place in (0.5, 0.95))
    assert middle[0] > 3 * rim[0]
    assert rim[1] / rim[0] > middle[1] / middle[0]


@pytest.mark.parametrize("frequency", [0.0, 200.0, 500.0, 1300.0])
def test_the_contact_has_the_spectrum_of_half_a_sine(frequency):
    t = (np.arange(20_000) + 0.5) / 20_000 * 1e-3
    push = np.sin(math.pi * t / 1e-3)
    expected = abs(np.sum(push * np.exp(-2j * math.pi * frequency * t))) / push.sum()
    assert contact_spectrum(np.array([frequency]), 1e-3)[0] == pytest.approx(expected, abs=1e-6)


def test_lossy_materials_decay_sooner_and_high_modes_before_low_ones():
    assert material_decay(np.array([1000.0]), 0.002)[0] == pytest.approx(2 * math.pi + HELD)
    metal, wood = (object_modes(make_scene(1, kinds=[k]), 0) for k in ("metal_tube", "wooden_bar"))
    assert metal.decays[0] * 5 < wood.decays[0]
    assert wood.decays.argmin() == wood.frequencies.argmin()


@pytest.mark.parametrize("kind", RINGING)
def test_pitch_falls_with_size(kind):
    row = CLASSES[kind]
    assert row.pitch_of(row.sizes[0]) > 1.3 * row.pitch_of(row.sizes[1])
    sizes, pitches = [], []
    for seed in range(30):
        actor = make_scene(seed, kinds=[kind]).actors[0]
        sizes.append(math.log(actor.size))
        pitches.append(math.log(actor.pitch))
    assert np.corrcoef(sizes, pitches)[0, 1] < -0.85


@pytest.mark.parametrize("kind", ["bell", "glass_ball", "wooden_bar"])
def test_the_pitch_of_an_event_is_its_strongest_mode(kind):
    scene = make_scene(4, kinds=[kind])
    modes = object_modes(scene, 0)
    for event in simulate(scene).events:
        assert event.pitch in modes.frequencies
        assert event.pitch == strongest(modes, scene, event)


def test_harder_blows_are_louder_and_brighter():
    scene = make_scene(2, kinds=["drum"])
    modes = object_modes(scene, 0)
    soft, hard = (
        blow_gains(modes, scene, Event(time=0, kind="drum", object=0, strength=strength, pitch=1.0))
        for strength in (0.2, 1.0)
    )
    assert hard.sum() > 4 * soft.sum()
    assert hard[-3:].sum() / hard[0] > soft[-3:].sum() / soft[0]


def test_floors_sound_different():
    scene = make_scene(0)
    found = {
        floor: floor_modes(replace(scene, floor=floor)).frequencies[0]
        for floor in ("wood", "stone", "metal", "tile")
    }
    assert len(set(found.values())) == 4
