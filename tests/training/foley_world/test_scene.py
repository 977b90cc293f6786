from collections import Counter

import numpy as np
import pytest

from training.foley_world.captions import article, plural, size_word, write_caption
from training.foley_world.classes import CLASSES
from training.foley_world.clip import SPLITS, split_seeds
from training.foley_world.motion import simulate
from training.foley_world.scene import APART, make_scene
from wavflow_core.errors import ConfigError, WavFlowError


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in range(400)]


def test_there_are_more_than_a_dozen_classes_and_every_one_occurs(scenes):
    counts = Counter(kind for scene in scenes for kind in scene.kinds)
    assert len(CLASSES) >= 12
    assert set(counts) == set(CLASSES)
    assert max(counts.values()) < 3 * min(counts.values())


def test_a_third_of_the_clips_have_two_things_of_different_classes(scenes):
    double = [scene for scene in scenes if len(scene.actors) == 2]
    assert len(double) / len(scenes) == pytest.approx(1 / 3, abs=0.08)
    assert all(scene.kinds[0] != scene.kinds[1] for scene in double)
    for scene in double:
        left, right = scene.actors
        assert left.zone[1] < right.zone[0]


@pytest.mark.parametrize("kind", list(CLASSES))
def test_captions_name_the_class_in_several_ways(kind):
    row = CLASSES[kind]
    names = (*row.nouns, *(plural(noun) for noun in row.nouns))
    found = set()
    for seed in range(8):
        scene = make_scene(seed, kinds=[kind])
        caption = write_caption(scene, simulate(scene))
        assert any(name in caption.lower() for name in names), caption
        assert "{" not in caption
        assert "  " not in caption
        found.add(caption)
    assert len(found) >= 4


def test_captions_of_two_things_name_both():
    for seed in range(8):
        scene = make_scene(seed, kinds=["bell", "rain"])
        caption = write_caption(scene, simulate(scene)).lower()
        assert "bell" in caption
        assert "rain" in caption


def test_words_are_put_in_the_right_form():
    assert article("empty tin can") == "an"
    assert article("large bell") == "a"
    assert plural("block of wood") == "blocks of wood"
    assert plural("glass ball") == "glass balls"


def test_sizes_are_called_small_and_large_where_they_are():
    words = {}
    for seed in range(40):
        actor = make_scene(seed, kinds=["drum"]).actors[0]
        words.setdefault(size_word(actor), []).append(actor.size)
    assert max(words["small"]) < min(words[""]) < max(words[""]) < min(words["large"])


def test_planned_moments_lie_within_the_clip_and_mostly_apart(scenes):
    close = total = 0
    for scene in scenes:
        cues = [[cue.time for cue in actor.cues] for actor in scene.actors]
        for times in cues:
            assert all(0 < time < scene.seconds for time in times)
            assert np.all(np.diff(times) > 0.3)
        if len(cues) == 2:
            total += len(cues[1])
            close += sum(abs(a - b) < APART for a in cues[0] for b in cues[1])
    assert close < 0.05 * total


def test_scenes_vary_without_end(scenes):
    pitches = {round(actor.pitch, 3) for scene in scenes for actor in scene.actors}
    assert len(pitches) == sum(len(scene.actors) for scene in scenes)
    assert len({scene.look.wall for scene in scenes}) >= 8
    assert len({scene.floor for scene in scenes}) == 4


def test_the_same_seed_gives_the_same_scene():
    assert make_scene(11) == make_scene(11)
    assert make_scene(11) != make_scene(12)


def test_splits_never_overlap():
    assert [seeds.start for seeds in SPLITS.values()] == [0, 10_000_000, 20_000_000]
    everything = [set(split_seeds(split, 1000, start=9_999_000)) for split in SPLITS]
    everything += [set(split_seeds(split, 1000)) for split in SPLITS]
    assert len(set.union(*everything)) == sum(map(len, everything))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_scene(-1), "seed is -1; it must be 0 or more"),
        (lambda: make_scene(0, seconds=0.5), "seconds is 0.5; it must be 1 to 60"),
        (lambda: make_scene(0, seconds=float("nan")), "seconds is nan"),
        (lambda: make_scene(0, kinds=["dog"]), "There is no class 'dog'; allowed: rubber_ball"),
        (lambda: make_scene(0, kinds=["fan"] * 3), "3 classes are given; a scene has one or two"),
        (lambda: split_seeds("dev", 1), "split is 'dev'; allowed: train, validation, test"),
        (lambda: split_seeds("test", 2, start=9_999_999), "2 clips from number 9999999"),
        (lambda: split_seeds("test", 0), "0 clips from number 0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ConfigError, match=message) as raised:
        make()
    assert isinstance(raised.value, WavFlowError)


@pytest.mark.parametrize("seconds", [1.0, 2.5, 10.0])
def test_clips_may_be_short_or_long(seconds):
    for kind in CLASSES:
        scene = make_scene(1, seconds=seconds, kinds=[kind])
        assert all(event.time < seconds for event in simulate(scene).events)
