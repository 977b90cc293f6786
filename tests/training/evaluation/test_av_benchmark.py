"""The folders are those that av-benchmark reads, and it is called where it is there."""

import csv
import importlib.machinery
import sys
import types

import pytest
import torch
from support.media import make_sound, sine

from training.evaluation import av_benchmark
from training.evaluation.av_benchmark import Layout, check_folder, commands, run, write_layout
from training.evaluation.sounds import Sound
from wavflow_core.errors import WavFlowError
from wavflow_core.media.audio import read_audio

RATE = 16000


@pytest.fixture
def pairs(tmp_path):
    """Results a and b, the second short, and their originals."""
    results, originals = [], {}
    for name, seconds in (("a", 3.0), ("b", 1.0)):
        made = make_sound(tmp_path / f"{name}_made.wav", sine(440, seconds, RATE), RATE)
        real = make_sound(tmp_path / f"{name}_real.wav", sine(220, 2.0, 44100, channels=2), 44100)
        results.append(Sound(id=name, path=made))
        originals[name] = Sound(id=name, path=real, caption=f"the sound of {name}, a letter")
    return results, originals


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_the_folders_hold_a_wav_for_each_id(tmp_path, pairs, caplog):
    results, originals = pairs
    layout, failures = write_layout(results, tmp_path / "out", originals=originals, seconds=2.0)
    assert failures == []
    assert names(layout.folder) == ["captions.csv", "generated", "reference"]
    assert names(layout.generated) == names(layout.reference) == ["a.wav", "b.wav"]
    with layout.captions.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["name", "caption"],
        ["a", "the sound of a, a letter"],
        ["b", "the sound of b, a letter"],
    ]
    assert "1 sounds are shorter than 2 s; silence follows them" in caplog.text


def test_samples_stay_and_short_sounds_end_in_silence(tmp_path, pairs):
    results, originals = pairs
    layout, _ = write_layout(results, tmp_path / "out", originals=originals, seconds=2.0)
    made = read_audio(layout.generated / "a.wav")
    assert torch.equal(made.waveform, sine(440, 3.0, RATE))
    real = read_audio(layout.reference / "a.wav")
    assert torch.equal(real.waveform, sine(220, 2.0, 44100, channels=2))
    short = read_audio(layout.generated / "b.wav")
    assert short.duration == 2.0
    assert torch.equal(short.waveform[:, :RATE], sine(440, 1.0, RATE))
    assert (short.waveform[:, RATE:] == 0).all()


def test_captions_of_the_results_go_first_and_without_any_there_is_no_table(tmp_path, pairs):
    [first, _], originals = pairs
    named = Sound(id="a", path=first.path, caption="mine")
    layout, _ = write_layout([named], tmp_path / "one", originals=originals)
    assert layout.captions.read_text() == "name,caption\na,mine\n"
    bare = {"a": Sound(id="a", path=originals["a"].path)}
    layout, _ = write_layout([first], tmp_path / "two", originals=bare)
    assert not layout.captions.exists()


def test_what_cannot_be_paired_is_named_and_left_out_of_both(tmp_path, pairs):
    results, originals = pairs
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    results += [
        Sound(id="alone", path=results[0].path),
        Sound(id="broken", path=broken),
        Sound(id="x/y", path=results[0].path),
    ]
    originals |= {"broken": originals["a"], "x/y": originals["a"]}
    layout, failures = write_layout(results, tmp_path / "out", originals=originals)
    assert names(layout.generated) == names(layout.reference) == ["a.wav", "b.wav"]
    reasons = {item.name: item.reason for item in failures}
    assert "no original with the id 'alone'" in reasons["alone"]
    assert "not a readable" in reasons["broken"]
    assert "cannot be a file name" in reasons["x/y"]


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path, pairs):
    results, originals = pairs
    (tmp_path / "out").mkdir()
    write_layout(results, tmp_path / "out", originals=originals)
    with pytest.raises(WavFlowError, match="not an empty folder; choose another"):
        write_layout(results, tmp_path / "out", originals=originals)
    with pytest.raises(WavFlowError, match="not an empty folder"):
        check_folder(results[0].path)
    with pytest.raises(WavFlowError, match="does not exist; create it first"):
        check_folder(tmp_path / "none" / "out")


