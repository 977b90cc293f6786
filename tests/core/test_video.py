import gc
import io
import logging
import random
from fractions import Fraction

import av
import pytest
import torch
import torch.nn.functional as F
from support import golden
from support.media import fps_filter, make_sound, make_video, number_of, quadrants, sine

from wavflow_core.errors import MediaError
from wavflow_core.media.selection import TimedFrame, select_frames
from wavflow_core.media.video import FrameRequest, open_video, stream_frames, stream_images


def shown(source, fps=24, limit=None, **part):
    request = FrameRequest(fps=fps, limit=limit, transform=number_of)
    return [item for _, _, item in stream_frames(open_video(source, **part), [request])]


def variable_times(count=60, seed=1):
    steps = random.Random(seed)
    times = [Fraction(0)]
    while len(times) < count:
        times.append(times[-1] + Fraction(steps.choice([10, 20, 33, 40, 41, 100, 250]), 1000))
    return times


# --- the choice of frames


@pytest.mark.parametrize(("clip", "n8", "n25"), [("music_drum", 65, 202), ("animal_frog", 66, 205)])
def test_real_clips_give_the_reference_s_frames_bit_for_bit(clip, n8, n25):
    tensors, metadata = golden.load("video_frames.safetensors")

    def square(frame):
        return F.interpolate(frame[None], size=(384, 384), mode="bicubic", antialias=True)[0]

    def crop(frame):
        wide = int(224 * frame.shape[2] / frame.shape[1])
        small = F.interpolate(frame[None], size=(224, wide), mode="bicubic", antialias=True)[0]
        left = round((wide - 224) / 2)
        return small[:, :, left : left + 224]

    requests = [FrameRequest(fps=8, transform=square), FrameRequest(fps=25, transform=crop)]
    frames = [[], []]
    for index, n, frame in stream_frames(open_video(golden.path_of(f"{clip}.mp4")), requests):
        assert n == len(frames[index])
        frames[index].append(frame)
    assert metadata["counts"][clip] == {"n8": n8, "n25": n25}
    assert [len(item) for item in frames] == [n8, n25]
    for made, kind, count in ((frames[0], "clip", 64), (frames[1], "sync", 200)):
        mean = torch.stack([frame.float().mean() for frame in made[:count]])
        torch.testing.assert_close(mean, tensors[f"{clip}.{kind}_mean"], rtol=0, atol=1e-4)
        for index, picture in enumerate(tensors[f"{clip}.{kind}_uint8"]):
            assert torch.equal(made[metadata[f"{kind}_indices"][index]], picture)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("source_fps", ["24000/1001", "24", "30000/1001", "60", "12"])
def test_frames_are_those_of_ffmpeg_s_fps_filter(tmp_path, suffix, source_fps):
    path = make_video(tmp_path / f"a.{suffix}", fps=source_fps, seconds=1.7)
    for fps in (1, 8, 24, 25, 60):
        assert shown(path, fps) == fps_filter(path, fps), fps


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate_works_by_timestamps(tmp_path, suffix):
    path = make_video(tmp_path / f"a.{suffix}", times=variable_times(), fps=25)
    for fps in (8, 24, 25, 30):
        assert shown(path, fps) == fps_filter(path, fps), fps


