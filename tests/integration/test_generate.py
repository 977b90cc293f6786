"""From a video and a prompt to a file, as a user would."""

import dataclasses
import hashlib
import wave

import av
import pytest
import torch
from support import golden
from support.media import make_video

import wavflow_core
from wavflow_core import encoding, pipeline
from wavflow_core.config import SOLVERS
from wavflow_core.features import Features
from wavflow_core.media.audio import measure_loudness, read_audio

CLIPS = ("animal_frog", "music_drum", "natural_forest", "sport_skateboard")
DURATIONS = (3.0, 7.37, 8.0, 8.08)


def video_packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (hashlib.md5(bytes(p)).hexdigest(), p.pts * p.time_base, p.is_keyframe)
            for p in container.demux(stream)
            if p.size
        ]


@pytest.fixture(scope="module")
def short_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "short.mp4"
    make_video(path, seconds=2.0)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_sound_for_a_real_clip_is_exactly_as_long_as_asked(wavflow, tmp_path, name):
    video = golden.path_of(f"{name}.mp4")
    for duration in DURATIONS:
        output = tmp_path / f"{duration}.wav"
        code, errors = wavflow(
            "generate", video=video, prompt=name, duration=duration, output=output
        )
        assert code == 0, errors
        with wave.open(str(output)) as file:
            assert file.getnframes() == round(16000 * duration)
            assert file.getframerate() == 16000
        assert read_audio(output).waveform.std() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_with_new_sound_keeps_its_pictures_bit_for_bit(wavflow, tmp_path, name):
    video, output = golden.path_of(f"{name}.mp4"), tmp_path / "out.mp4"
    code, errors = wavflow("generate", video=video, output=output)
    assert code == 0, errors
    assert video_packets(output) == video_packets(video)
    sound = read_audio(output)
    assert sound.sample_rate == 16000
    assert abs(sound.waveform.shape[1] - 8 * 16000) <= 1024


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_sound(
    wavflow, tmp_path, short_video
):
    outputs = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    for output, seed in zip(outputs, (7, 7, 8), strict=True):
        assert wavflow("generate", video=short_video, seed=seed, output=output)[0] == 0
    first, again, other = (path.read_bytes() for path in outputs)
    assert first == again
    assert first != other


@pytest.mark.parametrize("solver", SOLVERS)
def test_variations_are_those_of_single_calls_with_their_seeds(models, solver):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
    sampler = wavflow_core.SamplerConfig(solver=solver, steps=5, rtol=0.1, atol=0.1)

    def make(seed, count):
        request = wavflow_core.Request(
            prompt="rain", duration=1.0, seed=seed, count=count, loudness=None
        )
        clips = wavflow_core.generate(model, request, encoders=encoders, sampler=sampler)
        return [clip.waveform for clip in clips]

    together = make(5, 4)
    for i, waveform in enumerate(together):
        [alone] = make(5 + i, 1)
        assert torch.equal(waveform, alone)


def test_variations_in_a_group_are_nearly_those_alone(models):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
    features = encoders.extract(None, duration=1.0, prompt="rain")
    sampler = wavflow_core.SamplerConfig(steps=5)

    def make(group):
        clips = pipeline.synthesize(model, features, sampler=sampler, seed=5, count=5, group=group)
        return torch.cat([clip.waveform for clip in clips])

    alone, grouped = make(1), make(4)
    assert (alone - grouped).abs().max() <= 1e-4 * alone.abs().max()


def test_the_largest_seed_counts_on_from_zero(models):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    features = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors").extract(
        None, duration=0.5, prompt="rain"
    )
    sampler = wavflow_core.SamplerConfig(steps=1)

    def make(seed, count):
        request = wavflow_core.Request(seed=seed, count=count)
        return wavflow_core.generate(model, request, features=features, sampler=sampler)

    assert torch.equal(make(2**64 - 1, 2)[1].waveform, make(0, 1)[0].waveform)


def test_features_of_text_alone_fit_any_duration(wavflow, models, tmp_path):
    features, output = tmp_path / "f.safetensors", tmp_path / "out.wav"
    clip = models / "clip_tiny.safetensors"
    assert wavflow("features", prompt="rain", clip=clip, output=features)[0] == 0
    assert wavflow("generate", features=features, duration=1.5, output=output)[0] == 0
    assert read_audio(output).duration == 1.5


