"""The whole command: folders in; table, report, sheet and folders out."""

import json

import av
import pytest
import torch
from support import golden
from support.media import make_sound

from training import evaluate
from training.evaluation import many
from wavflow_core.tensor_files import write_safetensors

RATE = 16000
TIMES = {"a": [0.5, 1.2], "b": [0.4, 0.9, 1.5], "c": [1.0]}


def clicks(times, seconds=2.0):
    generator = torch.Generator().manual_seed(0)
    sound = 1e-3 * torch.randn(1, int(seconds * RATE), generator=generator)
    for time in times:
        sound[0, round(time * RATE)] = 0.5
    return sound


@pytest.fixture
def folders(tmp_path):
    """Results 20 ms late but for c, which is 100 ms late; originals; a broken file apart."""
    results, originals = tmp_path / "results", tmp_path / "originals"
    results.mkdir()
    originals.mkdir()
    for name, times in TIMES.items():
        late = 0.1 if name == "c" else 0.02
        make_sound(originals / f"{name}.wav", clicks(times), RATE)
        make_sound(results / f"{name}.wav", clicks([time + late for time in times]), RATE)
    return results, originals


def run(*arguments):
    return evaluate.main([str(item) for item in arguments])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_results_are_compared_with_originals(tmp_path, folders, capsys):
    results, originals = folders
    report = tmp_path / "r.json"
    assert run(results, "--reference", originals, "-o", report) == 0
    shown = capsys.readouterr()
    assert "onset F1" in shown.out
    assert "log-mel distance (dB)" in shown.out
    assert "evaluate:" in shown.err
    content = read(report)
    assert {clip["id"]: clip["onset_f1"] for clip in content["clips"]} == {"a": 1, "b": 1, "c": 0}
    assert content["summary"]["onset_f1"]["mean"] == pytest.approx(2 / 3)
    assert content["summary"]["onset_f1_pooled"]["mean"] == pytest.approx(5 / 6)
    assert content["failures"] == []
    assert content["settings"]["reference"] == str(originals)
    assert content["settings"]["tolerance"] == 0.05


def test_results_are_compared_with_given_times(tmp_path, folders):
    results, _ = folders
    times, report = tmp_path / "times.json", tmp_path / "r.json"
    times.write_text(json.dumps(TIMES))
    assert run(results, "--onsets", times, "--tolerance", 0.11, "-o", report) == 0
    assert read(report)["summary"]["onset_f1"] == {"mean": 1, "median": 1, "count": 3}


def test_results_alone_are_measured(folders, capsys):
    assert run(folders[0]) == 0
    shown = capsys.readouterr().out
    assert "loudness (LUFS)" in shown
    assert "onset F1" not in shown


def test_manifests_name_results_and_originals(tmp_path, folders):
    results, originals = folders
    for folder in folders:
        rows = "".join(f"{name},{folder.name}/{name}.wav,0,0\n" for name in TIMES)
        (tmp_path / f"{folder.name}.csv").write_text(
            "id,audio_path,video_exist,text_exist\n" + rows
        )
    report = tmp_path / "r.json"
    code = run(tmp_path / "results.csv", "--reference", tmp_path / "originals.csv", "-o", report)
    assert code == 0
    assert len(read(report)["clips"]) == 3
    assert results.is_dir()
    assert originals.is_dir()


def test_the_duration_limits_what_is_measured(tmp_path, folders):
    results, originals = folders
    report = tmp_path / "r.json"
    assert run(results, "--reference", originals, "--duration", 1.0, "-o", report) == 0
    assert read(report)["summary"]["duration"]["mean"] == 1
    assert read(report)["summary"]["onsets"]["mean"] == pytest.approx(1)


def test_a_sheet_shows_the_first_sounds(tmp_path, folders):
    results, originals = folders
    sheet, report = tmp_path / "s.png", tmp_path / "r.json"
    options = ("--sheet", sheet, "--sheet-rows", 2, "-o", report)
    assert run(results, "--reference", originals, *options) == 0
    with av.open(str(sheet)) as container:
        [frame] = container.decode(video=0)
    assert (frame.width, frame.height) == (2 * 480 + 4, 2 * 160 + 4)
    assert read(report)["sheet"] == {"file": str(sheet), "ids": ["a", "b"]}