def test_an_interrupt_leaves_nothing(tmp_path, pairs, monkeypatch):
    results, originals = pairs

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = names(tmp_path)
    monkeypatch.setattr(av_benchmark, "write_audio", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_layout(results, tmp_path / "out", originals=originals)
    assert names(tmp_path) == before


def test_nothing_to_compare_and_a_window_of_nothing_are_explained(tmp_path, pairs):
    results, originals = pairs
    with pytest.raises(WavFlowError, match="No sound can be given .* a: there is no original"):
        write_layout(results, tmp_path / "out", originals={})
    with pytest.raises(WavFlowError, match="window is 0; it must be above 0"):
        write_layout(results, tmp_path / "out", originals=originals, seconds=0)
    assert not (tmp_path / "out").exists()


def test_the_commands_name_folders_window_and_what_is_left_out(tmp_path):
    layout = Layout(folder=tmp_path / "with space")
    [line] = commands(layout, seconds=8.0)
    assert line.startswith("python evaluate.py --gt_audio ")
    assert f"--pred_audio '{tmp_path.resolve()}/with space/generated'" in line
    assert line.endswith("--audio_length 8 --skip_video_related --skip_clap")
    layout.reference_cache.mkdir(parents=True)
    for name in av_benchmark.VIDEO_CACHES:
        (layout.reference_cache / name).touch()
    assert commands(layout)[0].endswith("--audio_length 8 --skip_clap")


def test_where_it_is_not_installed_the_commands_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(av_benchmark, "is_installed", lambda: False)
    with pytest.raises(WavFlowError, match=r"not installed here; get it from https.*\n  python"):
        run(Layout(folder=tmp_path))


@pytest.fixture
def installed(monkeypatch):
    """A package of its name that writes down how it is called."""
    calls = []

    def extract(**options):
        calls.append(("extract", options))

    def evaluate(**options):
        calls.append(("evaluate", options))
        return {"FD-PANN": torch.tensor(5.5), "ISC-PANNS-mean": 9}

    package = types.ModuleType("av_bench")
    package.__path__ = []
    package.__spec__ = importlib.machinery.ModuleSpec("av_bench", None, is_package=True)
    for name, function in (("extract", extract), ("evaluate", evaluate)):
        module = types.ModuleType(f"av_bench.{name}")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "av_bench", package)
    return calls


def test_where_it_is_installed_both_folders_are_extracted_and_compared(tmp_path, pairs, installed):
    results, originals = pairs
    layout, _ = write_layout(results, tmp_path / "out", originals=originals)
    values = run(layout, seconds=4.0, device="cpu", batch_size=2, num_workers=0)
    assert values == {"FD-PANN": 5.5, "ISC-PANNS-mean": 9.0}
    skipped = {"skip_video_related": True, "skip_clap": True}
    settings = {"audio_length": 4.0, "device": "cpu", "batch_size": 2, "num_workers": 0, **skipped}
    assert installed == [
        (
            "extract",
            {"audio_path": layout.reference, "output_path": layout.reference_cache, **settings},
        ),
        (
            "extract",
            {"audio_path": layout.generated, "output_path": layout.generated_cache, **settings},
        ),
        (
            "evaluate",
            {
                "gt_audio_cache": layout.reference_cache,
                "pred_audio_cache": layout.generated_cache,
                "is_paired": True,
                "num_samples": 1,
                **skipped,
            },
        ),
    ]


def test_when_it_fails_the_commands_are_given(tmp_path, pairs, installed, monkeypatch):
    def fail(**_):
        raise RuntimeError("no weights")

    monkeypatch.setattr(sys.modules["av_bench.extract"], "extract", fail)
    results, originals = pairs
    layout, _ = write_layout(results, tmp_path / "out", originals=originals)
    with pytest.raises(WavFlowError, match=r"failed \(no weights\). The folders are ready"):
        run(layout)
