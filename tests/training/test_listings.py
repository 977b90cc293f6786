"""What folders and published lists offer."""

import json
import re

import pytest

from training.listings import list_audiocaps, list_folder, list_vggsound
from wavflow_core.errors import WavFlowError


def put(folder, **files):
    """Files by name, ``__`` for the dot."""
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def reasons(failures):
    return {failure.name: failure.reason for failure in failures}


def test_a_folder_gives_video_sound_and_captions(tmp_path):
    put(tmp_path, a__mp4="", a__txt=' a dog, "Rex"\nbarks ü \n', b__mkv="", b__wav="", c__flac="")
    put(tmp_path / "x" / "y", d__webm="", d__json=json.dumps({"caption": "rain", "n": 1}))
    put(tmp_path / ".hidden", e__mp4="")
    put(tmp_path, _e__mp4="")
    (tmp_path / "_e.mp4").rename(tmp_path / ".e.mp4")
    rows, failures = list_folder(tmp_path)
    assert not failures
    assert [row.id for row in rows] == ["a", "b", "c", "x__y__d"]
    a, b, c, d = rows
    assert (a.video, a.audio, a.caption) == (tmp_path / "a.mp4",) * 2 + ('a dog, "Rex"\nbarks ü',)
    assert (a.has_video, a.has_text) == (True, True)
    assert (b.video, b.audio) == (tmp_path / "b.mkv", tmp_path / "b.wav")
    assert (b.has_video, b.has_text) == (True, False)
    assert (c.video, c.audio, c.has_video) == (None, tmp_path / "c.flac", False)
    assert d.caption == "rain"


def test_a_text_goes_before_a_json(tmp_path):
    put(tmp_path, a__mp4="", a__txt="text", a__json='{"caption": "json"}')
    assert list_folder(tmp_path)[0][0].caption == "text"


def test_ids_that_come_twice_are_named_and_the_first_stays(tmp_path):
    put(tmp_path, a__avi="", a__mp4="", b__wav="", b__flac="")
    put(tmp_path / "x", y__mp4="")
    (tmp_path / "x__y.mp4").touch()
    rows, failures = list_folder(tmp_path)
    assert [row.id for row in rows] == ["a", "b", "x__y"]
    assert rows[0].video == tmp_path / "a.avi"
    found = reasons(failures)
    assert found["a"] == "a.mp4 has the same id as the file before it; keep one of them."
    assert found["b"] == "b.wav has the same id as the file before it; keep one of them."
    assert "a clip before it has the same id" in found["x__y"]
    assert len(failures) == 3


def test_bad_captions_are_named(tmp_path, caplog):
    put(tmp_path, a__mp4="", a__txt=" \n", b__mp4="", b__json='{"text": "x"}', c__mp4="")
    put(tmp_path, c__json="{", e__json="[]", e__mp4="", f__txt="of nothing")
    (tmp_path / "d.mp4").touch()
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    rows, failures = list_folder(tmp_path)
    assert not rows
    found = reasons(failures)
    assert found["a"] == "its caption a.txt is blank; write one, or delete the file."
    assert found["b"] == 'its b.json has no text "caption"; give {"caption": "..."}.'
    assert found["c"].startswith("its caption c.json cannot be read: ")
    assert found["d"].startswith("its caption d.txt cannot be read: ")
    assert found["e"].startswith("its e.json has no text")
    assert "1 caption files belong to no clip" in caplog.text
    assert "f.txt" in caplog.text


def test_links_are_followed_and_circles_end(tmp_path):
    put(tmp_path / "data" / "sub", a__mp4="")
    (tmp_path / "data" / "sub" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "link").symlink_to(tmp_path / "data")
    rows, failures = list_folder(tmp_path / "list")
    assert [row.id for row in rows] == ["link__sub__a"]
    assert not failures


