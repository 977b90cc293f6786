"""Sounds to evaluate are found by id, and onset times are read from tables."""

import json
import re

import pytest
import torch
from support.media import make_sound, sine

from training.evaluation.sounds import Sound, find_sounds, read_sound, read_times
from wavflow_core.errors import WavFlowError


def test_a_folder_gives_its_sounds_by_name(tmp_path):
    for name in ("b.wav", "a.FLAC", "c.mp4", ".hidden.wav", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    sounds, failures = find_sounds(tmp_path)
    assert [sound.id for sound in sounds] == ["a", "b", "c"]
    assert sounds[0] == Sound(id="a", path=tmp_path / "a.FLAC")
    assert failures == []


def test_of_two_files_with_one_id_the_second_is_named(tmp_path):
    for name in ("a.mp4", "a.wav"):
        (tmp_path / name).touch()
    sounds, [failure] = find_sounds(tmp_path)
    assert [sound.path.name for sound in sounds] == ["a.mp4"]
    assert failure.name == "a.wav"
    assert "'a.mp4' has the same name" in failure.reason


def test_a_manifest_gives_its_sounds_or_else_its_videos(tmp_path):
    table = tmp_path / "m.csv"
    table.write_text(
        "id,video_path,audio_path,caption,start,duration,video_exist,text_exist\n"
        "one,v.mp4,a.wav,a bell,1.5,2,1,1\n"
        "two,v.mp4,,,,,1,0\n"
        "three,,,only words,,,0,1\n"
    )
    sounds, [failure] = find_sounds(table)
    assert sounds == [
        Sound(id="one", path=tmp_path / "a.wav", start=1.5, duration=2.0, caption="a bell"),
        Sound(id="two", path=tmp_path / "v.mp4"),
    ]
    assert (failure.name, "neither a sound nor a video" in failure.reason) == ("three", True)


def test_the_part_that_is_named_is_read(tmp_path):
    wave = sine(440, 2.0, rate=8000)
    path = make_sound(tmp_path / "a.wav", wave, 8000)
    clip = read_sound(Sound(id="a", path=path, start=0.5, duration=1.0))
    assert torch.equal(clip.waveform, wave[:, 4000:12000])
    clip = read_sound(Sound(id="a", path=path, start=0.5, duration=1.0), duration=0.25)
    assert torch.equal(clip.waveform, wave[:, 4000:6000])
    assert read_sound(Sound(id="a", path=path)).duration == 2.0


def test_times_are_read_from_json_and_from_csv_alike(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"a": [1.5, 0.25], "b": [], "c": [2]}))
    (tmp_path / "t.csv").write_text("id,time\na,1.5\na,0.25\nb,\nc,2\n")
    expected = {"a": [0.25, 1.5], "b": [], "c": [2.0]}
    assert read_times(tmp_path / "t.json") == expected
    assert read_times(tmp_path / "t.csv") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "", "must end in .csv or .json"),
        ("t.json", "{", "cannot be read as JSON"),
        ("t.json", "[1]", 'must be an object from ids to lists of seconds, such as {"clip"'),
        ("t.json", '{"a": 1.0}', "must be an object"),
        ("t.json", '{"a": [true]}', "must be an object"),
        ("t.json", '{"a": [-1]}', "a has the onset time -1.0; it must be 0 or more"),
        ("t.json", '{"a": [NaN]}', "the onset time nan"),
        ("t.csv", "id,time\na,soon\n", "line 2: time is 'soon'; it must be seconds"),
        ("t.csv", "id,when\na,1\n", "lacks the columns time"),
    ],
)
def test_wrong_times_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(WavFlowError, match=re.escape(message)):
        read_times(tmp_path / name)


def test_what_is_no_folder_and_no_table_is_explained(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(WavFlowError, match="There is no .* give a folder of sounds or a manifest"):
        find_sounds(tmp_path / "none")
    with pytest.raises(WavFlowError, match="neither a folder nor a manifest"):
        find_sounds(tmp_path / "a.wav")
    with pytest.raises(WavFlowError, match="There is no .* give a .csv or .json"):
        read_times(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WavFlowError, match=r"holds no sound; looked for .wav"):
        find_sounds(tmp_path / "empty")
