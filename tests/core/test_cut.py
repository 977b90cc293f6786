"""A part of a video becomes a video that shows the same at the same times."""

from fractions import Fraction

import av
import pytest
import torch
from support.media import make_video, number_of, quadrants

from wavflow_core.errors import MediaError
from wavflow_core.media.cut import save_images, save_part
from wavflow_core.media.video import FrameRequest, open_video, stream_frames


def shown(path, fps, *, start=0.0, duration=None):
    """Numbers seen at a constant rate."""
    clip = open_video(path, start=start, duration=duration)
    request = FrameRequest(fps=fps, transform=lambda picture: picture)
    return [number_of(picture) for _, _, picture in stream_frames(clip, [request])]


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(25, 2)])
@pytest.mark.parametrize("start", [0.0, 0.5, 1.27])
def test_a_cut_shows_what_the_part_shows(tmp_path, fps, start):
    source = make_video(tmp_path / "a.mp4", fps=fps, seconds=4)
    save_part(open_video(source, start=start, duration=1.5), tmp_path / "cut.mp4")
    for rate in (8, 25):
        assert shown(tmp_path / "cut.mp4", rate) == shown(source, rate, start=start, duration=1.5)
    assert open_video(tmp_path / "cut.mp4").total == pytest.approx(1.5, abs=0.002)


def test_a_variable_rate_is_kept(tmp_path):
    times = [0, Fraction(1, 10), Fraction(1, 2), Fraction(6, 10), Fraction(3, 2), Fraction(8, 5)]
    source = make_video(tmp_path / "a.mp4", times=times)
    save_part(open_video(source, start=0.3, duration=1.2), tmp_path / "cut.mp4")
    assert shown(tmp_path / "cut.mp4", 25) == shown(source, 25, start=0.3, duration=1.2)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_is_upright_afterwards(tmp_path, rotation):
    source = make_video(tmp_path / "a.mp4", rotation=rotation, picture=quadrants, seconds=0.5)
    save_part(open_video(source), tmp_path / "cut.mp4")
    request = FrameRequest(fps=8, limit=1, transform=lambda picture: picture.float())
    [before], [after] = (
        [item for _, _, item in stream_frames(open_video(path), [request])]
        for path in (source, tmp_path / "cut.mp4")
    )
    assert after.shape == before.shape
    assert (after - before).abs().mean() < 12


def test_pictures_that_change_their_size_on_the_way_stay_whole(tmp_path):
    parts = []
    for name, size, offset in (("small", (96, 64), 0), ("large", (192, 128), 2)):
        path = make_video(tmp_path / f"{name}.ts", size=size, seconds=2, offset=offset)
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    save_part(open_video(joined), tmp_path / "cut.mp4")
    assert shown(tmp_path / "cut.mp4", 12) == shown(joined, 12)


@pytest.mark.parametrize("rotation", [None, 90])
def test_pixels_that_are_not_square_stay_so(tmp_path, rotation):
    source = make_video(
        tmp_path / "a.mp4", options={"x264-params": "sar=16/11"}, rotation=rotation, seconds=0.5
    )
    save_part(open_video(source), tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as file:
        found = file.streams.video[0].sample_aspect_ratio
    assert found == (Fraction(11, 16) if rotation else Fraction(16, 11))


def test_pictures_in_memory_keep_their_colours_rate_and_even_size(tmp_path):
    images = torch.zeros(10, 33, 47, 3)
    images[:] = torch.tensor([0.8, 0.3, 0.1])
    save_images(images, Fraction(24000, 1001), tmp_path / "a.mp4")
    clip = open_video(tmp_path / "a.mp4")
    assert (clip.width, clip.height) == (46, 32)
    assert clip.frame_rate == Fraction(24000, 1001)
    with av.open(str(tmp_path / "a.mp4")) as file:
        frames = [
            torch.from_numpy(item.to_ndarray(format="rgb24")) for item in file.decode(video=0)
        ]
    assert len(frames) == 10
    colour = frames[5].float().mean(dim=(0, 1)) / 255
    torch.testing.assert_close(colour, torch.tensor([0.8, 0.3, 0.1]), atol=0.02, rtol=0)


def test_cancelling_leaves_no_file(tmp_path):
    source = make_video(tmp_path / "a.mp4", seconds=2)

    def cancel(seconds):
        if seconds > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_part(open_video(source), tmp_path / "cut.mp4", progress=cancel)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("shape", "fps", "message"),
    [
        ((0, 8, 8, 3), 25, r"shape \(0, 8, 8, 3\)"),
        ((2, 8, 8, 4), 25, r"it must be \(N, H, W, 3\)"),
        ((2, 8, 8, 3), 0, "fps is 0; it must be above 0"),
    ],
)
def test_mistakes_are_explained(tmp_path, shape, fps, message):
    with pytest.raises(MediaError, match=message):
        save_images(torch.zeros(shape), fps, tmp_path / "a.mp4")
