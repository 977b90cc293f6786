"""Commands without a checkpoint, which take the bundled model, or the bundled encoders alone."""

import pytest
from support.bundled import SECONDS
from support.media import make_video

import wavflow_core
from wavflow_core.cli import main
from wavflow_core.features import load_features
from wavflow_core.media.audio import read_audio
from wavflow_core.weights import BUNDLED, WEIGHTS, bundled

SAID = "Using the bundled model wavflow_foley_16k (18 kinds of sounds, FoleyWorld); give "


@pytest.fixture
def run(capsys, caplog):
    """Run a command; gives the exit code and what it said."""

    def run(*arguments):
        caplog.clear()
        capsys.readouterr()
        code = main(list(map(str, arguments)))
        heard = capsys.readouterr()
        return code, heard.out + heard.err + caplog.text

    return run


def generate(*arguments):
    return ("generate", *arguments, "--steps", 2, "--device", "cpu")


def test_a_prompt_alone_makes_sound_with_the_bundled_model_as_long_as_its_window(
    assets, run, tmp_path
):
    output = tmp_path / "a.wav"
    code, said = run(*generate("--prompt", "a bell is struck", "-o", output))
    assert code == 0, said
    assert said.count(SAID + "--checkpoint for another.") >= 1
    assert read_audio(output).duration == SECONDS


def test_a_video_longer_than_the_window_gets_sound_for_the_window_and_this_is_said(
    assets, run, tmp_path
):
    video, output = make_video(tmp_path / "v.mp4", seconds=SECONDS + 2), tmp_path / "a.wav"
    code, said = run(*generate("--video", video, "-o", output))
    assert code == 0, said
    assert f"Making sound for {SECONDS:g} s of a video of {SECONDS + 2:g} s" in said
    assert read_audio(output).duration == SECONDS


def test_any_checkpoint_that_names_the_bundled_encoders_takes_them(assets, run, tmp_path):
    mine, output = tmp_path / "mine.safetensors", tmp_path / "a.wav"
    encoders = [f"--{kind}={assets / BUNDLED[kind].filename}" for kind in ("clip", "synchformer")]
    assert run("init", "--preset", "tiny", *encoders, "-o", mine)[0] == 0
    video = make_video(tmp_path / "v.mp4", seconds=1)
    arguments = ("--checkpoint", mine, "--video", video, "--prompt", "rain")
    code, said = run(*generate(*arguments, "-o", output))
    assert code == 0, said
    assert "bundled" not in said
    assert output.exists()


def test_a_checkpoint_that_names_no_weights_asks_for_its_encoders(assets, run, tmp_path):
    mine = tmp_path / "mine.safetensors"
    assert run("init", "--preset", "tiny", "-o", mine)[0] == 0
    code, said = run(*generate("--checkpoint", mine, "--prompt", "x", "-o", tmp_path / "a.wav"))
    assert code == 2
    assert "neither bundled nor among the published ones; give its file with --clip" in said


def test_where_nothing_is_bundled_a_checkpoint_is_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "ASSETS", tmp_path / "none")
    for command in (
        generate("--prompt", "x", "-o", tmp_path / "a.wav"),
        ("features", "--prompt", "x", "-o", tmp_path / "f.safetensors"),
        ("info",),
    ):
        code, said = run(*command)
        assert code == 2
        assert "error: The bundled model is not here: there is no" in said
        assert "not with an installed package" in said
    assert list(tmp_path.iterdir()) == []


def test_features_without_a_checkpoint_are_for_the_bundled_model(assets, run, tmp_path):
    output, sound = tmp_path / "f.safetensors", tmp_path / "a.wav"
    code, said = run("features", "--prompt", "rain", "-o", output, "--device", "cpu")
    assert code == 0
    assert SAID in said
    assert load_features(output).duration == SECONDS
    assert run(*generate("--features", output, "-o", sound))[0] == 0


def test_features_of_encoders_that_were_given_are_for_no_model(assets, run, tmp_path):
    output = tmp_path / "f.safetensors"
    clip = assets / BUNDLED["clip"].filename
    code, said = run("features", "--prompt", "rain", "--clip", clip, "-o", output)
    assert code == 0
    assert SAID not in said
    assert load_features(output).duration == 8.0


def test_info_without_a_file_says_what_is_bundled(assets, run):
    code, said = run("info")
    assert code == 0
    for words in ("WavFlow checkpoint", "clip encoder", "synchformer encoder"):
        assert words in said
    # The files that the test put there are others than the known ones.
    known = [kind for kind in WEIGHTS if BUNDLED[kind].sha256]
    assert said.count("bundled; NOT as published") == len(known)
    assert said.count("bundled; not published yet") == len(WEIGHTS) - len(known)


def test_from_python_the_bundled_model_is_the_default(assets):
    model = wavflow_core.load_model(device="cpu")
    request = wavflow_core.Request(prompt="a bell is struck")
    sampler = wavflow_core.SamplerConfig(steps=2)
    [clip] = wavflow_core.generate(model, request, sampler=sampler)
    assert clip.duration == SECONDS


def test_a_short_or_long_duration_can_be_asked_for(assets, run, tmp_path):
    for seconds in (0.5, 3.0):
        output = tmp_path / f"{seconds}.wav"
        arguments = ("--prompt", "rain", "--duration", seconds, "-o", output)
        assert run(*generate(*arguments))[0] == 0
        assert read_audio(output).duration == seconds
