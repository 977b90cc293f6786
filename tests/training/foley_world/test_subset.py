import json
import re

import pytest

from training.foley_world import subset
from training.foley_world.clip import ClipConfig
from training.manifest import Row, read_manifest, write_manifest

HEARD = {
    "foley_1": ["bell"],
    "foley_2": ["drum", "rain"],
    "foley_3": ["bell", "drum"],
    "foley_4": ["fan"],
}


def clips(folder, heard):
    folder.mkdir()
    config = ClipConfig().to_dict()
    lines = [{"id": name, "classes": names, "config": config} for name, names in heard.items()]
    (folder / "truth.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [Row(id=name, video=folder / f"{name}.mp4", caption="a sound") for name in heard]
    write_manifest(rows, folder / "manifest.csv")
    return folder


@pytest.fixture
def folder(tmp_path):
    return clips(tmp_path / "clips", HEARD)


def chosen(out, *arguments):
    assert subset.main([*map(str, arguments), "-o", str(out)]) == 0
    rows, failures = read_manifest(out)
    assert not failures
    return [row.id for row in rows]


def test_clips_with_any_of_the_classes_are_chosen_in_their_order(folder, tmp_path):
    out = tmp_path / "some.csv"
    assert chosen(out, folder, "--classes", "bell") == ["foley_1", "foley_3"]
    assert chosen(out, folder, "--classes", "drum", "fan") == ["foley_2", "foley_3", "foley_4"]


def test_clips_with_so_many_things_are_chosen(folder, tmp_path):
    out = tmp_path / "some.csv"
    assert chosen(out, folder, "--classes", "bell", "--things", "2") == ["foley_3"]


def test_several_folders_follow_one_another_and_keep_their_paths(folder, tmp_path):
    more = clips(tmp_path / "more", {"foley_0": ["bell"]})
    out = tmp_path / "some.csv"
    found = chosen(out, folder, more, "--classes", "bell")
    assert found == ["foley_1", "foley_3", "foley_0"]
    rows, _ = read_manifest(out)
    assert rows[2].video == more / "foley_0.mp4"
    assert rows[2].caption == "a sound"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "bel"], "no class 'bel'; the classes are rubber_ball"),
        (["--classes", "gong"], "No clip of .* has 1 or more things and one of gong"),
        (["--classes", "bell", "--things", "3"], "No clip of .* has 3 or more things"),
    ],
)
def test_what_chooses_nothing_is_an_error(folder, tmp_path, capsys, arguments, message):
    out = tmp_path / "some.csv"
    assert subset.main([str(folder), *arguments, "-o", str(out)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not out.exists()


def test_a_folder_that_is_not_finished_is_an_error(folder, tmp_path, capsys):
    (folder / "manifest.csv").unlink()
    assert subset.main([str(folder), "--classes", "bell", "-o", str(tmp_path / "a.csv")]) == 2
    assert re.search(r"lacks truth.jsonl or manifest.csv; give a", capsys.readouterr().err)


def test_a_clip_of_which_nothing_is_known_is_an_error(folder, tmp_path, capsys):
    text = (folder / "truth.jsonl").read_text().splitlines(keepends=True)
    (folder / "truth.jsonl").write_text("".join(text[1:]))
    assert subset.main([str(folder), "--classes", "bell", "-o", str(tmp_path / "a.csv")]) == 2
    assert "does not say what is heard in 'foley_1'; make the" in capsys.readouterr().err


def test_a_line_of_the_manifest_that_cannot_be_read_is_an_error(folder, tmp_path, capsys):
    with (folder / "manifest.csv").open("a") as file:
        file.write("foley_1,,,,twice,0.0,,1,1\n")
    assert subset.main([str(folder), "--classes", "bell", "-o", str(tmp_path / "a.csv")]) == 2
    assert "foley_1: line 6: a row before it has the same id." in capsys.readouterr().err


def test_the_output_must_be_a_table(folder, tmp_path, capsys):
    assert subset.main([str(folder), "--classes", "bell", "-o", str(tmp_path / "a.txt")]) == 2
    assert "give a file ending in .csv" in capsys.readouterr().err
