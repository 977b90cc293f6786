import io
import logging
import math
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
import torch
from support.media import make_sound, make_video, sine

from wavflow_core.errors import MediaError
from wavflow_core.media import waveform as waveform_module
from wavflow_core.media.audio import (
    AudioClip,
    edge_fades,
    measure_loudness,
    read_audio,
    remove_dc,
    resample,
    set_level,
    write_audio,
)
from wavflow_core.media.container import find_sound


def noise(seconds=1.0, rate=16000, channels=1, level=0.2):
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(channels, round(seconds * rate), generator=generator)
    return AudioClip(waveform=(level * samples).clamp(-0.99, 0.99), sample_rate=rate)


def tone(seconds=1.0, rate=16000, channels=1, level=0.5, frequency=440):
    wave = sine(frequency, seconds, rate, level, channels)
    return AudioClip(waveform=wave, sample_rate=rate)


def bends(clip, rate, frequency, level):
    """Largest part that is not the sine, away from the edges, in dB below it."""
    expected = sine(frequency, clip.shape[-1] / rate, rate, level)[0]
    error = (clip[0] - expected)[rate // 4 : -rate // 4]
    return 20 * math.log10(float(error.abs().max()) / level + 1e-12)


# --- a clip


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (torch.zeros(5), 16000, r"shape \(5,\); it must be \(channels, samples\)"),
        (torch.zeros(1, 0), 16000, r"shape \(1, 0\)"),
        (torch.zeros(1, 5, dtype=torch.float64), 16000, "float64; it must be torch.float32"),
        (torch.full((1, 5), math.nan), 16000, "NaN or infinite"),
        (torch.full((1, 5), -math.inf), 16000, "NaN or infinite"),
        (torch.zeros(1, 5), 0, "sample_rate is 0"),
    ],
)
def test_what_is_no_sound_is_refused(waveform, rate, message):
    with pytest.raises(MediaError, match=message):
        AudioClip(waveform=waveform, sample_rate=rate)


def test_a_clip_knows_its_duration():
    assert AudioClip(waveform=torch.zeros(2, 8000), sample_rate=16000).duration == 0.5


# --- files


@pytest.mark.parametrize("rate", [16000, 44100, 48000, 12345])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("name", "subtype", "step"),
    [
        ("a.wav", None, 2**-15),
        ("a.wav", "24", 2**-23),
        ("a.wav", "32f", 0),
        ("a.flac", None, 2**-15),
        ("a.flac", "24", 2**-23),
    ],
)
def test_exact_formats_keep_every_sample(tmp_path, rate, channels, name, subtype, step):
    clip = noise(0.37, rate, channels)
    write_audio(clip, tmp_path / name, subtype=subtype)
    made = read_audio(tmp_path / name)
    assert made.sample_rate == rate
    assert made.waveform.shape == clip.waveform.shape
    difference = (made.waveform - clip.waveform).abs().max().item()
    assert difference <= step / 2 + 2**-25
    again = tmp_path / f"b{name[1:]}"
    write_audio(made, again, subtype=subtype)
    assert torch.equal(read_audio(again).waveform, made.waveform)


def test_whole_numbers_are_rounded_and_never_wrap_around(tmp_path, caplog):
    values = torch.tensor([[0.6, -0.6, 1.4, -1.4, 32767, 40000, -32768, -40000, 0.5, 1.5]]) / 32768
    with caplog.at_level(logging.WARNING):
        write_audio(AudioClip(waveform=values, sample_rate=8000), tmp_path / "a.wav")
    made = read_audio(tmp_path / "a.wav").waveform * 32768
    assert made.tolist() == [[1, -1, 1, -1, 32767, 32767, -32768, -32768, 0, 2]]
    assert [record.message for record in caplog.records] == [
        "2 samples above full scale were clipped."
    ]
    for subtype in ("16", "24"):
        loud = AudioClip(waveform=torch.tensor([[5.0, -5.0, 1.0, -1.0]]), sample_rate=8000)
        write_audio(loud, tmp_path / "b.flac", subtype=subtype)
        assert read_audio(tmp_path / "b.flac").waveform.sign().tolist() == [[1, -1, 1, -1]]


