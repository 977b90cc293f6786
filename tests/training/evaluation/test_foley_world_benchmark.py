"""The benchmark's program: what is made, what is kept, and what is said of it."""

import json
from dataclasses import replace

import pytest
import torch
from support.extraction import tiny_encoders

from training.evaluate import main
from training.evaluation import foley_world_benchmark, foley_world_sounds
from training.evaluation.foley_world_benchmark import Files, Settings, evaluate
from training.evaluation.foley_world_sounds import synthesize_batch
from training.evaluation.foley_world_tasks import TASKS
from training.foley_world.classifier_model import Classifier, save_classifier
from training.foley_world.clip import ClipConfig, split_seeds
from wavflow_core.cli import main as wavflow
from wavflow_core.config import SamplerConfig
from wavflow_core.features.store import Features
from wavflow_core.media.audio import AudioClip, read_audio, write_audio
from wavflow_core.pipeline import load_model
from wavflow_core.pipeline import synthesize as synthesize_one

FIRST = 20_000_000


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
    assert asked == [0, 1, 2, 3] * 2  # v2a, and what a negative prompt would be compared with


def test_matrices_can_be_multiplied_in_bf16_which_is_said_and_makes_sounds_anew(
    files, evaluated, monkeypatch
):
    kinds = []
    real = synthesize_batch

    def watching(*given, **named):
        kinds.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return real(*given, **named)

    monkeypatch.setattr(foley_world_sounds, "synthesize_batch", watching)
    report, _ = evaluate(files, replace(SMALL, matrices="bf16", tasks=("t2a",)))
    assert set(kinds) == {torch.bfloat16}
    assert (evaluated[0]["matrices"], report["matrices"]) == ("fp32", "bf16")


def test_a_compiled_network_makes_the_same_sounds_but_for_rounding(
    files, tmp_path, compiled_modules
):
    found = []
    for compiled in (False, True):
        work = tmp_path / str(compiled)
        here = replace(SMALL, count=2, tasks=("vt2a",), compile=compiled)
        evaluate(replace(files, work=work), here)
        assert bool(compiled_modules) == compiled
        found.append([read_audio(path).waveform for path in sorted(work.glob("sounds/*/vt2a/*"))])
    assert len(found[0]) == 2
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_with_other_clips_only_what_is_shown_otherwise_is_made_again(files, evaluated, monkeypatch):
    asked = []

    def counting(model, features, *, sampler, seeds):
        asked.extend(seeds)
        return synthesize_batch(model, features, sampler=sampler, seeds=seeds)

    monkeypatch.setattr(foley_world_sounds, "synthesize_batch", counting)
    evaluate(files, replace(SMALL, count=3, tasks=("other_video", "vt2a")))
    assert asked == [2]  # the last now sees the first instead of the fourth


def test_the_real_sounds_compared_with_are_never_those_that_are_judged(files, monkeypatch):
    heard = []

    def listening(seeds, *_, **__):
        heard.extend(seeds)
        raise KeyboardInterrupt

    monkeypatch.setattr(foley_world_benchmark, "hear_clips", listening)
    monkeypatch.setattr(foley_world_benchmark, "make_cases", lambda *_, **__: [])
    for split in ("validation", "test"):
        with pytest.raises(KeyboardInterrupt):
            evaluate(files, replace(SMALL, split=split))
    assert heard == [*split_seeds("validation", 4, start=4), *split_seeds("validation", 4)]


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
    write_audio(AudioClip(waveform=torch.zeros(1, 100), sample_rate=16000), tmp_path / "a.wav")
    assert main([str(tmp_path), *options(files)]) == 2
    assert "--foley-world makes its own sounds" in capsys.readouterr().err
    assert main(options(files, "--tolerance", "0.02")) == 2
    assert "--tolerance cannot be given with --foley-world" in capsys.readouterr().err
    work = ["--work", str(tmp_path / "work")]
    assert main(options(files, *work, "--clips", "1")) == 2
    assert "2 or more" in capsys.readouterr().err
    assert main(options(files, *work, "--classifier", str(files.clip))) == 2
    assert "is no classifier" in capsys.readouterr().err
    assert main(options(files, *work, "--batch-size", "0")) == 2
    assert "batch size is 0" in capsys.readouterr().err
    assert not (tmp_path / "work" / "sounds").exists()