def test_bad_files_are_named_and_counted(tmp_path, folders, capsys, caplog):
    results, originals = folders
    (results / "broken.wav").write_bytes(b"no sound")
    make_sound(results / "alone.wav", clicks([1.0]), RATE)
    report = tmp_path / "r.json"
    assert run(results, "--reference", originals, "-o", report) == 1
    failures = {item["id"]: item["reason"] for item in read(report)["failures"]}
    assert "not a readable video or sound file" in failures["broken"]
    assert "no original with the id 'alone'" in failures["alone"]
    assert len(read(report)["clips"]) == 3
    assert "2 sounds were left out" in caplog.text
    assert "onset F1" in capsys.readouterr().out


def test_too_many_bad_files_stop_it_and_nothing_is_written(tmp_path, folders, capsys):
    results, originals = folders
    (results / "broken.wav").write_bytes(b"no sound")
    report = tmp_path / "r.json"
    code = run(results, "--reference", originals, "-o", report, "--max-failures", 0)
    assert code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("training.evaluate: error: 1 of 4 samples failed, and 0 may: broken: ")
    assert not report.exists()


def test_a_clip_without_times_is_a_failure(tmp_path, folders):
    times, report = tmp_path / "times.csv", tmp_path / "r.json"
    times.write_text("id,time\na,0.5\na,1.2\n")
    assert run(folders[0], "--onsets", times, "-o", report) == 1
    reasons = [item["reason"] for item in read(report)["failures"]]
    assert reasons == [f"there are no onset times with the id {name!r}." for name in "bc"]