@pytest.mark.parametrize("name", ["a.mp3", "a.opus", "a.ogg", "a.m4a"])
@pytest.mark.parametrize(("rate", "seconds"), [(16000, 3.0), (44100, 2.37), (48000, 1.08)])
def test_lossy_formats_keep_start_and_length(tmp_path, name, rate, seconds):
    samples = round(seconds * rate)
    clip = tone(seconds, rate, channels=2, level=0.1)
    place = rate // 2
    clip.waveform[:, place] = 0.95
    write_audio(clip, tmp_path / name)
    made = read_audio(tmp_path / name)
    assert made.sample_rate == (48000 if name in ("a.opus", "a.ogg") else rate)
    assert made.waveform.shape == (2, math.ceil(samples * made.sample_rate / rate))
    onset = made.waveform[0].abs().argmax().item() / made.sample_rate
    assert onset == pytest.approx(place / rate, abs=0.001)


def test_a_rate_the_codec_cannot_hold_is_resampled_and_logged(tmp_path, caplog):
    clip = tone(1.0, 37000, level=0.3)
    with caplog.at_level(logging.INFO):
        for name, rate in (("a.mp3", 44100), ("a.opus", 48000), ("a.m4a", 44100)):
            write_audio(clip, tmp_path / name)
            made = read_audio(tmp_path / name)
            assert made.sample_rate == rate
            assert made.duration == pytest.approx(1.0, abs=1e-4)
            assert bends(made.waveform, rate, 440, 0.3) < -25
    assert "cannot hold 37000 Hz: written at 44100 Hz" in caplog.text
    write_audio(tone(0.5, 192000), tmp_path / "b.mp3")
    assert read_audio(tmp_path / "b.mp3").sample_rate == 48000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.ogg", "a.m4a"])
def test_tags_are_written(tmp_path, name):
    write_audio(tone(), tmp_path / name, metadata={"title": "Rain", "comment": "seed 7"})
    with av.open(str(tmp_path / name)) as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
    tags = {key.lower(): value for key, value in tags.items()}
    assert (tags["title"], tags["comment"]) == ("Rain", "seed 7")


def test_a_bit_rate_is_honoured(tmp_path):
    clip = noise(4.0, 48000)
    for bitrate in (64000, 160000):
        write_audio(clip, tmp_path / "a.mp3", bitrate=bitrate)
        size = (tmp_path / "a.mp3").stat().st_size
        assert size == pytest.approx(bitrate / 8 * 4, rel=0.1)


def test_a_part_is_read_to_the_sample(tmp_path):
    clip = noise(14.0, 16000)
    for name in ("a.wav", "a.flac"):
        write_audio(clip, tmp_path / name, subtype="24")
        whole = read_audio(tmp_path / name).waveform
        for start, duration in ((0.1, 0.5), (3.00005, None), (12.25, 0.5), (13.5, 9.0)):
            made = read_audio(tmp_path / name, start=start, duration=duration).waveform
            first = round(start * 16000)
            last = None if duration is None else first + round(duration * 16000)
            assert torch.equal(made, whole[:, first:last])


def test_a_part_of_a_lossy_file_is_a_part_of_the_whole(tmp_path):
    clip = tone(14.0, 16000)
    for name in ("a.mp3", "a.m4a", "a.opus"):
        write_audio(clip, tmp_path / name)
        whole = read_audio(tmp_path / name)
        for start in (1.0, 12.5):
            made = read_audio(tmp_path / name, start=start, duration=0.5).waveform
            first = round(start * whole.sample_rate)
            expected = whole.waveform[:, first : first + made.shape[1]]
            assert made.shape[1] == 0.5 * whole.sample_rate
            torch.testing.assert_close(made, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("codec", "scale"), [("pcm_u8", 2**-7), ("pcm_s32le", 2**-23), ("pcm_f64le", 2**-23)]
)
def test_other_sample_formats_have_the_same_full_scale(tmp_path, codec, scale):
    wave = sine(440, 0.2, 16000, 0.9, 2)
    make_sound(tmp_path / "a.wav", wave, 16000, codec)
    made = read_audio(tmp_path / "a.wav").waveform
    assert (made - wave).abs().max() <= scale


