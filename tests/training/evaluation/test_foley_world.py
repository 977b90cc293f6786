"""The benchmark: real sound does well, and whoever cheats does not."""

import json
import math

import pytest
import torch
from support.extraction import tiny_encoders

from training.evaluate import main
from training.evaluation import foley_world_sounds
from training.evaluation.foley_world_benchmark import Files, Settings, evaluate
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
from training.evaluation.foley_world_sounds import synthesize_batch
from training.evaluation.foley_world_tasks import TASKS, another, show
from training.evaluation.spectra import ANALYSIS_RATE
from training.foley_world.classes import CLASSES
from training.foley_world.classifier_model import Classifier, save_classifier
from training.foley_world.clip import ClipConfig, tell_truth
from training.foley_world.motion import simulate
from training.foley_world.scene import make_scene
from training.foley_world.sound import synthesize
from wavflow_core.cli import main as wavflow
from wavflow_core.config import AudioConfig, SamplerConfig
from wavflow_core.features.store import Features
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.pipeline import load_model
from wavflow_core.pipeline import synthesize as synthesize_one

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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    tiny_encoders(folder)
    assert wavflow(["init", "--preset", "tiny", "-o", str(folder / "model.safetensors")]) == 0
    torch.manual_seed(0)
    path = folder / "classifier.safetensors"
    save_classifier(Classifier(), path, licence="Apache-2.0", training={})
    return Files(
        checkpoint=folder / "model.safetensors",
        clip=folder / "clip.safetensors",
        synchformer=folder / "synchformer.safetensors",
        classifier=path,
        work=folder / "work",
    )


SMALL = Settings(
    count=4,
    clips=ClipConfig(seconds=1.5, size=48),
    sampler=SamplerConfig(steps=2, cfg=2.0),
    batch_size=3,
    device="cpu",
)


@pytest.fixture(scope="module")
def evaluated(files):
    return evaluate(files, SMALL)


def test_a_checkpoint_gets_a_row_for_every_task_beside_the_real_sound(evaluated):
    report, text = evaluated
    assert set(report["rows"]) <= {"real", "chance", *TASKS}
    assert {"real", "chance", "vt2a", "v2a", "t2a", "other_video"} <= set(report["rows"])
    assert report["seeds"] == {"first": FIRST, "last": FIRST + 3, "count": 4}
    assert report["sampler"]["steps"] == 2
    assert len(report["checkpoint"]["sha256"]) == 64
    assert [item["id"] for item in report["clips"]["t2a"]] == [
        f"foley_{seed:08d}" for seed in range(FIRST, FIRST + 4)
    ]
    assert text.splitlines()[2].startswith("real")
    json.dumps(report, allow_nan=False)


def test_sounds_that_are_there_are_not_made_again(files, evaluated, monkeypatch):
    def never(*_, **__):
        raise AssertionError("it was there")

    monkeypatch.setattr(foley_world_sounds, "synthesize_batch", never)
    monkeypatch.setattr("wavflow_core.encoding.Encoders.extract", never)
    assert evaluate(files, SMALL) == evaluated


def test_a_lost_sound_alone_is_made_again_and_other_settings_make_all(
    files, evaluated, monkeypatch
):
    asked = []
    real = synthesize_batch

    def counting(model, features, *, sampler, seeds):
        asked.extend(seeds)
        return real(model, features, sampler=sampler, seeds=seeds)

    monkeypatch.setattr(foley_world_sounds, "synthesize_batch", counting)
    [lost] = files.work.glob(f"sounds/*/t2a/foley_{FIRST + 2}.wav")
    lost.unlink()
    evaluate(files, SMALL)
    assert asked == [2]
    asked.clear()
    other = Settings(
        count=4,
        clips=SMALL.clips,
        sampler=SamplerConfig(steps=1, cfg=1.0),
        tasks=("v2a", "negative"),
        batch_size=3,
        device="cpu",
    )
    report, _ = evaluate(files, other)
    assert "negative" not in report["rows"]  # it does nothing without guidance
    assert asked == [0, 1, 2, 3] * (len(asked) // 4)


def test_a_batch_gives_what_each_clip_gives_alone(files):
    model = load_model(files.checkpoint, device="cpu")
    generator = torch.Generator().manual_seed(0)

    def features(**given):
        return Features(
            **{n: torch.randn(s, generator=generator) for n, s in given.items()}, duration=1.0
        )

    batch = [
        features(clip=(8, 64), sync=(16, 64), text=(77, 64)),
        features(text=(77, 64), negative_text=(77, 64)),
        features(clip=(8, 64), sync=(16, 64)),
    ]
    sampler = SamplerConfig(steps=2, cfg=3.0)
    together = synthesize_batch(model, batch, sampler=sampler, seeds=[4, 5, 6])
    for seed, item, clip in zip((4, 5, 6), batch, together, strict=True):
        [alone] = synthesize_one(model, item, sampler=sampler, seed=seed)
        assert torch.allclose(clip.waveform, alone.waveform, atol=1e-4)


def options(files, *more):
    return [
        *("--foley-world", str(files.checkpoint), "--clip", str(files.clip)),
        *("--synchformer", str(files.synchformer), "--classifier", str(files.classifier)),
        *("--device", "cpu"),
        *more,
    ]


def test_the_program_writes_a_table_and_a_report(files, tmp_path, capsys):
    out = tmp_path / "report.json"
    more = ["--work", str(tmp_path / "work"), "--clips", "2", "--steps", "1", "--tasks", "t2a"]
    assert main(options(files, *more, "--noise-shift", "2", "-o", str(out))) == 0
    assert "t2a:" in capsys.readouterr().out
    report = json.loads(out.read_text())
    sampler = report["sampler"]
    assert (sampler["steps"], sampler["noise_shift"]) == (1, 2)
    assert report["format"] == "wavflow.evaluation"
    assert list(report["rows"]) == ["real", "chance", "t2a"]
    assert report["batch_size"] == 2  # what suits a processor
    assert str(tmp_path) not in out.read_text()


def test_what_cannot_be_used_is_said_before_the_work(files, tmp_path, capsys):
    write_audio(constant(torch.zeros(1, 100)), tmp_path / "a.wav")
    assert main([str(tmp_path), *options(files)]) == 2
    assert "--foley-world makes its own sounds" in capsys.readouterr().err
    work = ["--work", str(tmp_path / "work")]
    assert main(options(files, *work, "--clips", "1")) == 2
    assert "2 or more" in capsys.readouterr().err
    assert main(options(files, *work, "--classifier", str(files.clip))) == 2
    assert "is no classifier" in capsys.readouterr().err
    assert main(options(files, *work, "--batch-size", "0")) == 2
    assert "batch size is 0" in capsys.readouterr().err
    assert not (tmp_path / "work" / "sounds").exists()
