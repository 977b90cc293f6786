import io
import logging
import math
from fractions import Fraction

import av
import pytest
import torch
from support.media import make_video, number_of, packets, quadrants, sine

from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip, read_audio
from wavflow_core.media.mux import mux
from wavflow_core.media.video import FrameRequest, open_video, stream_frames

BFRAMES = {"bf": "2", "preset": "fast"}


def click(seconds=2.0, rate=16000, at=0.5, channels=1):
    """Quiet noise with one click."""
    generator = torch.Generator().manual_seed(0)
    wave = 0.001 * torch.randn(channels, round(seconds * rate), generator=generator)
    wave[:, round(at * rate)] = 0.9
    return AudioClip(waveform=wave, sample_rate=rate)


def onset(path):
    clip = read_audio(path)
    return clip.waveform[0].abs().argmax().item() / clip.sample_rate


def shown(path):
    request = FrameRequest(fps=24, transform=number_of)
    return [n for _, _, n in stream_frames(open_video(path), [request])]


@pytest.mark.parametrize("options", [{}, BFRAMES])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_packets_are_the_same_bit_for_bit_with_their_times(tmp_path, suffix, options):
    source, output = tmp_path / "a.mp4", tmp_path / f"b{suffix}"
    make_video(source, seconds=3, fps="30000/1001", options=options)
    mux(source, click(), output)
    assert packets(output) == packets(source)


@pytest.mark.parametrize("options", [{}, BFRAMES])
def test_matroska_keeps_the_packets_and_their_times_to_a_millisecond(tmp_path, options):
    source, output = make_video(tmp_path / "a.mp4", seconds=3, options=options), tmp_path / "b.mkv"
    mux(source, click(), output)
    for before, after in zip(packets(source), packets(output), strict=True):
        assert (before[0], before[3]) == (after[0], after[3])
        assert abs(before[1] - after[1]) <= Fraction(1, 1000)


@pytest.mark.parametrize(
    ("source", "codec", "suffix"),
    [
        ("a.webm", "libvpx-vp9", ".webm"),
        ("a.webm", "libvpx", ".webm"),
        ("a.webm", "libvpx-vp9", ".mp4"),
        ("a.webm", "libvpx", ".mkv"),
        ("a.mkv", "libx264", ".mp4"),
        ("a.ts", "libx264", ".mp4"),
        ("a.ts", "libx264", ".mkv"),
        ("a.avi", "mpeg4", ".mp4"),
        ("a.mov", "libx265", ".mp4"),
    ],
)
def test_pictures_and_sound_agree_in_every_container(tmp_path, source, codec, suffix):
    path = make_video(tmp_path / source, seconds=2, codec=codec)
    output = tmp_path / f"out{suffix}"
    mux(path, click(1.5), output, start=0.25)
    assert shown(output) == list(range(48))
    assert onset(output) == pytest.approx(0.75, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("seconds", "rate"),
    [(3.0, 16000), (7.37, 16000), (8.0, 44100), (8.08, 44100), (3.0, 48000), (7.37, 37000)],
)
def test_sound_has_its_length_and_place(tmp_path, suffix, rate, seconds):
    source, output = make_video(tmp_path / "a.mp4", seconds=0.5), tmp_path / f"b{suffix}"
    mux(source, click(seconds, rate), output)
    made = read_audio(output)
    within = 1024 / made.sample_rate if suffix == ".mkv" else 1 / made.sample_rate
    assert made.duration == pytest.approx(seconds, abs=within)
    assert onset(output) == pytest.approx(0.5, abs=0.001)
    assert made.sample_rate == (44100 if rate == 37000 else rate)


@pytest.mark.parametrize("seconds", [3.0, 7.37])
def test_opus_in_webm_has_its_length_and_place(tmp_path, seconds):
    source = make_video(tmp_path / "a.webm", seconds=0.5, codec="libvpx")
    mux(source, click(seconds, 16000, channels=2), tmp_path / "b.webm")
    made = read_audio(tmp_path / "b.webm")
    assert (made.sample_rate, made.waveform.shape[0]) == (48000, 2)
    assert made.duration == pytest.approx(seconds, abs=0.001)
    assert onset(tmp_path / "b.webm") == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("start", [0.0, 0.1, 1.2345])
def test_sound_begins_where_it_was_put_with_silence_before(tmp_path, suffix, start):
    source, output = make_video(tmp_path / "a.mp4", seconds=3), tmp_path / f"b{suffix}"
    mux(source, click(1.0, 48000), output, start=start)
    made = read_audio(output)
    assert onset(output) == pytest.approx(start + 0.5, abs=0.001)
    assert made.waveform[:, : max(0, round((start - 0.03) * 48000))].abs().sum() < 1e-2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("source", ["mp4", "mkv", "ts"])
