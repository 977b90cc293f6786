import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from training import pool
from training.foley_world import __main__ as cli
from training.foley_world import parallel
from training.foley_world.clip import ClipConfig, make_clip
from training.lock import only_run_in
from training.manifest import read_manifest
from training.probing import check_row
from wavflow_core.media.audio import read_audio
from wavflow_core.media.video import open_video

ROOT = Path(__file__).parents[3]
SMALL = ["--size", "48", "--fps", "10", "--rate", "8000", "--seconds", "1.5"]


def run(out, *more, count=3):
    return cli.main([str(out), "--count", str(count), *SMALL, *more])


def contents(folder):
    tables_and_sounds = (path for path in sorted(folder.iterdir()) if path.suffix != ".mp4")
    return {path.name: path.read_bytes() for path in tables_and_sounds if path.name != ".lock"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("foley") / "clips"
    assert run(out, "--split", "validation") == 0
    return out


def lines_of(folder):
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def test_clips_are_written_with_a_manifest_that_training_reads(folder):
    rows, failures = read_manifest(folder / "manifest.csv")
    assert not failures
    assert [row.id for row in rows] == [f"foley_1000000{n}" for n in range(3)]
    for row in rows:
        assert check_row(row) is None
        assert row.caption
        assert open_video(row.video).frame_rate == 10
    assert "clips" not in (folder / "manifest.csv").read_text().splitlines()[1].split(",")[1]


def test_sound_files_hold_the_exact_samples_and_videos_nearly(folder):
    line = lines_of(folder)[0]
    clip = make_clip(line["seed"], config_of(line))
    exact = read_audio(folder / f"{line['id']}.wav")
    assert np.array_equal(exact.waveform[0].numpy(), clip.waveform)
    coded = read_audio(folder / f"{line['id']}.mp4").waveform[0].numpy()
    assert len(coded) == len(clip.waveform)
    assert np.corrcoef(coded, clip.waveform)[0, 1] > 0.95


def config_of(line):
    found = line["config"]
    return ClipConfig(
        seconds=found["seconds"],
        size=found["size"],
        fps=Fraction(found["fps"]),
        rate=found["rate"],
    )


def test_truth_has_a_line_for_every_clip(folder):
    lines = lines_of(folder)
    assert [line["seed"] for line in lines] == [10_000_000, 10_000_001, 10_000_002]
    for line in lines:
        assert line["events"]
        assert line["parameters"]["actors"]


def test_the_program_with_several_processes_makes_the_same_clips(folder, tmp_path):
    command = [sys.executable, "-m", "training.foley_world", str(tmp_path / "two")]
    more = ["--split", "validation", "--count", "3", "--jobs", "2"]
    subprocess.run([*command, *SMALL, *more], cwd=ROOT, check=True, capture_output=True)
    assert contents(tmp_path / "two") == contents(folder)


def test_two_runs_do_not_make_clips_in_one_folder(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    with only_run_in(tmp_path / "clips"):
        assert run(tmp_path / "clips") == 2
    assert "Another run works in" in capsys.readouterr().err
    assert not list((tmp_path / "clips").glob("foley_*"))


def test_a_process_that_dies_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parallel, "write_clip", os.abort)
    monkeypatch.setattr(pool, "start_worker", os.abort)
    assert run(tmp_path / "clips", "--jobs", "2") == 2
    assert "has died, perhaps for want of memory" in capsys.readouterr().err


def test_a_run_that_was_interrupted_goes_on_and_repeats_nothing(
    tmp_path, monkeypatch, folder, capsys
):
    out, real, made = tmp_path / "clips", parallel.write_clip, []

    def stop_after_one(seed, **given):
        if made:
            raise KeyboardInterrupt
        made.append(seed)
        return real(seed, **given)

    monkeypatch.setattr(parallel, "write_clip", stop_after_one)
    assert run(out, "--split", "validation") == 130
    assert "what was finished stays" in capsys.readouterr().err
    assert [row.id for row in read_manifest(out / "manifest.csv")[0]] == ["foley_10000000"]

    def count(seed, **given):
        made.append(seed)
        return real(seed, **given)

    monkeypatch.setattr(parallel, "write_clip", count)
    assert run(out, "--split", "validation") == 0
    assert made == [10_000_000, 10_000_001, 10_000_002]
    assert run(out, "--split", "validation") == 0
    assert len(made) == 3
    assert contents(out) == contents(folder)


def test_a_lost_file_and_a_torn_line_are_made_again(tmp_path, folder):
    out = tmp_path / "clips"
    assert run(out, count=2) == 0
    before = contents(out)
    (out / "foley_00000000.wav").unlink()
    truth = out / "truth.jsonl"
    truth.write_text(truth.read_text()[:-40])
    assert run(out, count=2) == 0
    assert contents(out) == before


def test_more_clips_can_be_added_and_come_from_where_they_are_asked_for(tmp_path):
    out = tmp_path / "clips"
    assert run(out, "--start", "5", count=1) == 0
    assert run(out, "--split", "test", count=1) == 0
    assert [line["id"] for line in lines_of(out)] == ["foley_00000005", "foley_20000000"]


def test_other_settings_in_the_same_folder_are_refused(folder, capsys):
    assert run(folder, "--split", "validation", "--rate", "16000") == 2
    error = capsys.readouterr().err
    assert "holds clips made with" in error
    assert "rate 8000" in error
    assert "Give another folder, or the same settings" in error


def test_a_damaged_table_is_named(tmp_path, capsys):
    (tmp_path / "truth.jsonl").write_text("nonsense\n{}\n")
    assert run(tmp_path) == 2
    assert "Line 1 of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "jobs is 0; it must be 1 or more"),
        (["--start", "99999999"], "has the numbers 0 to 9999999"),
        (["--size", "31"], "size is 31"),
    ],
)
def test_mistakes_end_with_a_message(tmp_path, capsys, arguments, message):
    assert run(tmp_path / "clips", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_rate_of_pictures_that_is_no_number_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--fps", "fast")
    assert "'fast' is no number, such as 25 or 30000/1001" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "clips") == 2
    assert "Cannot make the folder" in capsys.readouterr().err