@pytest.mark.parametrize("lister", [list_folder, lambda path: list_vggsound(path, path)])
def test_a_folder_without_clips_is_an_error(tmp_path, lister):
    with pytest.raises(WavFlowError, match=r"holds neither video nor sound; looked for \.mp4"):
        lister(tmp_path)
    with pytest.raises(WavFlowError, match="is not a folder; give a folder of clips"):
        lister(tmp_path / "none")


VGGSOUND = """---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,"waterfall burbling, loud",train
--56QUhyDQM,185,ü,train
-0abc,x,cat,train
-0def,7,,train
--0PQM4-hqg,30,again,train
"""


def test_vggsounds_table_finds_both_ways_to_name_a_clip(tmp_path):
    table = tmp_path / "vggsound.csv"
    table.write_text(VGGSOUND, encoding="utf-8")
    put(tmp_path / "v" / "train", **{"--0PQM4-hqg_000030__mp4": "", "-0def_7__mp4": ""})
    put(tmp_path / "v" / "test", **{"---g-f_I2yQ_1__mp4": ""})
    rows, failures = list_vggsound(table, tmp_path / "v")
    assert [(row.id, row.caption) for row in rows] == [
        ("---g-f_I2yQ_000001", "people marching"),
        ("--0PQM4-hqg_000030", "waterfall burbling, loud"),
    ]
    assert rows[1].video == rows[1].audio == tmp_path / "v/train/--0PQM4-hqg_000030.mp4"
    assert reasons(failures) == {
        "--56QUhyDQM_000185": "there is no --56QUhyDQM_000185.* or --56QUhyDQM_185.* "
        "in the folder.",
        "-0abc": "line 4: start is 'x'; it must be a number of seconds.",
        "-0def_000007": "its caption is blank.",
        "--0PQM4-hqg_000030": "a clip before it has the same id; this one is "
        f"{tmp_path / 'v/train/--0PQM4-hqg_000030.mp4'}.",
    }
    rows, _ = list_vggsound(table, tmp_path / "v", split="test")
    assert [row.id for row in rows] == ["---g-f_I2yQ_000001"]
    with pytest.raises(WavFlowError, match="no rows of the split 'val'; it has test, train"):
        list_vggsound(table, tmp_path / "v", split="val")


def test_vggsounds_table_must_be_one(tmp_path):
    put(tmp_path, a__mp4="")
    table = tmp_path / "t.csv"
    table.write_text("a,b\n")
    with pytest.raises(WavFlowError, match="line 1: 2 cells; VGGSound has youtube_id, start_sec"):
        list_vggsound(table, tmp_path)
    with pytest.raises(WavFlowError, match=re.escape("cannot be read as a CSV file")):
        list_vggsound(tmp_path / "none.csv", tmp_path)


AUDIOCAPS = """audiocap_id,youtube_id,start_time,caption
11,abc,20,"A dog, barking"
12,abc,20,A hound
13,def,5,Rain
14,ghi,0,Wind
15,jkl,0,Sea
16,mno,x,Bell
17,abc,20,
"""


def test_audiocaps_table_gives_a_clip_for_each_caption(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text(AUDIOCAPS, encoding="utf-8")
    put(tmp_path / "a", abc_20__mp4="", def__wav="", **{"14__flac": ""})
    rows, failures = list_audiocaps(table, tmp_path / "a")
    assert [(row.id, row.caption, row.audio.name, row.has_video) for row in rows] == [
        ("abc_20_11", "A dog, barking", "abc_20.mp4", True),
        ("abc_20_12", "A hound", "abc_20.mp4", True),
        ("def_5_13", "Rain", "def.wav", False),
        ("ghi_0_14", "Wind", "14.flac", False),
    ]
    found = reasons(failures)
    assert (
        found["jkl_0_15"] == "there is no 15.* or jkl_0.* or jkl_000000.* or jkl.* in the folder."
    )
    assert found["mno"] == "line 7: start is 'x'; it must be a number of seconds."
    assert found["abc_20_17"] == "its caption is blank."
    table.write_text("a,b\n1,2\n")
    with pytest.raises(WavFlowError, match="lacks the columns audiocap_id"):
        list_audiocaps(table, tmp_path / "a")
