"""The table of a data set, and the command that makes it and checks its files."""

import csv

import pytest
import torch
from support.extraction import empty_sound, mixed_rows, tiny_sound, tiny_video
from support.media import make_sound, make_video

from training.failures import Failures
from training.make_manifest import main
from training.manifest import Row, read_manifest, write_manifest
from wavflow_core.batch import Failure
from wavflow_core.errors import WavFlowError

CAPTION = "a dog, \"Rex\",\nbarks; ü 音 'x'"


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    tiny_video(folder / "a.mp4")
    (folder / "a.txt").write_text(CAPTION, encoding="utf-8")
    tiny_video(folder / "sub" / "b.mp4")
    tiny_sound(folder / "c.wav")
    (folder / "c.json").write_text('{"caption": "a tone"}')
    return folder


def dropped(path):
    with path.with_suffix(".dropped.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def make(folder, *more):
    return main(
        [str(folder), "-o", str(folder.parent / "m.csv"), "--workers", "2", *map(str, more)]
    )


def test_a_folder_becomes_a_manifest_whose_captions_survive(clips, tmp_path):
    assert make(clips) == 0
    rows, failures = read_manifest(tmp_path / "m.csv")
    assert not failures
    assert rows == [
        Row(id="a", video=clips / "a.mp4", audio=clips / "a.mp4", caption=CAPTION),
        Row(id="c", audio=clips / "c.wav", caption="a tone", has_video=False),
        Row(id="sub__b", video=clips / "sub/b.mp4", audio=clips / "sub/b.mp4", has_text=False),
    ]
    assert dropped(tmp_path / "m.csv") == {}


def test_broken_clips_are_named_counted_and_not_fatal(clips, tmp_path, said):
    (clips / "broken.mp4").write_text("no video" * 100)
    empty_sound(clips / "empty.wav")
    make_sound(clips / "silent.wav", torch.zeros(1, 16000), 16000)
    make_video(clips / "mute.mp4", seconds=0.5)
    tiny_sound(clips / "alone.wav")
    (clips / "a.mov").write_bytes((clips / "a.mp4").read_bytes())
    for name in ("empty", "silent", "mute", "broken"):
        (clips / f"{name}.txt").write_text("caption")
    assert make(clips, "--max-failures", "0.9") == 0
    assert len(read_manifest(tmp_path / "m.csv")[0]) == 3
    found = dropped(tmp_path / "m.csv")
    assert set(found) == {"broken", "empty", "silent", "mute", "alone", "a"}
    assert "broken.mp4" in found["broken"]
    assert "empty.wav" in found["empty"]
    assert found["silent"].endswith("silent.wav is empty or silent all along.")
    assert "has no sound track" in found["mute"]
    assert found["alone"] == "it has neither a picture nor a caption; put a caption beside it."
    assert "same id" in found["a"]
    text = said()
    for name, reason in found.items():
        assert f"Left out {name}: {reason}" in text


def test_too_many_broken_clips_are_fatal_and_still_listed(clips, tmp_path, said):
    for n in range(4):
        (clips / f"broken{n}.mp4").write_text("no video" * 100)
    assert make(clips, "--max-failures", "0.1") == 2
    assert "4 of 7 samples failed, and 3 may" in said()
    assert not (tmp_path / "m.csv").exists()
    assert len(dropped(tmp_path / "m.csv")) == 4


def test_a_manifest_can_be_checked_its_features_too(clips, tmp_path):
    torch.save({"clip_features": torch.ones(8, 4)}, tmp_path / "good.pth")
    table = tmp_path / "theirs.csv"
    table.write_text(
        "id,audio_path,features_path,video_exist,text_exist\n"
        "1,clips/c.wav,good.pth,1,0\n"
        "2,clips/c.wav,none.pth,1,0\n"
        "3,clips/none.wav,good.pth,1,0\n"
        "1,clips/c.wav,good.pth,1,0\n"
    )
    assert make(table) == 0
    rows, _ = read_manifest(tmp_path / "m.csv")
    assert [(row.id, row.features) for row in rows] == [("1", tmp_path / "good.pth")]
    found = dropped(tmp_path / "m.csv")
    assert "a row before it has the same id" in found["1"]
    assert "none.pth': there is no such file" in found["2"]
    assert f"There is no sound {str(clips / 'none.wav')!r}" in found["3"]


def test_lists_take_their_splits(clips, tmp_path):
    (clips / "abc_000005.mp4").write_bytes((clips / "a.mp4").read_bytes())
    table = tmp_path / "v.csv"
    table.write_text("abc,5,dog,train\nxyz,1,cat,test\n")
    assert make(clips, "--vggsound", table, "--split", "train") == 0
    rows, _ = read_manifest(tmp_path / "m.csv")
    assert [(row.id, row.caption) for row in rows] == [("abc_000005", "dog")]
    table.write_text("audiocap_id,youtube_id,start_time,caption\n7,abc,5,a dog\n")
    assert make(clips, "--audiocaps", table) == 0
    assert [row.id for row in read_manifest(tmp_path / "m.csv")[0]] == ["abc_5_7"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vggsound", "v", "--audiocaps", "a"], "Both --vggsound and --audiocaps are given"),
        (["--split", "train"], "--split is 'train', but only --vggsound has splits"),
        (["--workers", "0"], "--workers is 0; give 1 or more"),
        (["--max-failures", "2"], "share that may fail is 2.0; allowed: 0 to 1"),
        (["-o", "m.txt"], "--output is 'm.txt'; give a file ending in .csv"),
        (["-o", "nowhere/m.csv"], "The folder of 'nowhere/m.csv' does not exist; create it first"),
    ],
)
def test_options_that_cannot_be_are_told(clips, said, more, message):
    assert make(clips, *more) == 2
    assert message in said()


