"""The demonstration: what it writes and says, and what it is shown on."""

import json
import re

import pytest
import torch
from support.bundled import make_stand_ins
from support.media import make_video

from training.demo import __main__ as demo
from training.demo.sheet import WIDTH, draw_sheet
from training.demo.stage import PROMPTS, read_stage
from training.demo.synchrony import measure_synchrony
from training.evaluation.onsets import detect_onsets
from training.foley_world.classes import CLASSES
from training.foley_world.clip import SPLITS, VERSION, ClipConfig, clip_id, tell_truth
from training.foley_world.motion import simulate
from training.foley_world.scene import make_scene
from wavflow_core.errors import CheckpointError
from wavflow_core.media.audio import AudioClip, read_audio
from wavflow_core.media.video import open_video
from wavflow_core.weights import BUNDLED, bundled, bundled_file

FILES = {"clip.mp4", "clip.wav", "bell.wav", "rain.wav", "demo.png"}
QUICK = ("--steps", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    folder = make_stand_ins(tmp_path_factory.mktemp("assets"))
    for name in ("demo_clip.mp4", "demo_clip.json"):
        (folder / name).write_bytes((bundled.ASSETS / name).read_bytes())
    return folder


@pytest.fixture
def assets(stand_ins, monkeypatch):
    monkeypatch.setattr(bundled, "ASSETS", stand_ins)
    return stand_ins


def show(folder, *more):
    return demo.main([*QUICK, "-o", str(folder), *more])


def test_it_writes_its_files_and_says_what_came_of_them(assets, tmp_path, capsys):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for _ in range(2):  # the second time it replaces its own
        assert show(folder) == 0
        assert {path.name for path in folder.iterdir()} == {*FILES, "mine.txt"}
    assert (folder / "mine.txt").read_text() == "mine"
    said = capsys.readouterr().out
    assert all(str(folder / name) in said for name in FILES)
    assert all(text in said for text in PROMPTS.values())
    assert re.search(r"Sync: 6 events to see, \d+ onsets to hear.*F1 at 50 ms \d\.\d\d\.", said)
    took = re.search(r"Sampling (\S+) s, in all (\S+) s .* peak memory (\d+) MiB", said)
    assert 0 < float(took[1]) <= float(took[2])
    assert 100 < int(took[3]) < 8000
    sound, video = read_audio(folder / "clip.wav"), open_video(folder / "clip.mp4")
    assert sound.sample_rate == 16000
    assert video.has_audio
    assert video.total == pytest.approx(4.0)


def test_the_same_seed_makes_the_same_sounds(assets, tmp_path):
    for folder, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert show(tmp_path / folder, "--seed", seed) == 0
    first, again, other = ((tmp_path / x / "bell.wav").read_bytes() for x in "abc")
    assert first == again != other


def test_missing_weights_are_one_line_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundled, "ASSETS", tmp_path / "none")
    assert show(tmp_path / "demo") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("demo: error: The bundled video is not here: there is no")
    assert list(tmp_path.iterdir()) == []


def test_an_odd_setting_is_one_line(assets, tmp_path, capsys):
    assert show(tmp_path, "--steps", "0") == 2
    assert "demo: error: steps is 0; allowed" in capsys.readouterr().err


def test_ctrl_c_leaves_whole_files_alone(assets, tmp_path, capsys, monkeypatch):
    make = demo.make

    def interrupted(name, *rest):
        if name == "rain":
            raise KeyboardInterrupt
        return make(name, *rest)

    monkeypatch.setattr(demo, "make", interrupted)
    assert show(tmp_path) == 130
    assert "demo: interrupted; what was finished stays." in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"clip.wav", "bell.wav"}


def test_errors_are_those_to_the_nearest_onset():
    found = measure_synchrony([0.51, 1.3, 2.98, 3.5], [0.5, 1.2, 3.0])
    assert found.errors == pytest.approx([0.01, 0.1, 0.02])
    assert found.median == pytest.approx(0.02)
    assert found.mean == pytest.approx(0.13 / 3)
    assert (found.agreement.matched, found.agreement.found, found.agreement.expected) == (2, 4, 3)
    said = demo.tell_synchrony(found)
    assert said == (
        "Sync: 3 events to see, 4 onsets to hear; error median 20 ms, mean 43 ms; F1 at 50 ms 0.57."
    )


def test_of_silence_no_error_is_told():
    silence = AudioClip(waveform=torch.zeros(1, 16000), sample_rate=16000)
    found = measure_synchrony(detect_onsets(silence), [0.5])
    assert found.median is None
    assert demo.tell_synchrony(found).endswith("0 onsets to hear; F1 at 50 ms 0.00.")


@pytest.mark.parametrize("events", [[], [0.5], [n / 10 for n in range(1, 10)]])
def test_the_sheet_is_as_wide_whatever_happens(tmp_path, events):
    video = open_video(make_video(tmp_path / "v.mp4", seconds=1))
    sound = AudioClip(waveform=torch.rand(1, 16000) - 0.5, sample_rate=16000)
    drawn = draw_sheet(
        video,
        sound,
        title="a title",
        caption="a caption",
        events=events,
        onsets=[0.5],
        prompts=[("a prompt", sound)],
    )
    assert drawn.dtype == torch.uint8
    assert drawn.shape[1:] == (WIDTH, 3)
    assert drawn.shape[0] > 600


# --- what it is shown on


def test_the_bundled_clip_is_short_silent_and_of_the_test_split():
    truth = json.loads(bundled_file("video").with_suffix(".json").read_text())
    assert truth["seed"] in SPLITS["test"]
    assert truth["id"] == clip_id(truth["seed"])
    video = open_video(bundled_file("video"))
    assert not video.has_audio
    assert video.total == pytest.approx(truth["config"]["seconds"]) == 4.0
    assert video.width == video.height == truth["config"]["size"]
    stage = read_stage()
    assert stage.times == sorted(event["time"] for event in truth["events"])
    assert len(stage.times) >= 5
    assert min(b - a for a, b in zip(stage.times, stage.times[1:], strict=False)) > 0.15


def test_the_bundled_clip_s_truth_is_what_its_seed_gives():
    kept = json.loads(bundled_file("video").with_suffix(".json").read_text())
    if kept["config"]["version"] != VERSION:
        pytest.skip("seeds give other clips since the bundled one was made")
    scene = make_scene(kept["seed"], seconds=kept["config"]["seconds"])
    made = tell_truth(scene, simulate(scene)).to_dict(ClipConfig(size=kept["config"]["size"]))
    assert made["caption"] == kept["caption"]
    assert [e["time"] for e in made["events"]] == pytest.approx([e["time"] for e in kept["events"]])


def test_the_prompts_are_in_words_of_foleyworld():
    nouns = {noun for row in CLASSES.values() for noun in row.nouns}
    for name, text in PROMPTS.items():
        assert any(noun in text for noun in nouns), text
        assert f"{name}.wav" in FILES


@pytest.mark.parametrize("content", ["{", "[]", '{"events": [{}], "caption": ""}'])
def test_a_damaged_truth_is_named(tmp_path, monkeypatch, content):
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    (tmp_path / BUNDLED["video"].filename).write_bytes(b"")
    with pytest.raises(CheckpointError, match="There is no .*demo_clip.json"):
        read_stage()
    (tmp_path / "demo_clip.json").write_text(content)
    with pytest.raises(CheckpointError, match="cannot be read as a clip's truth"):
        read_stage()