def test_selection_follows_its_definition():
    times = variable_times(40, seed=2)
    frames = [TimedFrame(time, Fraction(1, 25), n) for n, time in enumerate(times)]
    chosen = {8: [], 25: []}
    for index, n, frame in select_frames(frames, [(8, None), (25, None)]):
        rate = (8, 25)[index]
        assert n == len(chosen[rate])
        chosen[rate].append(frame)
    for rate, made in chosen.items():
        places = [(time * rate + Fraction(1, 2)) // 1 for time in times]
        count = ((times[-1] + Fraction(1, 25)) * rate + Fraction(1, 2)) // 1
        expected = [max(i for i, r in enumerate(places) if r <= n) for n in range(count)]
        assert made == expected


def test_selection_stops_reading_as_soon_as_it_has_enough():
    read = []

    def source():
        for n in range(1000):
            read.append(n)
            yield TimedFrame(Fraction(n, 24), Fraction(1, 24), n)

    assert len(list(select_frames(source(), [(8, 4), (25, 6)]))) == 10
    assert len(read) < 15


def test_one_frame_is_at_least_one_output_and_none_is_none():
    frame = TimedFrame(Fraction(0), Fraction(1, 1000), "a")
    assert list(select_frames([frame], [(8, None)])) == [(0, 0, "a")]
    assert list(select_frames([], [(8, None), (25, 3)])) == []


def test_images_in_memory_are_chosen_like_the_frames_of_a_file(tmp_path):
    path = make_video(tmp_path / "a.mp4", seconds=1.7)
    numbers = torch.arange(41).view(-1, 1, 1, 1).expand(-1, 2, 2, 3) / 255
    request = FrameRequest(fps=25, transform=lambda frame: int(frame[0, 0, 0]))
    made = [item for _, _, item in stream_images(numbers, 24.0, [request])]
    assert made == shown(path, 25)


@pytest.mark.parametrize(("start", "duration"), [(0.5, None), (0.51, 0.7), (1.69, None)])
def test_a_part_of_images_gives_the_frames_that_the_part_of_the_file_gives(
    tmp_path, start, duration
):
    path = make_video(tmp_path / "a.mp4", seconds=1.7)
    numbers = torch.arange(41).view(-1, 1, 1, 1).expand(-1, 2, 2, 3) / 255
    request = FrameRequest(fps=25, limit=30, transform=lambda frame: int(frame[0, 0, 0]))
    part = {"start": start, "duration": duration}
    made = [item for _, _, item in stream_images(numbers, 24.0, [request], **part)]
    assert made == shown(path, 25, 30, **part)
    with pytest.raises(MediaError, match=r"start is 2 s, but the pictures last 1.708 s at 24"):
        stream_images(numbers, 24.0, [request], start=2)


def test_images_of_a_wrong_shape_or_rate_are_refused():
    request = FrameRequest(fps=8, transform=lambda frame: frame)
    with pytest.raises(MediaError, match=r"shape \(2, 3, 4, 4\)"):
        stream_images(torch.zeros(2, 3, 4, 4), 24, [request])
    with pytest.raises(MediaError, match="above 0"):
        stream_images(torch.zeros(2, 4, 4, 3), 0, [request])


# --- parts, limits and holding


@pytest.mark.parametrize("options", [{}, {"bf": "2", "preset": "fast"}])
def test_a_part_begins_with_the_frame_shown_at_its_start(tmp_path, options):
    path = make_video(tmp_path / "a.mp4", seconds=5, gop=30, options=options)
    assert shown(path, start=2.0) == list(range(48, 120))
    assert shown(path, start=2.1, duration=1) == list(range(50, 74))
    assert shown(path, start=4.99) == [119]
    assert shown(path, fps=8, start=3.5, duration=0.5) == [
        85,
        88,
        91,
        94,
    ]  # rounded to the nearest eighth


def test_a_source_in_memory_is_read_like_a_file(tmp_path):
    path = make_video(tmp_path / "a.mp4", seconds=3)
    data = io.BytesIO(path.read_bytes())
    assert shown(data, start=2.0) == shown(path, start=2.0)


def test_the_last_frame_is_held_as_the_same_tensor_and_said_once(tmp_path, caplog):
    path = make_video(tmp_path / "a.mp4", seconds=1)
    calls = []

    def transform(frame):
        calls.append(number_of(frame))
        return frame.clone()

    request = FrameRequest(fps=8, limit=20, transform=transform)
    with caplog.at_level(logging.WARNING):
        made = [frame for _, _, frame in stream_frames(open_video(path), [request])]
    assert len(made) == 20
    assert all(frame is made[8] for frame in made[9:])
    assert len(calls) == 9
    assert [record.message for record in caplog.records] == [
        "The picture ends at 1.00 s; its last frame is held for 1.50 s more."
    ]


def test_holding_one_frame_is_not_worth_a_word(tmp_path, caplog):
    path = make_video(tmp_path / "a.mp4", seconds=1)
    with caplog.at_level(logging.WARNING):
        assert len(shown(path, fps=8, limit=9)) == 9
    assert not caplog.records


def test_only_frames_that_are_shown_are_converted_and_each_once(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", fps=60, seconds=2)
    converted = []
    monkeypatch.setattr(
        "wavflow_core.media.video.to_rgb",
        lambda frame, **_: converted.append(frame.pts) or frame.pts,
    )
    requests = [FrameRequest(fps=fps, limit=fps, transform=lambda item: item) for fps in (8, 24)]
    made = list(stream_frames(open_video(path), requests))
    assert len(made) == 32
    assert sorted(converted) == sorted({item for _, _, item in made})


def test_frames_do_not_wait_for_the_garbage_collector(tmp_path):
    path = make_video(tmp_path / "a.mp4", seconds=4)
    request = FrameRequest(fps=24, transform=number_of)
    video = open_video(path)
    gc.collect()
    gc.disable()
    try:
        alive = [
            sum(type(item) is av.VideoFrame for item in gc.get_objects())
            for _, n, _ in stream_frames(video, [request])
            if n % 30 == 29
        ]
    finally:
        gc.enable()
    assert len(alive) == 3
    assert max(alive) < 12


def test_no_requests_read_nothing(tmp_path):
    assert list(stream_frames(open_video(make_video(tmp_path / "a.mp4")), [])) == []


@pytest.mark.parametrize("closing", ["exception", "close"])
def test_stopping_early_closes_the_file(tmp_path, monkeypatch, closing):
    path = make_video(tmp_path / "a.mp4", seconds=3)
    video = open_video(path)
    opened, plain = [], av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(plain(*a, **k)) or opened[-1])

    class Stopped(Exception):
        pass

    def transform(frame):
        if closing == "exception":
            raise Stopped
        return frame

    frames = stream_frames(video, [FrameRequest(fps=8, transform=transform)])
    if closing == "exception":
        with pytest.raises(Stopped):
            next(frames)
    else:
        next(frames)
        frames.close()
    gc.collect()
    with pytest.raises(AssertionError, match="not open"):
        _ = opened[0].duration or opened[0].seek(0)


# --- what is in a file


def test_a_clip_says_what_is_in_the_file(tmp_path):
    sound = sine(440, 2, 16000).numpy()
    video = open_video(make_video(tmp_path / "a.mp4", seconds=1.5, audio=sound), start=0.5)
    assert (video.width, video.height, video.frame_rate) == (96, 64, 24)
    assert (video.total, video.seconds, video.has_audio) == (1.5, 1.0, True)
    assert not open_video(make_video(tmp_path / "b.mp4")).has_audio


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_time_zero_is_the_first_frame_whatever_its_timestamp(tmp_path, suffix):
    plain = make_video(tmp_path / f"a.{suffix}", seconds=2)
    late = make_video(tmp_path / f"b.{suffix}", seconds=2, offset=Fraction(3, 2))
    assert shown(late, 8) == shown(plain, 8)
    assert shown(late, 25, start=1.2) == shown(plain, 25, start=1.2)


def corners(source):
    request = FrameRequest(fps=1, limit=1, transform=lambda frame: frame)
    _, _, frame = next(stream_frames(open_video(source), [request]))
    height, width = frame.shape[1:]
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    places = [(y, x) for y in (8, height - 8) for x in (8, width - 8)]
    return (width, height), "".join(
        names[tuple((frame[:, y, x] > 128).int().tolist())] for y, x in places
    )


UNIT = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "size", "expected"),
    [
        (None, (96, 64), "RGBW"),
        ((0, UNIT, -UNIT, 0), (64, 96), "BRWG"),  # a phone held upright: a quarter clockwise
        ((0, -UNIT, UNIT, 0), (64, 96), "GWRB"),
        ((-UNIT, 0, 0, -UNIT), (96, 64), "WBGR"),
        ((-UNIT, 0, 0, UNIT), (96, 64), "GRWB"),  # a mirror
    ],
)
def test_frames_come_upright(tmp_path, matrix, size, expected):
    full = matrix and [matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1 << 30]
    path = make_video(tmp_path / "a.mp4", picture=quadrants, matrix=full)
    video = open_video(path)
    assert (video.width, video.height) == size
    assert corners(path) == (size, expected)