def test_when_no_clip_is_left_it_says_where_the_reasons_are(tmp_path, said):
    folder = tmp_path / "clips"
    folder.mkdir()
    tiny_sound(folder / "alone.wav")
    assert make(folder, "--max-failures", "1") == 2
    text = said()
    assert "No clip is left; " in text
    assert "m.dropped.csv' says why" in text


def test_an_interrupt_writes_nothing(clips, tmp_path, monkeypatch, said):
    def interrupt(row):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.make_manifest.check_row", interrupt)
    assert make(clips) == 130
    assert "interrupted; nothing was written" in said()
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_rows_survive_a_table(tmp_path):
    rows = [
        *mixed_rows(tmp_path, 3),
        Row(id="x", caption=CAPTION, start=0.1, duration=1 / 3, has_video=False),
        Row(id="y", features=tmp_path / "sub" / "f.pth", audio=tmp_path.parent / "y.wav"),
    ]
    write_manifest(rows, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == (rows, [])


def test_a_link_stays_what_it_is_called(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0123").write_bytes(b"")
    (tmp_path / "f.safetensors").symlink_to(tmp_path / "blobs" / "0123")
    row = Row(id="x", features=tmp_path / "f.safetensors")
    write_manifest([row], tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == ([row], [])


def test_an_equal_table_is_not_written_again(tmp_path):
    rows = [Row(id="x", caption="a")]
    write_manifest(rows, tmp_path / "m.csv")
    before = (tmp_path / "m.csv").stat()
    write_manifest(rows, tmp_path / "m.csv")
    after = (tmp_path / "m.csv").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    write_manifest([*rows, Row(id="y", caption="b")], tmp_path / "m.csv")
    assert len(read_manifest(tmp_path / "m.csv")[0]) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,,,cap,,,2,1", "line 2: video_exist is '2'; it must be 0 or 1."),
        ("a,,,cap,-1,,1,1", "line 2: start is '-1'; it must be a number of seconds."),
        ("a,,,cap,,0,1,1", "line 2: duration is '0'; it must be a number of seconds."),
        ("a,,,cap,,x,1,1", "line 2: duration is 'x'; it must be a number of seconds."),
        ("a,,,,,,1,1", "line 2: it names no video, sound, features or caption."),
    ],
)
def test_bad_rows_are_named(tmp_path, line, reason):
    path = tmp_path / "m.csv"
    header = "id,video_path,audio_path,caption,start,duration,video_exist,text_exist"
    path.write_text(f"{header}\n{line}\n")
    assert read_manifest(path) == ([], [Failure(name="a", reason=reason)])


def test_failures_that_share_an_id_count_each():
    failures = Failures(10, share=0.3)
    same = [Failure(name="a", reason="x")] * 3
    failures.add_all(same)
    assert [item.name for item in failures.found] == ["a", "a (2)", "a (3)"]
    with pytest.raises(WavFlowError, match="4 of 10 samples failed, and 3 may"):
        failures.add_all([*same, *same])
