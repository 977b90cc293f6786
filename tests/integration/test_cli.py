"""Bad input: one clear line, an exit code that says so, no partial file."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import golden
from support.media import make_video

from wavflow_core import pipeline
from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.features import load_features
from wavflow_core.media import encode
from wavflow_core.media.audio import read_audio
from wavflow_core.outputs import default_output


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    make_video(path, seconds=1.0)
    return path


def one_line(errors):
    """The error as one line without a traceback."""
    lines = [line for line in errors.splitlines() if line.startswith("wavflow: error: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1] == lines[0]
    return lines[0]


def text_file(folder):
    path = folder / "text.mp4"
    path.write_text("this is not a video\n" * 100)
    return path


def truncated(folder):
    whole = folder / "whole.mp4"
    make_video(whole, seconds=4.0)
    path = folder / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    return path


def truncated_with_its_index_first(folder):
    whole = folder / "whole.mp4"
    make_video(whole, seconds=4.0, container_options={"movflags": "faststart"})
    path = folder / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    return path


def sound_alone(folder):
    from support.media import sine

    from wavflow_core.media.audio import AudioClip, write_audio

    path = folder / "sound.m4a"
    write_audio(AudioClip(waveform=sine(440, 1.0), sample_rate=48000), path)
    return path.rename(folder / "sound.mp4")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.mp4", "none.mp4"),
        (text_file, "text.mp4"),
        (truncated, "cut.mp4"),
        (truncated_with_its_index_first, "cut.mp4"),
        (sound_alone, "sound.mp4"),
        (lambda folder: folder, ""),
    ],
    ids=["missing", "text", "truncated", "truncated, index first", "sound alone", "folder"],
)
def test_a_video_that_cannot_be_read_is_one_line(wavflow, tmp_path, make, message):
    path, output = make(tmp_path), tmp_path / "out.wav"
    before = set(tmp_path.iterdir())
    code, errors = wavflow("generate", video=path, output=output)
    assert code == 2
    assert message in one_line(errors)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration": -1}, "duration is -1"),
        ({"duration": 0}, "duration is 0"),
        ({"duration": "nan"}, "duration is nan"),
        ({"duration": "1e9"}, "at most 600"),
        ({"start": -2}, "start is -2"),
        ({"start": 99}, "start is 99 s, but .* is only 1"),
        ({"cfg": "nan"}, "cfg is nan"),
        ({"cfg": -1}, "cfg is -1"),
        ({"steps": 0}, "steps is 0; allowed: 1 to 10000"),
        ({"seed": -1}, "seed is -1"),
        ({"count": 0}, "count is 0"),
        ({"loudness": 5}, "loudness is 5"),
        ({"noise-shift": 0}, "noise_shift is 0"),
        ({"cfg-end": 1.5}, "cfg_end is 1.5; allowed: 0 to 1"),
        ({"device": "cpu:"}, "device is 'cpu:'"),
        ({"device": "cuda:"}, "device is 'cuda:'"),
        ({"device": "tpu"}, "device is 'tpu'; on this machine there is: cpu"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"weights": "ema"}, "holds 'live' weights"),
        ({"sample-rate": 44100}, "trained at 16000 Hz"),
        ({"preset": "huge"}, "no preset 'huge'"),
    ],
)
def test_a_setting_out_of_range_is_one_line(wavflow, tmp_path, video, arguments, message):
    output = tmp_path / "out.wav"
    code, errors = wavflow("generate", video=video, output=output, **arguments)
    assert code == 2
    assert re.search(message, one_line(errors)), errors
    assert not list(tmp_path.iterdir())


def another_architecture(folder):
    path = folder / "other.pth"
    torch.save({"layer.weight": torch.zeros(3, 3)}, path)
    return path


def code_in_a_pickle(folder):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "code was run"),))

    path = folder / "evil.pth"
    path.write_bytes(pickle.dumps({"model": Evil()}))
    return path


def unlabelled(folder):
    path = folder / "plain.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    return path


def truncated_weights(folder):
    path = folder / "short.safetensors"
    save_file({"a": torch.zeros(200)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def published(folder):
    return golden.path_of("reference_ema_epoch_3.pth")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.safetensors", "no file"),
        (text_file, "not a weights file"),
        (another_architecture, "another architecture"),
        (code_in_a_pickle, "could run code"),
        (unlabelled, "not a WavFlow checkpoint"),
        (truncated_weights, "not a whole safetensors file"),
        (published, "sample rate (16000 or 44100)"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_one_line(wavflow, tmp_path, make, message):
    checkpoint = make(tmp_path)
    before = set(tmp_path.iterdir())
    code, errors = wavflow(
        "generate", checkpoint=checkpoint, prompt="x", output=tmp_path / "out.wav"
    )
    assert code == 2
    assert message in one_line(errors)
    assert set(tmp_path.iterdir()) == before


def test_encoders_that_do_not_fit_are_both_named(wavflow, models, tmp_path, video):
    trained, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    clip = models / "clip_tiny.safetensors"
    assert wavflow("init", preset="tiny", clip=clip, output=trained)[0] == 0
    assert wavflow("init", preset="clip_tiny", seed=1, output=other)[0] == 0
    output = tmp_path / "out.wav"
    code, errors = wavflow("generate", checkpoint=trained, clip=other, prompt="x", output=output)
    assert code == 2
    line = one_line(errors)
    assert line.count("clip_tiny (") == 2
    code, errors = wavflow(
        "generate", clip=models / "synchformer_tiny.safetensors", prompt="x", output=output
    )
    assert code == 2
    assert "synchformer" in one_line(errors)
    assert not output.exists()
    code, errors = wavflow("generate", checkpoint=trained, clip=clip, prompt="x", output=output)
    assert code == 0, errors


def test_a_missing_encoder_says_how_to_get_it(wavflow, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVFLOW_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    code, errors = wavflow("generate", clip="clip", prompt="x", output=tmp_path / "out.wav")
    assert code == 2
    assert "wavflow download" in one_line(errors)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/out.wav", "does not exist"),
        ("file.txt/out.wav", "does not exist or cannot be written"),
        ("out.xyz", "its suffix must be one of"),
        ("out", "its suffix must be one of"),
        ("n" * 300 + ".wav", "its name is too long"),
        ("there.wav", "exists; choose another --output"),
        ("clip.webm", "cannot hold h264 video; choose one of .mp4"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_any_work(
    wavflow, tmp_path, video, name, message
):
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "there.wav").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    # A checkpoint that does not exist: had it been looked for first, the error would name it.
    code, errors = wavflow(
        "generate", video=video, checkpoint="none.safetensors", output=tmp_path / name
    )
    assert code == 2
    assert message in one_line(errors)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_video_file_cannot_be_made_from_text_alone(wavflow, tmp_path):
    code, errors = wavflow("generate", prompt="x", output=tmp_path / "out.mp4")
    assert code == 2
    assert "there is no video to put the sound to" in one_line(errors)


def test_nothing_to_make_a_sound_for_is_an_error(wavflow, tmp_path):
    code, errors = wavflow("generate", output=tmp_path / "out.wav")
    assert code == 2
    assert "give --video, --prompt" in one_line(errors)


def test_overwrite_replaces_a_file(wavflow, tmp_path):
    output = tmp_path / "out.wav"
    output.write_bytes(b"old")
    arguments = {"prompt": "x", "duration": 1, "output": output}
    assert wavflow("generate", **arguments)[0] == 2
    assert wavflow("generate", "--overwrite", **arguments)[0] == 0
    assert read_audio(output).duration == 1.0


def test_the_video_itself_is_never_the_output(wavflow, tmp_path, video):
    source = tmp_path / "clip.mp4"
    source.write_bytes(video.read_bytes())
    code, errors = wavflow("generate", "--overwrite", video=source, output=source)
    assert code == 2
    assert "is the video itself" in one_line(errors)
    assert source.read_bytes() == video.read_bytes()


def test_a_folder_as_output_is_called_one(wavflow, tmp_path):
    (tmp_path / "there.wav").mkdir()
    for name, count in (("there.wav", 1), (".", 2)):
        arguments = {"prompt": "x", "count": count, "output": tmp_path / name}
        code, errors = wavflow("generate", "--overwrite", **arguments)
        assert code == 2
        assert "is a folder" in one_line(errors) or "suffix" in one_line(errors)


def test_variations_that_are_finished_stay_after_an_interrupt(wavflow, tmp_path, monkeypatch):
    made = []

    def finish(clip, **kwargs):
        made.append(clip)
        if len(made) == 3:
            raise KeyboardInterrupt
        return clip

    monkeypatch.setattr(pipeline, "finish", finish)
    arguments = {"prompt": "x", "duration": 0.5, "count": 5, "output": tmp_path / "v.wav"}
    code, errors = wavflow("generate", **arguments)
    assert code == 130
    assert "what was finished stays" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v_0.wav", "v_1.wav"]


def test_settings_that_do_nothing_are_said_so(wavflow, tmp_path):
    arguments = {"prompt": "x", "duration": 0.5, "start": 3, "cfg": 1, "output": tmp_path / "o.wav"}
    arguments["negative-prompt"] = "speech"
    code, errors = wavflow("generate", **arguments)
    assert code == 0
    assert "start does nothing" in errors
    assert "negative prompt does nothing" in errors


def test_a_csv_makes_the_good_rows_and_counts_the_bad_ones(wavflow, tmp_path, video):
    table, folder = tmp_path / "rows.csv", tmp_path / "out"
    table.write_text(
        "video_path,caption,video_exist,text_exist,id\n"
        f'{video},"a dog, barking",1,1,good\n'
        "nowhere.mp4,x,1,1,lost\n"
        ",rain,0,1,text\n"
    )
    code, errors = wavflow("generate", csv=table, output=folder, duration=1)
    assert code == 1
    assert sorted(p.name for p in folder.iterdir()) == ["good.wav", "text.wav"]
    assert "2 of 3 made, 0 were there already, 1 failed" in errors
    assert "lost: line 3: there is no video" in errors
    assert "Traceback" not in errors

    stamp = (folder / "good.wav").stat().st_mtime_ns
    (folder / "text.wav").unlink()
    code, errors = wavflow("generate", csv=table, output=folder, duration=1)
    assert "1 of 3 made, 1 were there already, 1 failed" in errors
    assert (folder / "good.wav").stat().st_mtime_ns == stamp


def test_of_several_variations_the_missing_alone_are_made(wavflow, tmp_path):
    table, folder = tmp_path / "rows.csv", tmp_path / "out"
    table.write_text("video_path,caption,video_exist,text_exist,id\n,rain,0,1,text\n")
    arguments = {"csv": table, "output": folder, "duration": 0.5, "count": 3, "seed": 7}
    assert wavflow("generate", **arguments)[0] == 0
    names = ["text_7.wav", "text_8.wav", "text_9.wav"]
    assert sorted(path.name for path in folder.iterdir()) == names
    whole = {name: (folder / name).read_bytes() for name in names}
    (folder / names[0]).write_bytes(b"somebody's")
    (folder / names[1]).unlink()
    assert wavflow("generate", **arguments)[0] == 0
    assert (folder / names[0]).read_bytes() == b"somebody's"
    assert (folder / names[1]).read_bytes() == whole[names[1]]


def test_a_csv_without_its_columns_is_one_line(wavflow, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("path,text\na.mp4,x\n")
    code, errors = wavflow("generate", csv=table, output=tmp_path / "out")
    assert code == 2
    assert "lacks the columns video_path, caption" in one_line(errors)
    assert list(tmp_path.iterdir()) == [table]


def test_a_folder_of_videos_becomes_a_folder_of_videos_with_sound(wavflow, tmp_path, video):
    source, folder = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "good.mp4").write_bytes(video.read_bytes())
    text_file(source)
    code, errors = wavflow("generate", "--format", ".mp4", folder=source, output=folder, prompt="x")
    assert code == 1
    assert [p.name for p in folder.iterdir()] == ["good.mp4"]
    assert "text: " in errors


def test_an_interrupt_leaves_nothing_behind(wavflow, tmp_path, video, monkeypatch):
    def interrupt(*arguments, **kwargs):
        assert list(tmp_path.iterdir())  # it has begun to write
        raise KeyboardInterrupt

    monkeypatch.setattr(encode, "_quantise", interrupt)
    code, errors = wavflow("generate", video=video, output=tmp_path / "out.mp4")
    assert code == 130
    assert "interrupted" in errors
    assert not list(tmp_path.iterdir())


def test_convert_turns_a_pickle_into_safetensors_that_say_everything(wavflow, tmp_path):
    output = tmp_path / "model.safetensors"
    source = golden.path_of("reference_ema_epoch_3.pth")
    code, errors = wavflow("convert", source, output)
    assert code == 2
    assert "sample rate (16000 or 44100)" in one_line(errors)
    about = {"sample-rate": 44100, "data": "VGGSound", "license": "CC-BY-NC-4.0"}
    assert wavflow("convert", source, output, **about)[0] == 0
    checkpoint = read_checkpoint(output)
    assert checkpoint.config.audio.sample_rate == 44100
    assert checkpoint.provenance.data == "VGGSound"
    assert checkpoint.provenance.license == "CC-BY-NC-4.0"


def test_init_refuses_an_unknown_preset_and_lists_the_known(wavflow, tmp_path):
    code, errors = wavflow("init", preset="huge", output=tmp_path / "x.safetensors")
    assert code == 2
    assert "medium_16k" in one_line(errors)
    assert "clip_tiny" in one_line(errors)
    assert not list(tmp_path.iterdir())


def test_init_without_its_encoders_warns_and_refuses_an_odd_seed(wavflow, tmp_path):
    code, errors = wavflow("init", preset="tiny", output=tmp_path / "x.safetensors")
    assert code == 0
    assert "empty caption stay zero" in errors
    code, errors = wavflow("init", preset="tiny", seed=2**64, output=tmp_path / "y.safetensors")
    assert code == 2
    assert "seed is" in one_line(errors)


def test_features_for_a_checkpoint_have_its_window_and_its_encoders(
    wavflow, models, tmp_path, video
):
    checkpoint, output = tmp_path / "small.safetensors", tmp_path / "f.safetensors"
    clip = models / "clip_tiny.safetensors"
    assert wavflow("init", preset="small_16k", clip=clip, output=checkpoint)[0] == 0
    arguments = {"prompt": "x", "checkpoint": checkpoint, "output": output}
    assert wavflow("features", clip=clip, **arguments)[0] == 0
    assert load_features(output).duration == 4.0
    output.unlink()
    other = tmp_path / "other.safetensors"
    assert wavflow("init", preset="clip_tiny", seed=1, output=other)[0] == 0
    assert wavflow("features", clip=other, **arguments)[0] == 2
    assert not output.exists()


def test_a_reader_that_stops_reading_is_no_error(models):
    command = f"{sys.executable} -m wavflow_core info {models / 'model.safetensors'} | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_init_follows_its_seed(wavflow, tmp_path):
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert wavflow("init", preset="tiny", seed=seed, output=path)[0] == 0
    first, again, other = (read_checkpoint(path).tensors for path in paths)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_info_says_what_each_kind_of_file_is(models, tmp_path, video, capsys):
    def said(path):
        capsys.readouterr()
        from wavflow_core.cli import main

        assert main(["info", str(path)]) == 0
        return capsys.readouterr().out

    assert "preset: tiny" in said(models / "model.safetensors")
    assert "guided until t = 1\n" in said(models / "model.safetensors")
    assert "clip encoder" in said(models / "clip_tiny.safetensors")
    assert "synchformer encoder" in said(models / "synchformer_tiny.safetensors")
    assert "of the published system" in said(golden.path_of("reference_ema_epoch_3.pth"))
    assert "not a WavFlow checkpoint" in said(another_architecture(tmp_path))
    assert "do not say what they are" in said(unlabelled(tmp_path))
    assert "video: 1.000 s, 96 x 64" in said(video)
    assert "sound: 1.000 s, 48000 Hz, 1 channels" in said(sound_alone(tmp_path))


def test_info_about_nothing_or_nonsense_is_one_line(wavflow, tmp_path):
    for path in (tmp_path / "none.mp4", text_file(tmp_path)):
        code, errors = wavflow("info", path)
        assert code == 2
        one_line(errors)


def test_download_lists_what_there_is_and_refuses_what_there_is_not(wavflow, capsys):
    assert wavflow("download")[0] == 0
    code, errors = wavflow("download", "nonsense")
    assert code == 2
    assert "synchformer" in one_line(errors)


def test_the_default_output_is_named_after_the_video():
    assert default_output(Path("/a/b.mov")) == Path("b_wavflow.mov")
    assert default_output(Path("b.WEBM")) == Path("b_wavflow.WEBM")
    assert default_output(Path("b.avi")) == Path("b_wavflow.mkv")
    assert default_output(None) == Path("wavflow.wav")


def test_the_module_runs_as_a_program_with_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "wavflow_core", "info", str(tmp_path / "none.mp4")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