def test_the_shortest_sounds_read_the_frames_after_their_end(models, short_video, caplog):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(
        model.config,
        clip=models / "clip_tiny.safetensors",
        synchformer=models / "synchformer_tiny.safetensors",
    )

    def extract(duration):
        request = wavflow_core.Request(video=short_video, duration=duration)
        return pipeline.encode(model.config, request, encoders)

    short, longer = extract(0.3), extract(0.64)
    assert torch.equal(short.sync, longer.sync)
    assert "held" not in caplog.text


def test_memory_that_does_not_suffice_says_what_to_do(models, monkeypatch):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    features = Features(text=torch.randn(77, 64), duration=0.5)

    def fail(*arguments, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(pipeline, "build_conditions", fail)
    with pytest.raises(wavflow_core.WavFlowError, match="memory of cpu does not suffice"):
        wavflow_core.generate(model, wavflow_core.Request(), features=features)


def test_text_alone_needs_no_video_and_lasts_the_window(wavflow, tmp_path):
    output = tmp_path / "text.flac"
    assert wavflow("generate", prompt="a dog barks", output=output)[0] == 0
    assert read_audio(output).duration == 8.0


def test_a_video_alone_lasts_as_long_as_the_video(wavflow, tmp_path, short_video):
    output = tmp_path / "video.wav"
    assert wavflow("generate", video=short_video, output=output)[0] == 0
    assert read_audio(output).duration == 2.0


def test_a_part_of_a_video_sounds_from_its_start_on(wavflow, tmp_path, short_video):
    output = tmp_path / "part.mp4"
    code, errors = wavflow(
        "generate", video=short_video, start=1.25, duration=0.5, loudness=-10, output=output
    )
    assert code == 0, errors
    sound = read_audio(output).waveform[0]
    assert sound[: int(1.2 * 16000)].abs().max() < 1e-3
    assert sound[int(1.3 * 16000) : int(1.7 * 16000)].std() > 1e-2


def test_a_request_beyond_the_video_s_end_holds_the_last_frame(wavflow, tmp_path, short_video):
    output = tmp_path / "long.wav"
    assert wavflow("generate", video=short_video, duration=3.3, output=output)[0] == 0
    assert read_audio(output).waveform.shape[1] == 52800


def test_a_negative_prompt_changes_the_sound(wavflow, tmp_path):
    plain, negative = tmp_path / "plain.wav", tmp_path / "negative.wav"
    assert wavflow("generate", prompt="rain", duration=1, output=plain)[0] == 0
    arguments = {"negative-prompt": "speech", "prompt": "rain", "duration": 1, "output": negative}
    assert wavflow("generate", **arguments)[0] == 0
    assert plain.read_bytes() != negative.read_bytes()


@pytest.mark.parametrize("loudness", [-30, -23])
def test_the_loudness_is_what_was_asked_for(wavflow, tmp_path, loudness):
    output = tmp_path / "loud.wav"
    assert wavflow("generate", prompt="x", duration=2, loudness=loudness, output=output)[0] == 0
    measured = measure_loudness(read_audio(output))
    assert measured.integrated == pytest.approx(loudness, abs=0.2)
    assert measured.true_peak <= -0.9


def test_variations_get_their_seed_as_a_name(wavflow, tmp_path):
    output = tmp_path / "many.wav"
    assert wavflow("generate", prompt="x", duration=1, seed=3, count=2, output=output)[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many_3.wav", "many_4.wav"]


def test_saved_features_give_the_sound_of_the_video_itself(wavflow, models, tmp_path, short_video):
    features, direct, later = (tmp_path / n for n in ("f.safetensors", "direct.wav", "later.wav"))
    encoders = {
        "clip": models / "clip_tiny.safetensors",
        "synchformer": models / "synchformer_tiny.safetensors",
    }
    prompts = {"prompt": "rain", "negative-prompt": "speech"}
    code, errors = wavflow("features", video=short_video, output=features, **prompts, **encoders)
    assert code == 0, errors
    assert wavflow("generate", video=short_video, output=direct, **prompts)[0] == 0
    assert wavflow("generate", features=features, output=later)[0] == 0
    assert direct.read_bytes() == later.read_bytes()


def test_only_the_towers_that_a_request_needs_are_loaded(models, short_video, monkeypatch):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    seen = []

    def load_clip(path, *, towers, **kwargs):
        seen.append(set(towers))
        return original(path, towers=towers, **kwargs)

    original = encoding.load_clip
    monkeypatch.setattr(encoding, "load_clip", load_clip)
    sampler = wavflow_core.SamplerConfig(steps=1)

    def make(**kwargs):
        encoders = wavflow_core.Encoders(
            model.config,
            clip=models / "clip_tiny.safetensors",
            synchformer=models / "synchformer_tiny.safetensors",
        )
        request = wavflow_core.Request(duration=0.7, **kwargs)
        wavflow_core.generate(model, request, encoders=encoders, sampler=sampler)

    make(video=short_video)
    make(video=short_video, prompt="rain")
    monkeypatch.setattr(pipeline, "open_video", None)
    monkeypatch.setattr(encoding, "load_synchformer", None)
    make(prompt="rain")
    assert seen == [{"visual"}, {"visual", "text"}, {"text"}]


def test_bfloat16_gives_nearly_the_sound_of_fp32(models):
    def make(dtype):
        model = wavflow_core.load_model(models / "model.safetensors", device="cpu", dtype=dtype)
        encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
        request = wavflow_core.Request(prompt="rain", duration=1.0, loudness=None)
        sampler = wavflow_core.SamplerConfig(steps=3, cfg=1.0)
        [clip] = wavflow_core.generate(model, request, encoders=encoders, sampler=sampler)
        return clip.waveform

    exact, rounded = make("fp32"), make("bf16")
    assert (exact - rounded).square().mean() < 0.01 * exact.square().mean()


def test_guidance_ends_where_the_checkpoint_or_the_caller_says(models):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
    request = wavflow_core.Request(prompt="rain", duration=0.5, loudness=None)

    def make(trained, **settings):
        flow = dataclasses.replace(model.config.flow, cfg_end=trained)
        config = dataclasses.replace(model.config, flow=flow)
        told = dataclasses.replace(model, config=config)
        sampler = wavflow_core.SamplerConfig(steps=4, **settings)
        [clip] = wavflow_core.generate(told, request, encoders=encoders, sampler=sampler)
        return clip.waveform

    always, never = make(1.0), make(1.0, cfg=1.0)
    half = make(0.5)  # of the times 0, 0.25, 0.5 and 0.75 two are guided
    assert torch.equal(make(0.0), never)
    assert torch.equal(make(0.8), always)
    assert torch.equal(make(0.0, cfg_end=0.5), half)
    assert not torch.equal(half, always)
    assert not torch.equal(half, never)


def test_the_callback_sees_estimates_and_may_cancel(models):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
    seen = []

    def callback(step, total, t, clean):
        seen.append((step, total, tuple(clean.shape)))
        if step == 3:
            raise KeyboardInterrupt

    request = wavflow_core.Request(prompt="rain", duration=1.0, count=2)
    with pytest.raises(KeyboardInterrupt):
        wavflow_core.generate(model, request, encoders=encoders, callback=callback)
    assert seen == [(step, 50, (1, 80, 200)) for step in (1, 2, 3)]


def test_progress_counts_up_over_all_variations(models):
    model = wavflow_core.load_model(models / "model.safetensors", device="cpu")
    encoders = wavflow_core.Encoders(model.config, clip=models / "clip_tiny.safetensors")
    seen = []
    request = wavflow_core.Request(prompt="rain", duration=0.5, count=6)
    wavflow_core.generate(
        model,
        request,
        encoders=encoders,
        sampler=wavflow_core.SamplerConfig(steps=2),
        progress=lambda *arguments: seen.append(arguments),
    )
    assert seen == [
        ("encode", 0, 1),
        ("encode", 1, 1),
        *[("sample", done, 12) for done in range(1, 13)],
    ]


def test_a_long_video_is_cut_to_the_window_with_a_warning(wavflow, tmp_path):
    video, output = tmp_path / "long.mp4", tmp_path / "long.wav"
    make_video(video, seconds=9.0, fps=8)
    code, errors = wavflow("generate", video=video, output=output)
    assert code == 0
    assert "8 s of a video of 9 s" in errors
    assert read_audio(output).duration == 8.0


def test_a_checkpoint_of_the_published_system_makes_sound(tmp_path):
    path = golden.path_of("reference_ema_epoch_3.pth")
    model = wavflow_core.load_model(path, sample_rate=44100, device="cpu")
    features = Features(text=torch.randn(5, 14), duration=0.25)
    sampler = wavflow_core.SamplerConfig(steps=2)
    request = wavflow_core.Request()
    [clip] = wavflow_core.generate(model, request, features=features, sampler=sampler)
    assert clip.sample_rate == 44100
    assert clip.waveform.shape == (1, 11025)