def test_rotation_agrees_with_pyav_s_reading_of_it(tmp_path):
    path = make_video(tmp_path / "a.mp4", picture=quadrants, rotation=90)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    turned = torch.rot90(
        torch.from_numpy(frame.to_ndarray(format="rgb24")), frame.rotation // 90
    ).permute(2, 0, 1)
    request = FrameRequest(fps=24, limit=1, transform=lambda item: item)
    _, _, made = next(stream_frames(open_video(path), [request]))
    assert torch.equal(made, turned)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("raw.h264", {}),
        ("live.webm", {"codec": "libvpx", "container_options": {"live": "1"}}),
        ("stream.ts", {}),
        ("old.avi", {"codec": "mpeg4"}),
    ],
)
def test_files_without_timestamps_length_or_index_are_read_whole(tmp_path, name, options):
    path = make_video(tmp_path / name, fps=25, seconds=3, **options)
    assert open_video(path).total == pytest.approx(3, abs=0.09)
    assert shown(path, 25) == list(range(75))
    assert shown(path, 25, start=1.6)[:20] == list(range(40, 60))


def test_a_recording_joined_from_two_goes_on_where_the_first_ends(tmp_path):
    first = make_video(tmp_path / "a.ts", fps=25, seconds=3, offset=10).read_bytes()
    second = make_video(tmp_path / "b.ts", fps=25, seconds=2).read_bytes()
    joined = tmp_path / "c.ts"
    joined.write_bytes(first + second)
    made = shown(joined, 25)
    assert made == [*range(75), *range(50)]


