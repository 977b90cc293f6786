import math
from dataclasses import replace

import numpy as np
import pytest

from training.foley_world.choreography import rain_showers, stick_angle, stick_lift
from training.foley_world.description import GRAVITY, Drop
from training.foley_world.motion import simulate
from training.foley_world.physics import AUDIBLE, FULL, ROLLING, track_speed
from training.foley_world.scene import make_scene

HEIGHT = 0.8


def dropped(kind, *drops, seconds=4.0):
    scene = make_scene(0, kinds=[kind], seconds=seconds)
    actor = replace(scene.actors[0], drops=drops, zone=(-0.7, 0.7))
    return replace(scene, actors=(actor,), floor="stone")


def drop(time=0.3, x=0.0, height=HEIGHT, speed=0.0, spin=0.0, tilt=0.0):
    return Drop(time=time, x=x, height=height, speed=speed, spin=spin, tilt=tilt)


@pytest.mark.parametrize("kind", ["rubber_ball", "glass_ball", "metal_ball"])
@pytest.mark.parametrize(("time", "height"), [(0.3, 0.8), (0.1234, 0.31), (1.0007, 1.05)])
def test_a_ball_lands_after_the_root_of_twice_the_height_by_gravity(kind, time, height):
    scene = dropped(kind, drop(time=time, height=height))
    first = simulate(scene).events[0]
    assert first.time == pytest.approx(time + math.sqrt(2 * height / GRAVITY), abs=1e-3)
    assert first.strength * FULL == pytest.approx(math.sqrt(2 * height * GRAVITY), rel=0.01)


@pytest.mark.parametrize("kind", ["rubber_ball", "glass_ball", "metal_ball"])
def test_a_ball_bounces_with_its_restitution(kind):
    scene = dropped(kind, drop())
    events = simulate(scene).events
    expected = scene.actors[0].sound_class.restitution * scene.ground.restitution
    speeds = [event.strength * FULL for event in events]
    assert len(speeds) > 3
    for before, after, first, second in zip(speeds, speeds[1:], events, events[1:], strict=False):
        assert after / before == pytest.approx(expected, rel=0.02)
        assert second.time - first.time == pytest.approx(2 * after / GRAVITY, abs=3e-3)


def test_slow_blows_are_no_events_and_the_rest_are_at_least_a_tenth_of_a_second_apart():
    for seed in range(6):
        scene = make_scene(seed, kinds=["glass_ball"])
        scene = dropped("glass_ball", replace(scene.actors[0].drops[0], x=0.0, speed=0.0))
        events = simulate(scene).events
        assert min(event.strength for event in events) * FULL >= AUDIBLE
        assert min(np.diff([event.time for event in events]), default=1.0) > 0.115


def test_blocks_and_balls_stay_in_their_zone_and_come_to_rest_on_the_floor():
    for kind in ("wooden_block", "metal_ball", "tin_can"):
        for seed in range(3):
            scene = make_scene(seed, kinds=[kind, "fan"], seconds=6.0)
            actor = scene.actors[0]
            for track in simulate(scene).tracks:
                assert track.x.min() > actor.zone[0]
                assert track.x.max() < actor.zone[1]
                assert 0 < track.y[-1] < 2.5 * actor.size
                assert track.y.min() > 0.25 * actor.size


def test_a_body_hangs_still_until_it_is_let_go():
    track = simulate(dropped("wooden_block", drop(time=0.5, spin=4.0))).tracks[0]
    still = track.times < 0.5
    assert np.ptp(track.y[still]) == 0
    assert np.ptp(track.angle[still]) == 0
    assert track.at(0.2) == track.at(0.0)


def test_two_bodies_that_meet_make_a_sound_that_is_not_the_floors():
    size = make_scene(0, kinds=["metal_ball"]).actors[0].size
    lower = drop(time=0.0, height=0.0)
    upper = drop(time=0.2, height=size + 0.5, x=0.02)
    events = simulate(dropped("metal_ball", lower, upper)).events
    assert events[0].time == pytest.approx(0.2 + math.sqrt(2 * 0.5 / GRAVITY), abs=3e-3)
    assert not events[0].on_floor


def test_rolling_is_heard_while_it_is_fast_enough():
    scene = make_scene(3, kinds=["stone_ball"])
    motion = simulate(scene)
    track = motion.tracks[0]
    speed = track_speed(track)
    for event in motion.events:
        inside = (track.times > event.time) & (track.times < event.end)
        assert (speed[inside] >= ROLLING).mean() > 0.95
    before = track.times < motion.events[0].time - 1e-9
    assert speed[before].max() <= ROLLING
    assert motion.events[0].time > scene.actors[0].cues[0].time


@pytest.mark.parametrize("kind", ["drum", "bell", "wooden_bar"])
def test_the_stick_touches_at_every_blow_and_only_then(kind):
    for seed in range(5):
        actor = make_scene(seed, kinds=[kind]).actors[0]
        moments = np.arange(0, 4, 0.001)
        lifts = np.array([stick_angle(actor, t) for t in moments])
        assert lifts.min() > -1e-9
        assert lifts.max() <= max(stick_lift(cue) for cue in actor.cues) + 1e-9
        for cue in actor.cues:
            assert abs(stick_angle(actor, cue.time - 1e-6)) < 1e-3
            assert abs(stick_angle(actor, cue.time + 1e-6)) < 1e-3
        away = np.all([np.abs(moments - cue.time) > 0.02 for cue in actor.cues], axis=0)
        assert lifts[away].min() > 0.05


def test_rain_begins_and_ends_with_its_first_and_last_drop():
    scene = make_scene(5, kinds=["rain"])
    events = simulate(scene).events
    for shower, event in zip(rain_showers(scene, 0), events, strict=True):
        assert (shower.times[0], shower.times[-1]) == (event.time, event.end)
        assert np.all(np.diff(shower.times) >= 0)


def test_most_events_of_clips_are_a_tenth_of_a_second_apart():
    gaps = np.concatenate(
        [np.diff([event.time for event in simulate(make_scene(seed)).events]) for seed in range(40)]
    )
    assert (gaps >= 0.12).mean() > 0.8
