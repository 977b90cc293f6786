"""The benchmark: real sound does well, and whoever cheats does not."""

import math

import pytest
import torch

from training.evaluation.foley_world_cases import to_case
from training.evaluation.foley_world_measure import (
    course_distance,
    find,
    find_real,
    judge,
    level_course,
    pitch_error,
)
from training.evaluation.foley_world_report import negative_effect, summarize_row
from training.evaluation.foley_world_tasks import another, show
from training.evaluation.spectra import ANALYSIS_RATE
from training.foley_world.classes import CLASSES
from training.foley_world.classifier_model import Classifier
from training.foley_world.clip import ClipConfig, tell_truth
from training.foley_world.motion import simulate
from training.foley_world.scene import make_scene
from training.foley_world.sound import synthesize
from wavflow_core.config import AudioConfig
from wavflow_core.media.audio import AudioClip

RATE = ANALYSIS_RATE
AUDIO = AudioConfig(window=4.0, normalization="unclipped")
FIRST = 20_000_000


def made(seed, folder, kinds=None):
    """The case of a clip, and its real sound; no pictures are drawn."""
    scene = make_scene(seed, kinds=kinds)
    motion = simulate(scene)
    case = to_case(tell_truth(scene, motion).to_dict(ClipConfig()), folder)
    waveform = torch.from_numpy(synthesize(scene, motion, rate=RATE))[None]
    return case, AudioClip(waveform=waveform, sample_rate=RATE)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [made(seed, folder) for seed in range(FIRST, FIRST + 16)]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier().eval()


@pytest.fixture(scope="module")
def row_of(clips, classifier):
    """The numbers of a row in which each clip has another sound."""
    reals = [find_real(sound, case, classifier, AUDIO) for case, sound in clips]

    def judged(sounds):
        both = zip(clips, reals, sounds, strict=True)
        return summarize_row(
            [judge(find(sound, case, classifier), real, case) for (case, _), real, sound in both]
        )

    return judged


def constant(waveform):
    return AudioClip(waveform=waveform, sample_rate=RATE)


def test_real_sound_comes_near_to_what_can_be_reached(clips, row_of):
    row = row_of([sound for _, sound in clips])
    assert row["onset_f1"] > 0.85
    assert row["onset_precision"] > 0.95
    assert row["onset_f1_real"] == 1
    assert row["pitch_cents"] < 10
    assert row["pitch_close"] > 0.9
    assert row["dynamics_error"] == 0
    low, high = row["onset_f1_interval"]
    assert low < row["onset_f1"] < high


def test_silence_noise_and_the_sounds_of_others_do_badly(clips, row_of):
    generator = torch.Generator().manual_seed(0)
    silent = [constant(torch.zeros(1, 4 * RATE)) for _ in clips]
    hiss = [constant(0.1 * torch.randn(1, 4 * RATE, generator=generator)) for _ in clips]
    moved = [sound for _, sound in [*clips[1:], clips[0]]]
    turned = [constant(sound.waveform.flip(1)) for _, sound in clips]
    rows = [row_of(sounds) for sounds in (silent, hiss, moved, turned)]
    print([row["onset_f1"] for row in rows])
    for row, limit in zip(rows, (0.0, 0.1, 0.3, 0.3), strict=True):
        assert row["onset_f1"] <= limit
    for row in rows[:3]:
        assert row["pitch_close"] < 0.4
        assert row["dynamics_error"] > 3


def test_a_click_every_tenth_of_a_second_does_not_pass_for_good_timing(clips, row_of):
    clicks = torch.zeros(1, 4 * RATE)
    clicks[:, 800::1600] = 0.5
    row = row_of([constant(clicks) for _ in clips])
    assert row["onset_f1"] < 0.45
    assert row["onset_precision"] < 0.35