def test_pictures_shorter_than_the_sound_are_whole(tmp_path):
    sound = sine(440, 6, 16000).numpy()
    for suffix in ("mp4", "mkv"):
        path = make_video(tmp_path / f"a.{suffix}", seconds=3, audio=sound)
        assert open_video(path).total == pytest.approx(3, abs=0.01)
        assert shown(path) == list(range(72))


def test_a_video_whose_beginning_an_edit_list_hides_is_whole(tmp_path):
    source, path = make_video(tmp_path / "a.mp4", seconds=5, gop=24), tmp_path / "b.mp4"
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        stream = given.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.pts -= round(2 / stream.time_base)
                packet.dts -= round(2 / stream.time_base)
                packet.stream = target
                out.mux(packet)
    assert open_video(path).total == pytest.approx(3, abs=0.05)
    assert shown(path) == list(range(48, 120))


# --- damage


def cut_off(path, *, part, source):
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


@pytest.fixture
def truncated(tmp_path):
    source = make_video(
        tmp_path / "a.mp4", seconds=5, gop=24, container_options={"movflags": "faststart"}
    )
    return cut_off(tmp_path / "cut.mp4", part=0.6, source=source)


def test_a_cut_off_file_says_how_far_it_can_be_read_when_more_is_needed(truncated):
    with pytest.raises(MediaError, match=r"up to second 1\.9\d of its 5\.00 s; choose a duration"):
        shown(truncated)
    with pytest.raises(MediaError, match="damaged or cut off"):
        shown(truncated, fps=8, limit=17)
    with pytest.raises(MediaError, match="start before"):
        shown(truncated, start=4)


def test_a_cut_off_file_is_read_where_it_is_whole(truncated, caplog):
    assert shown(truncated, duration=1.9) == list(range(46))[: len(shown(truncated, duration=1.9))]
    assert len(shown(truncated, fps=8, limit=15)) == 15
    assert shown(truncated, start=1, duration=0.5) == list(range(24, 36))