def test_sound_of_a_video_counts_from_its_first_picture(tmp_path):
    wave = sine(440, 2, 16000)
    wave[0, 8000] = 1.0
    for offset, expected in ((0, 8000), (Fraction(1, 4), 4000), (1, -8000)):
        path = make_video(tmp_path / "a.mp4", seconds=2, offset=offset, audio=wave.numpy())
        made = read_audio(path).waveform
        assert made.shape[1] == 32000 - 16000 * offset
        if expected > 0:
            assert abs(made[0].abs().argmax().item() - expected) <= 1


def test_sound_that_begins_late_has_silence_before_it(tmp_path):
    path = tmp_path / "a.mkv"
    make_video(tmp_path / "v.mkv", seconds=2)
    with av.open(str(tmp_path / "v.mkv")) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = target
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(sine(440, 1, 16000).numpy(), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 8000, Fraction(1, 16000)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    made = read_audio(path).waveform[0]
    assert made.shape == (24000,)
    assert made[:8000].abs().max() == 0
    assert made[8001].abs() > 0.05
    assert torch.equal(read_audio(path, start=0.25, duration=0.5).waveform[0], made[4000:12000])


def test_joined_recordings_give_the_sound_of_both(tmp_path):
    parts = []
    for frequency in (440, 1000):
        path = tmp_path / f"{frequency}.ts"
        made = sine(frequency, 3.0, 16000).numpy()
        make_video(path, seconds=3.0, fps=25, audio=made)
        parts.append(path.read_bytes())
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    rate = 16000
    sound = read_audio(tmp_path / "joined.ts").waveform[0]
    assert len(sound) == pytest.approx(6 * rate, abs=0.3 * rate)
    for frequency, first in ((440, 1), (1000, 4)):
        spectrum = torch.fft.rfft(sound[first * rate : (first + 1) * rate]).abs()
        assert spectrum.argmax() == frequency


def test_a_leap_of_the_timestamps_is_told_and_takes_no_memory(tmp_path):
    path = tmp_path / "leap.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for moment in (0, 7200):
            frame = av.AudioFrame.from_ndarray(sine(440, 1, 16000).numpy(), "flt", "mono")
            frame.sample_rate, frame.pts = 16000, 16000 * moment
            frame.time_base = Fraction(1, 16000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="pauses for 7199 s, by its timestamps; ask for a part"):
        read_audio(path)
    assert read_audio(path, duration=2.0).duration == 2


def test_of_several_tracks_one_that_can_be_decoded_is_taken():
    def file(*codecs, best):
        tracks = [SimpleNamespace(index=n, codec_context=codec) for n, codec in enumerate(codecs)]
        streams = SimpleNamespace(audio=tracks, best=lambda _: tracks[best] if tracks else None)
        return SimpleNamespace(streams=streams)

    assert find_sound(file(None, "aac", best=0)).index == 1
    assert find_sound(file("aac", "ac3", best=1)).index == 1
    assert find_sound(file(None, best=0)) is None
    assert find_sound(file(best=0)) is None


def test_reading_tells_how_far_it_is_and_can_be_stopped(tmp_path):
    write_audio(tone(3.0), tmp_path / "a.wav")
    told = []
    read_audio(tmp_path / "a.wav", progress=told.append)
    assert told == sorted(set(told))
    assert len(told) > 3
    assert told[-1] == pytest.approx(3.0)

    def stop(seconds):
        told.append(seconds)
        if seconds > 1:
            raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        read_audio(tmp_path / "a.wav", progress=stop)
    assert told[-1] < 2


def test_sound_in_memory_is_read(tmp_path):
    write_audio(noise(), tmp_path / "a.flac")
    made = read_audio(io.BytesIO((tmp_path / "a.flac").read_bytes()))
    assert torch.equal(made.waveform, read_audio(tmp_path / "a.flac").waveform)


# --- mistakes


def test_files_without_sound_are_refused(tmp_path):
    text = tmp_path / "a.wav"
    text.write_text("no sound")
    for path, message in (
        (make_video(tmp_path / "a.mp4"), "has no sound track; give a file with sound"),
        (text, "not a readable video or sound file"),
        (tmp_path / "none.wav", "does not exist"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(MediaError, match=message):
            read_audio(path)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"start": -1.0}, "start is -1.0"),
        ({"start": math.nan}, "start is nan"),
        ({"duration": 0.0}, "duration is 0.0"),
        ({"start": 2.0}, "no sound from 2 s on; choose an earlier start"),
    ],
)
def test_a_part_outside_of_the_sound_is_refused(tmp_path, part, message):
    write_audio(tone(1.0), tmp_path / "a.wav")
    with pytest.raises(MediaError, match=message):
        read_audio(tmp_path / "a.wav", **part)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.aiff", {}, r"'.aiff'; allowed: .wav, .flac, .mp3, .opus, .ogg, .m4a"),
        ("a", {}, "the suffix is ''"),
        ("a.wav", {"subtype": "8"}, "subtype is '8'; allowed for .wav: 16, 24, 32f"),
        ("a.flac", {"subtype": "32f"}, "allowed for .flac: 16, 24"),
        ("a.mp3", {"subtype": "16"}, "allowed for .mp3: none"),
        ("a.wav", {"bitrate": 64000}, "bitrate is 64000; for .wav it must be left out"),
        ("a.mp3", {"bitrate": 0}, "bitrate is 0; for .mp3 it must be above 0"),
        ("none/a.wav", {}, "does not exist; create it first"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name, options, message):
    with pytest.raises(MediaError, match=message):
        write_audio(tone(), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_too_many_channels_are_refused(tmp_path):
    with pytest.raises(MediaError, match="at most 2 channels, the sound has 6; mix it down"):
        write_audio(noise(channels=6), tmp_path / "a.mp3")
    with pytest.raises(MediaError, match="at most 8 channels, the sound has 9"):
        write_audio(noise(channels=9), tmp_path / "a.wav")


def test_a_failure_while_writing_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_audio(tone(), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wavflow_core.media.encode._quantise", fail)
    with pytest.raises(MediaError, match=r"Cannot write .*a.wav' \(No space left on device\)"):
        write_audio(noise(), path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.wav"]


# --- resampling


@pytest.fixture
def no_torchaudio(monkeypatch):
    """Torchaudio fails to import as beside a torch it was not built for."""
    import builtins

    plain = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("torchaudio"):
            raise RuntimeError("compiled with different CUDA versions")
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    waveform_module._torchaudio_resample.cache_clear()
    yield
    waveform_module._torchaudio_resample.cache_clear()


PAIRS = [(44100, 16000), (16000, 48000), (48000, 44100), (16000, 44100), (37000, 48000)]


def check_resampling(orig, new, bound):
    for samples in (orig, orig + 1, 1001, 7, 1):
        assert resample(torch.zeros(2, samples), orig, new).shape == (
            2,
            math.ceil(samples * new / orig),
        )
    for frequency in (440, 0.2 * min(orig, new)):
        made = resample(sine(frequency, 1.5, orig, 0.5), orig, new)
        assert bends(made, new, frequency, 0.5) < bound
    impulse = torch.zeros(1, orig)
    impulse[0, orig // 2] = 1
    place = resample(impulse, orig, new)[0].argmax().item()
    assert abs(place / new - 0.5) <= 1 / new


@pytest.mark.parametrize(("orig", "new"), PAIRS)
def test_resampling_keeps_sines_places_and_length(orig, new):
    pytest.importorskip("torchaudio", exc_type=Exception)
    check_resampling(orig, new, -55)


@pytest.mark.parametrize(("orig", "new"), PAIRS)
def test_resampling_without_torchaudio_does_so_too(no_torchaudio, orig, new):
    check_resampling(orig, new, -100)


def test_resampling_without_torchaudio_removes_what_the_new_rate_cannot_hold(no_torchaudio):
    made = resample(sine(9000, 1, 48000), 48000, 16000)
    assert made[:, 2000:-2000].abs().max() < 1e-4


def test_both_resamplers_agree(no_torchaudio):
    clip = sine(1000, 1, 44100, 0.5, channels=2)
    swr = resample(clip, 44100, 16000)
    waveform_module._torchaudio_resample.cache_clear()
    functional = pytest.importorskip("torchaudio", exc_type=Exception).functional
    made = functional.resample(clip, 44100, 16000)
    torch.testing.assert_close(swr[:, 800:-800], made[:, 800:-800], rtol=0, atol=1e-3)


def test_a_missing_torchaudio_is_said_once(no_torchaudio, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            resample(torch.zeros(1, 100), 16000, 48000)
    assert [record.message for record in caplog.records] == [
        "torchaudio does not import (compiled with different CUDA versions); "
        "resampling by libswresample instead."
    ]


def test_equal_rates_change_nothing():
    wave = torch.randn(2, 100)
    assert resample(wave, 16000, 16000) is wave


@pytest.mark.parametrize(("orig", "new"), [(0, 16000), (16000, -1)])
def test_rates_must_be_above_zero(orig, new):
    with pytest.raises(MediaError, match="must be above 0 Hz"):
        resample(torch.zeros(1, 10), orig, new)


# --- level


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize(("channels", "expected"), [(1, -26.01), (2, -23.0)])
def test_loudness_of_a_sine_is_that_of_the_standard(rate, channels, expected):
    clip = tone(5, rate, channels, 10 ** (-23 / 20), frequency=997)
    measured = measure_loudness(clip)
    assert measured.integrated == pytest.approx(expected, abs=0.05)
    assert measured.true_peak == pytest.approx(-23, abs=0.05)


def test_full_scale_in_one_channel_of_two_is_three_below_zero():
    clip = tone(5, 48000, 2, 1.0, frequency=997)
    clip.waveform[1] = 0
    assert measure_loudness(clip).integrated == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("level", [0.5, 0.003])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_the_true_peak_is_found_between_the_samples(rate, level):
    wave = sine(rate / 4, 1, rate, level, phase=math.pi / 4)
    clip = edge_fades(AudioClip(waveform=wave, sample_rate=rate), seconds=0.1)
    samples = 20 * math.log10(clip.waveform.abs().max())
    assert measure_loudness(clip).true_peak == pytest.approx(samples + 3.01, abs=0.1)


def test_measuring_leaves_the_logging_of_pyav_as_it_was():
    before = av.logging.get_level()
    measure_loudness(tone())
    assert av.logging.get_level() == before


@pytest.mark.parametrize("samples", [1, 10, 1000, 6399, 6400])
def test_very_short_sounds_are_measured_and_levelled(samples):
    clip = tone(samples / 16000, 16000, frequency=1000)
    assert measure_loudness(clip).integrated < 0
    levelled = set_level(clip, loudness=-20)
    assert levelled.waveform.shape == clip.waveform.shape
    assert torch.isfinite(levelled.waveform).all()
    assert measure_loudness(levelled).true_peak <= -0.9


def test_silence_stays_silence():
    clip = AudioClip(waveform=torch.zeros(2, 16000), sample_rate=16000)
    measured = measure_loudness(clip)
    assert measured.integrated <= -70
    assert measured.true_peak == -math.inf
    assert torch.equal(set_level(clip).waveform, clip.waveform)
    hiss = noise(level=1e-5)
    assert torch.equal(set_level(hiss).waveform, hiss.waveform)


@pytest.mark.parametrize("level", [0.01, 0.9, 3.0])
def test_the_loudness_asked_for_is_reached(level):
    clip = tone(3, 44100, 2, level, frequency=997)
    assert measure_loudness(set_level(clip)).integrated == pytest.approx(-23, abs=0.05)


def test_a_true_peak_above_the_limit_is_scaled_down_to_it():
    clip = noise(2, level=0.05)
    clip.waveform[0, 16000] = 0.9
    levelled = set_level(clip, loudness=-14)
    assert measure_loudness(levelled).true_peak == pytest.approx(-1, abs=0.02)
    assert measure_loudness(levelled).integrated < -15


def test_without_a_loudness_only_the_peak_is_limited():
    quiet, loud = noise(level=0.1), tone(level=2.0)
    assert torch.equal(set_level(quiet, loudness=None).waveform, quiet.waveform)
    limited = set_level(loud, loudness=None, true_peak=-3)
    assert measure_loudness(limited).true_peak == pytest.approx(-3, abs=0.05)


@pytest.mark.parametrize("level", [{"loudness": math.nan}, {"true_peak": math.inf}])
def test_levels_must_be_numbers(level):
    with pytest.raises(MediaError, match="finite number of decibels"):
        set_level(tone(), **level)


# --- edges and offset


def test_fades_silence_the_edges_and_nothing_else():
    clip = AudioClip(waveform=torch.ones(2, 1000), sample_rate=10000)
    faded = edge_fades(clip, seconds=0.01).waveform
    assert faded[:, 0].max() < 0.001
    assert faded[:, -1].max() < 0.001
    assert torch.all(faded[:, 100:900] == 1)
    assert torch.all(faded[:, :100].diff() > 0)
    torch.testing.assert_close(faded, faded.flip(1))


def test_fades_of_a_very_short_sound_meet_in_the_middle():
    clip = AudioClip(waveform=torch.ones(1, 5), sample_rate=10000)
    assert edge_fades(clip, seconds=1).waveform[0, 2] == 1
    assert edge_fades(clip, seconds=0) is clip
    with pytest.raises(MediaError, match="seconds is -1"):
        edge_fades(clip, seconds=-1)


def test_the_offset_of_each_channel_is_removed():
    clip = AudioClip(
        waveform=tone(channels=2).waveform + torch.tensor([[0.3], [-0.1]]), sample_rate=16000
    )
    assert remove_dc(clip).waveform.mean(dim=1).abs().max() < 1e-6


def test_nothing_is_changed_in_place():
    clip = tone(level=0.9)
    before = clip.waveform.clone()
    for change in (edge_fades, remove_dc, set_level):
        change(clip)
        assert torch.equal(clip.waveform, before)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".opus", ".m4a"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_keeps_the_level(tmp_path, suffix, channels):
    clip = AudioClip(waveform=sine(440, 2.0, channels=channels), sample_rate=48000)
    write_audio(clip, tmp_path / f"tone{suffix}")
    back = read_audio(tmp_path / f"tone{suffix}").waveform[:, 24000:72000]
    assert back.std().item() == pytest.approx(clip.waveform[:, 24000:72000].std().item(), rel=0.005)


@pytest.mark.parametrize("bitrate", [64000, 128000, 160000, 192000, 224000, 256000, 320000])
def test_mp3_keeps_the_level_at_every_bit_rate(tmp_path, bitrate):
    clip = AudioClip(waveform=sine(440, 1.0, rate=44100, channels=2), sample_rate=44100)
    write_audio(clip, tmp_path / "tone.mp3", bitrate=bitrate)
    back = read_audio(tmp_path / "tone.mp3").waveform[:, 10000:30000]
    assert back.std().item() == pytest.approx(clip.waveform[:, 10000:30000].std().item(), rel=0.005)