def test_a_pitch_is_measured_in_cents_where_the_truth_has_one(tmp_path):
    case, _ = made(5, tmp_path, kinds=["speaker"])
    [pitch] = case.pitches["speaker"]
    time = torch.arange(4 * RATE) / RATE

    def tone(cents):
        return torch.sin(2 * math.pi * pitch * 2 ** (cents / 1200) * time)

    for cents in (0, 20, -75, 400):
        assert pitch_error(tone(cents), case) == pytest.approx(abs(cents), abs=3)
    assert pitch_error(torch.zeros(4 * RATE), case) == 600
    two, _ = made(5, tmp_path, kinds=["speaker", "bell"])
    rain, _ = made(5, tmp_path, kinds=["rain"])
    assert pitch_error(tone(0), two) is None
    assert pitch_error(tone(0), rain) is None


def test_levels_are_compared_as_they_are_learned_and_as_they_are_in_the_file(clips, classifier):
    case, sound = clips[0]
    real = find_real(sound, case, classifier, AUDIO)
    rms = float(sound.waveform.square().mean().sqrt())
    learned = constant(sound.waveform * (AUDIO.target_rms / rms))
    softer = constant(learned.waveform / 2)
    assert judge(find(learned, case, classifier), real, case).loudness == pytest.approx(0, abs=0.1)
    judged = judge(find(softer, case, classifier), real, case)
    assert judged.loudness == pytest.approx(-6.02, abs=0.15)
    assert judged.dynamics == pytest.approx(0, abs=1e-3)
    itself = judge(find(sound, case, classifier), real, case)
    assert itself.loudness_of_file == pytest.approx(0, abs=0.1)


def test_a_sound_made_for_another_video_fits_that_one_and_not_its_own_clip(clips, classifier):
    cases = [case for case, _ in clips]
    shown = show("other_video", cases, 0)
    _, sound = clips[1]
    real = find_real(clips[0][1], cases[0], classifier, AUDIO)
    judged = judge(find(sound, cases[0], classifier), real, cases[0], shown)
    assert judged.seen.f1 > 0.7
    assert judged.truth.f1 < 0.5


def test_the_course_of_level_follows_when_it_is_loud():
    early, late = torch.zeros(RATE), torch.zeros(RATE)
    early[: RATE // 2], late[RATE // 2 :] = 0.1, 0.1
    assert course_distance(level_course(early), level_course(early * 0.1)) == pytest.approx(0)
    assert course_distance(level_course(early), level_course(late)) == pytest.approx(40, abs=1)
    assert course_distance(level_course(torch.zeros(RATE)), level_course(early)) > 15


def test_each_task_shows_what_it_says(clips):
    cases = [case for case, _ in clips]
    for index, case in enumerate(cases):
        assert show("vt2a", cases, index).video is case
        assert show("v2a", cases, index).prompt == ""
        assert show("t2a", cases, index).video is None
        swapped = show("other_video", cases, index)
        assert swapped.video is another(cases, index) is not case
        assert swapped.prompt == case.caption
        wrong = show("wrong_prompt", cases, index)
        assert wrong.video is case
        assert not set(wrong.asked) & set(case.classes)
        assert len(wrong.asked) == len(case.classes)
        negative = show("negative", cases, index)
        assert (negative is None) == (len(case.classes) == 1)
        if negative is not None:
            assert negative.unwanted in case.classes
            assert negative.negative_prompt in CLASSES[negative.unwanted].nouns


def test_what_a_negative_prompt_changes_is_told_by_the_probabilities(clips, classifier):
    cases = [case for case, _ in clips]
    index = next(n for n, case in enumerate(cases) if len(case.classes) == 2)
    case, sound = clips[index]
    real = find_real(sound, case, classifier, AUDIO)
    shown = show("negative", cases, index)
    with_all = judge(find(sound, case, classifier), real, case, shown)
    without = judge(find(constant(sound.waveform.flip(1)), case, classifier), real, case, shown)
    effect = negative_effect([with_all], [without])
    assert effect["clips"] == 1
    assert effect["unwanted_without"] == pytest.approx(with_all.unwanted)
    assert effect["unwanted_with"] == pytest.approx(without.unwanted)
    assert effect["share_lowered"] == float(without.unwanted < with_all.unwanted)