def test_a_video_that_begins_late_stays_in_sync(tmp_path, suffix, source):
    path = make_video(tmp_path / f"a.{source}", seconds=2, offset=Fraction(3, 4), options=BFRAMES)
    output = tmp_path / f"b{suffix}"
    mux(path, click(1.0), output)
    assert onset(output) == pytest.approx(0.5, abs=0.001)
    assert shown(output) == list(range(48))
    assert open_video(output).origin < Fraction(1, 5)


def test_the_whole_source_is_kept_whatever_part_was_opened(tmp_path):
    source = make_video(tmp_path / "a.mp4", seconds=3)
    part = open_video(source, start=1.0, duration=0.5)
    mux(part, click(0.5, at=0.1), tmp_path / "b.mp4", start=part.start)
    assert packets(tmp_path / "b.mp4") == packets(source)
    assert onset(tmp_path / "b.mp4") == pytest.approx(1.1, abs=0.001)


def test_the_old_sound_is_left_out(tmp_path):
    source = make_video(tmp_path / "a.mp4", seconds=2, audio=sine(440, 2, 16000, 0.9).numpy())
    silence = AudioClip(waveform=torch.zeros(1, 32000), sample_rate=16000)
    mux(source, silence, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert read_audio(tmp_path / "b.mp4").waveform.abs().max() < 1e-4


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rotation_is_kept(tmp_path, suffix):
    source = make_video(tmp_path / "a.mp4", picture=quadrants, rotation=90)
    output = tmp_path / f"b{suffix}"
    mux(source, click(), output)
    before, after = open_video(source), open_video(output)
    assert (after.width, after.height) == (64, 96)
    assert after.orientation == before.orientation


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_tags_are_kept_and_added(tmp_path, suffix):
    source = make_video(tmp_path / "a.mp4", metadata={"title": "Old", "artist": "Someone"})
    output = tmp_path / f"b{suffix}"
    mux(source, click(), output, metadata={"title": "New", "wavflow": '{"seed": 7}'})
    with av.open(str(output)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert (tags["title"], tags["artist"], tags["wavflow"]) == ("New", "Someone", '{"seed": 7}')


def test_the_source_may_be_in_memory(tmp_path):
    source = make_video(tmp_path / "a.mp4")
    mux(io.BytesIO(source.read_bytes()), click(), tmp_path / "b.mp4")
    assert packets(tmp_path / "b.mp4") == packets(source)


def test_the_output_may_be_the_source(tmp_path):
    source = make_video(tmp_path / "a.mp4", seconds=2)
    before = packets(source)
    mux(source, click(), source)
    assert packets(source) == before
    assert onset(source) == pytest.approx(0.5, abs=0.001)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("b.gif", {}, r"the suffix is '.gif'; allowed: .mp4, .m4v, .mov, .mkv, .webm"),
        ("b.webm", {}, r"cannot hold h264 video; choose one of .mp4, .m4v, .mov, .mkv\."),
        ("b.mp4", {"start": -1.0}, "start is -1.0; it must be 0 or more"),
        ("b.mp4", {"start": math.nan}, "start is nan"),
        ("none/b.mp4", {}, "does not exist; create it first"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, output, options, message):
    source = make_video(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=message):
        mux(source, click(), tmp_path / output, **options)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


def test_a_source_that_is_no_video_is_refused(tmp_path):
    with pytest.raises(MediaError, match="does not exist"):
        mux(tmp_path / "none.mp4", click(), tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_never_harms_the_source_and_leaves_no_part(tmp_path, monkeypatch, error):
    source = make_video(tmp_path / "a.mp4", seconds=2)
    before = source.read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr("wavflow_core.media.encode._quantise", fail)
    expected = MediaError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        mux(source, click(), source)
    assert source.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


def test_progress_counts_the_seconds_up_to_the_end(tmp_path):
    source, seen = make_video(tmp_path / "a.mp4", seconds=3, options=BFRAMES), []
    mux(source, click(), tmp_path / "b.mp4", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert 2.8 < seen[-1] <= 3
    # Sound and pictures are written side by side, so that nothing waits for one of them.
    assert len(seen) > len(packets(source))


def test_progress_may_cancel_and_nothing_is_written(tmp_path):
    source = make_video(tmp_path / "a.mp4", seconds=3)

    def cancel(seconds):
        if seconds > 1:
            raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        mux(source, click(), tmp_path / "b.mp4", progress=cancel)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


def test_a_source_that_is_cut_off_is_copied_as_far_as_it_goes(tmp_path, caplog):
    whole = make_video(tmp_path / "a.mp4", seconds=5, container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    source = tmp_path / "cut.mp4"
    source.write_bytes(data[: int(0.6 * len(data))])
    with caplog.at_level(logging.WARNING):
        mux(source, click(), tmp_path / "b.mp4")
    kept = packets(tmp_path / "b.mp4")
    assert 10 < len(kept) < 120
    assert "is damaged or cut off: only" in caplog.text
    assert onset(tmp_path / "b.mp4") == pytest.approx(0.5, abs=0.001)