def test_embeddings_are_compared_alone(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    paths = []
    for number in range(2):
        tensors = {
            "embeddings": torch.randn(40, 3, generator=generator),
            "probabilities": torch.randn(40, 5, generator=generator).softmax(dim=1),
        }
        paths.append(tmp_path / f"{number}.safetensors")
        write_safetensors(tensors, {}, paths[-1])
    report = tmp_path / "r.json"
    assert run("--embeddings", *paths, "-o", report) == 0
    assert set(read(report)["embeddings"]) == {
        "frechet_distance",
        "inception_score",
        "inception_score_std",
        "kl_divergence",
    }
    assert "frechet_distance" in capsys.readouterr().out


def test_the_folders_for_av_benchmark_are_written_and_the_commands_said(
    tmp_path, folders, caplog, monkeypatch
):
    monkeypatch.setattr(evaluate.av_benchmark, "is_installed", lambda: False)
    results, originals = folders
    out, report = tmp_path / "bench", tmp_path / "r.json"
    options = ("--av-benchmark", out, "--av-benchmark-seconds", 2, "-o", report)
    assert run(results, "--reference", originals, *options) == 0
    assert names(out / "generated") == names(out / "reference") == ["a.wav", "b.wav", "c.wav"]
    assert "av-benchmark is not installed here" in caplog.text
    assert read(report)["av_benchmark"]["commands"][0].startswith("python evaluate.py")


def test_the_numbers_of_av_benchmark_join_the_report(tmp_path, folders, capsys, monkeypatch):
    monkeypatch.setattr(evaluate.av_benchmark, "is_installed", lambda: True)
    monkeypatch.setattr(
        evaluate.av_benchmark, "run", lambda *_, **__: {"FD-PANN": 5.25, "KL": float("nan")}
    )
    results, originals = folders
    report = tmp_path / "r.json"
    options = ("--av-benchmark", tmp_path / "bench", "-o", report)
    assert run(results, "--reference", originals, *options) == 0
    assert read(report)["av_benchmark"]["values"] == {"FD-PANN": 5.25}
    assert "5.2500" in capsys.readouterr().out


def test_a_failure_of_av_benchmark_does_not_lose_the_rest(tmp_path, folders, monkeypatch):
    def fail(*_, **__):
        raise evaluate.WavFlowError("no weights")

    monkeypatch.setattr(evaluate.av_benchmark, "is_installed", lambda: True)
    monkeypatch.setattr(evaluate.av_benchmark, "run", fail)
    results, originals = folders
    report = tmp_path / "r.json"
    options = ("--av-benchmark", tmp_path / "bench", "-o", report)
    assert run(results, "--reference", originals, *options) == 1
    assert read(report)["av_benchmark"]["error"] == "no weights"
    assert len(read(report)["clips"]) == 3


def test_folders_that_cannot_be_written_do_not_lose_the_rest(tmp_path, folders, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate.av_benchmark, "_write_pair", full)
    results, originals = folders
    report = tmp_path / "r.json"
    options = ("--av-benchmark", tmp_path / "bench", "-o", report)
    assert run(results, "--reference", originals, *options) == 1
    assert "No space left on device; choose another" in read(report)["av_benchmark"]["error"]
    assert len(read(report)["clips"]) == 3


def test_a_folder_above_that_cannot_be_written_to_is_told_before_the_work(
    tmp_path, folders, capsys, monkeypatch
):
    monkeypatch.setattr("training.evaluation.av_benchmark.os.access", lambda *_: False)
    options = ("--av-benchmark", tmp_path / "bench")
    assert run(folders[0], "--reference", folders[1], *options) == 2
    assert "cannot be written to; choose another folder" in capsys.readouterr().err


def test_an_interrupt_writes_nothing(tmp_path, folders, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(many, "measure_sound", interrupt)
    options = ("-o", tmp_path / "r.json", "--sheet", tmp_path / "s.png")
    assert run(folders[0], *options) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("interrupted; no report was written.")
    assert names(tmp_path) == ["originals", "results"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is nothing to evaluate; give RESULTS, --embeddings or both"),
        (["none"], "There is no 'none'"),
        (["--embeddings", "a", "b", "--sheet", "s.png"], "--sheet needs RESULTS"),
        (["--embeddings", "a.safetensors", "b"], "There is no file 'a.safetensors'"),
        (["results", "--av-benchmark", "out"], "--av-benchmark needs --reference"),
        (["results", "--duration", "0"], "--duration is 0.0; it must be above 0 seconds"),
        (["results", "--tolerance", "nan"], "--tolerance is nan"),
        (["results", "--sheet-rows", "65"], "--sheet-rows is 65; it must be 1 to 64"),
        (["results", "--max-failures", "2"], "allowed: 0 to 1"),
        (["results", "-o", "r.txt"], "its suffix must be one of .json"),
        (["results", "--sheet", "s.jpg"], "its suffix must be one of .png"),
        (["results", "-o", "none/r.json"], "its folder does not exist"),
        (["results", "-o", "there.json"], "exists; choose another --output, or replace it with"),
        (["results", "--onsets", "there.json"], "must be an object from ids"),
        (
            ["results", "--reference", "originals", "--av-benchmark", "results"],
            "not an empty folder",
        ),
    ],
)
def test_mistakes_are_one_line(folders, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("[]")
    assert run(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("training.evaluate: error: ")
    assert len(error.splitlines()) == 1


def test_when_all_fail_the_reasons_are_given(tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    assert run(tmp_path) == 2
    assert "None of the 1 sounds could be evaluated. a: " in capsys.readouterr().err


def test_files_are_replaced_when_asked(tmp_path, folders):
    report = tmp_path / "r.json"
    report.write_text("{}")
    assert run(folders[0], "-o", report, "--overwrite") == 0
    assert read(report)["format"] == "wavflow.evaluation"


def test_real_clips_agree_with_themselves(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("music_drum.mp4", "sport_skateboard.mp4"):
        (folder / name).symlink_to(golden.path_of(name))
    report = tmp_path / "r.json"
    assert run(folder, "--reference", folder, "-o", report, "--sheet", tmp_path / "s.png") == 0
    summary = read(report)["summary"]
    assert summary["onset_f1"]["mean"] == 1
    assert summary["log_mel_correlation"]["mean"] == pytest.approx(1)
    assert -40 < summary["loudness"]["mean"] < -10
