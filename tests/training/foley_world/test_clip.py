from fractions import Fraction

import numpy as np
import pytest

from training.foley_world.classes import CLASSES
from training.foley_world.clip import ClipConfig, make_clip
from training.foley_world.drawing import frame_count, render_frames
from training.foley_world.motion import simulate
from training.foley_world.scene import make_scene
from wavflow_core.errors import ConfigError

SMALL = ClipConfig(seconds=1.5, size=64, fps=Fraction(10), rate=8000)


def frames_of(scene, size=64, fps=25):
    return np.stack(list(render_frames(scene, simulate(scene), size=size, fps=Fraction(fps))))


def test_the_same_seed_gives_the_same_clip_whatever_was_made_before():
    first = [make_clip(seed, SMALL) for seed in (5, 6, 7)]
    again = [make_clip(seed, SMALL) for seed in (7, 6, 5)][::-1]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.waveform, other.waveform)
        assert one.truth == other.truth
    assert not np.array_equal(first[0].waveform, first[1].waveform)


def test_the_sound_does_not_depend_on_the_picture():
    large = ClipConfig(seconds=1.5, size=96, fps=Fraction(25), rate=8000)
    one, other = make_clip(9, SMALL), make_clip(9, large)
    assert np.array_equal(one.waveform, other.waveform)
    assert one.truth == other.truth
    assert one.frames.shape == (15, 64, 64, 3)
    assert other.frames.shape == (38, 96, 96, 3)


def test_frames_are_counted_by_when_they_begin():
    assert frame_count(4.0, Fraction(25)) == 100
    assert frame_count(4.0, Fraction(30000, 1001)) == 120
    assert frame_count(1.01, Fraction(25)) == 26


@pytest.mark.parametrize("kind", list(CLASSES))
def test_every_class_is_seen_to_move(kind):
    frames = frames_of(make_scene(2, kinds=[kind]), fps=10).astype(int)
    moved = np.abs(frames - np.median(frames, axis=0)).max(axis=(0, 3))
    assert (moved > 25).mean() > 0.004


@pytest.mark.parametrize("kind", ["neon_lamp", "fan", "rain", "speaker", "drum", "crate"])
def test_the_picture_is_still_until_something_is_about_to_happen(kind):
    scene = make_scene(4, kinds=[kind])
    first = simulate(scene).events[0].time
    frames = frames_of(scene).astype(int)
    quiet = frames[: max(1, int((first - 0.3) * 25))]
    assert np.array_equal(quiet, np.broadcast_to(quiet[0], quiet.shape))
    assert np.abs(frames[int(first * 25) + 2] - frames[0]).max() > 30


def test_a_ball_touches_the_floor_in_the_frame_of_its_bounce():
    scene = make_scene(0, kinds=["metal_ball"])
    motion = simulate(scene)
    radius = scene.actors[0].size / 2
    for event in motion.events:
        if event.on_floor:
            lowest = min(track.at(event.time)[1] for track in motion.tracks)
            assert lowest == pytest.approx(radius, abs=0.012)


def test_truth_tells_events_with_their_classes_and_pitches():
    clip = make_clip(8, SMALL)
    told = clip.truth.to_dict(SMALL)
    assert told["id"] == "foley_00000008"
    assert told["classes"] == list(clip.truth.scene.kinds)
    for event in told["events"]:
        assert set(event) == {"time", "end", "class", "object", "strength", "pitch_hz"}
        assert event["class"] == told["classes"][event["object"]]
        assert 0 <= event["time"] < 1.5
        assert 0 < event["strength"] <= 1
        assert event["pitch_hz"] > 20
    assert told["config"] == {
        "seconds": 1.5,
        "size": 64,
        "fps": "10",
        "rate": 8000,
        "version": 1,
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 65}, "size is 65; it must be an even number of pixels, 32 to 2048"),
        ({"size": 16}, "size is 16"),
        ({"fps": Fraction(0)}, "fps is 0; it must be 1 to 120"),
        ({"rate": 100}, "rate is 100; it must be 4000 to 192000 Hz"),
        ({"seconds": 0.0}, "seconds is 0.0; it must be 1 to 60"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        ClipConfig(**setting)


def test_pictures_out_of_range_are_refused():
    scene = make_scene(0)
    with pytest.raises(ConfigError, match="size is 33"):
        next(render_frames(scene, simulate(scene), size=33, fps=Fraction(25)))
    with pytest.raises(ConfigError, match="fps is 0; it must be above 0"):
        next(render_frames(scene, simulate(scene), size=64, fps=Fraction(0)))