@pytest.mark.parametrize("filling", [0, None])
def test_damage_in_the_middle_is_an_error_where_it_is_needed(tmp_path, filling):
    data = bytearray(make_video(tmp_path / "a.mp4", seconds=5).read_bytes())
    noise = random.Random(0)
    for place in range(int(0.4 * len(data)), int(0.7 * len(data))):
        data[place] = noise.randrange(256) if filling is None else filling
    path = tmp_path / "b.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"up to second 2\.\d+ of its 5\.00 s"):
        shown(path)
    assert shown(path, duration=1.5) == list(range(36))


def test_one_bad_packet_is_passed_over(tmp_path):
    data = bytearray(make_video(tmp_path / "a.mp4", seconds=3, gop=6).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    path = tmp_path / "b.mp4"
    path.write_bytes(data)
    assert len(shown(path)) == 72


def test_a_file_without_its_index_is_refused(tmp_path):
    path = cut_off(tmp_path / "b.mp4", part=0.5, source=make_video(tmp_path / "a.mp4"))
    with pytest.raises(MediaError, match="not a readable video or sound file"):
        open_video(path)


def test_a_video_without_pictures_is_refused(tmp_path):
    source, path = make_video(tmp_path / "a.mkv"), tmp_path / "b.mkv"
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        out.add_stream_from_template(given.streams.video[0])
        sound = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sine(440, 1, 16000).numpy(), "fltp", "mono")
        frame.sample_rate = 16000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with pytest.raises(MediaError, match="No picture of .* can be decoded"):
        open_video(path)


# --- mistakes


def test_what_is_no_video_is_refused_in_one_clear_sentence(tmp_path):
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("not a video " * 100)
    empty.write_bytes(b"")
    sound = make_sound(tmp_path / "a.wav", sine(440, 1), 48000)
    for path, message in (
        (tmp_path / "none.mp4", "does not exist; check the path"),
        (tmp_path, "is a folder; give the file itself"),
        (text, "is not a readable video or sound file"),
        (empty, "is not a readable video or sound file"),
        (sound, "holds only sound; give a file with a video track"),
    ):
        with pytest.raises(MediaError, match=message):
            open_video(path)
    with pytest.raises(MediaError, match="the media in memory is not a readable"):
        open_video(io.BytesIO(b"no video either"))


def test_cover_art_is_not_a_video(tmp_path):
    path = tmp_path / "a.m4a"
    picture = av.CodecContext.create("mjpeg", "w")
    picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
    picture.time_base = Fraction(1, 25)
    (packet,) = picture.encode(av.VideoFrame(32, 32, "yuvj420p"))
    with av.open(str(path), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=16000, layout="mono")
        cover = out.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        frame = av.AudioFrame.from_ndarray(sine(440, 1, 16000).numpy(), "fltp", "mono")
        frame.sample_rate = 16000
        out.start_encoding()
        packet.stream = cover
        out.mux(packet)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(MediaError, match="only sound and a still cover picture"):
        open_video(path)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"start": -0.1}, "start is -0.1; it must be 0 or more"),
        ({"start": float("nan")}, "start is nan"),
        ({"start": 1.0}, r"start is 1 s, but .* is only 1.000 s long; choose an earlier start"),
        ({"duration": 0}, "duration is 0; it must be more than 0"),
        ({"duration": -2.0}, "duration is -2.0"),
        ({"duration": float("inf")}, "duration is inf"),
    ],
)
def test_a_part_outside_of_the_video_is_refused(tmp_path, part, message):
    path = make_video(tmp_path / "a.mp4", seconds=1)
    with pytest.raises(MediaError, match=message):
        open_video(path, **part)


def test_requests_that_cannot_be_met_are_refused():
    with pytest.raises(MediaError, match="fps is 0"):
        FrameRequest(fps=0, transform=lambda frame: frame)
    with pytest.raises(MediaError, match="limit is 0"):
        FrameRequest(fps=8, limit=0, transform=lambda frame: frame)
