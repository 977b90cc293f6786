"""Pictures as the encoders read them."""

import json

import pytest
import torch
from support import golden

from wavflow_core.errors import FeatureError
from wavflow_core.features.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    clip_frame,
    normalize_clip,
    normalize_sync,
    sync_frame,
)
from wavflow_core.media.video import FrameRequest, open_video, stream_frames


@pytest.mark.parametrize("clip", ["animal_frog", "music_drum"])
def test_frames_of_real_clips_equal_the_goldens_in_every_byte(clip):
    tensors, metadata = golden.load("video_frames.safetensors")
    video = open_video(golden.path_of(f"{clip}.mp4"))
    requests = [
        FrameRequest(fps=8, limit=64, transform=lambda frame: clip_frame(frame, 384)),
        FrameRequest(fps=25, limit=200, transform=sync_frame),
    ]
    frames = [[], []]
    for index, _, frame in stream_frames(video, requests):
        frames[index].append(frame)
    for name, made in zip(("clip", "sync"), frames, strict=True):
        chosen = metadata[f"{name}_indices"]
        chosen = json.loads(chosen) if isinstance(chosen, str) else chosen
        for place, n in enumerate(chosen):
            assert torch.equal(made[n], tensors[f"{clip}.{name}_uint8"][place])
        means = torch.stack([frame.float().mean() for frame in made])
        torch.testing.assert_close(means, tensors[f"{clip}.{name}_mean"], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("height", "width"), [(240, 320), (320, 240), (224, 224), (225, 224), (100, 301), (1, 1)]
)
def test_every_size_of_frame_becomes_a_square(height, width):
    frame = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    assert clip_frame(frame, 96).shape == (3, 96, 96)
    cut = sync_frame(frame)
    assert cut.shape == (3, 224, 224)
    assert cut.dtype == torch.uint8


def test_a_flat_picture_keeps_its_colour():
    frame = torch.tensor([10, 128, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 120, 90)
    for made in (clip_frame(frame, 64), sync_frame(frame)):
        assert torch.equal(made.amin((1, 2)), frame[:, 0, 0])
        assert torch.equal(made.amax((1, 2)), frame[:, 0, 0])


def test_a_frame_of_the_right_size_is_not_touched():
    frame = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    assert torch.equal(sync_frame(frame), frame)
    assert torch.equal(clip_frame(frame, 224), frame)


def test_sync_frames_are_cut_in_the_middle():
    frame = torch.zeros(3, 224, 424, dtype=torch.uint8)
    frame[:, :, 100:324] = 200
    assert sync_frame(frame).unique().tolist() == [200]


def test_transposing_the_frame_transposes_the_result():
    rows, columns = torch.linspace(0, 6, 180)[:, None], torch.linspace(0, 9, 320)
    frame = ((rows.sin() + columns.cos() + 2) * 60).to(torch.uint8).expand(3, -1, -1)
    across, down = sync_frame(frame), sync_frame(frame.transpose(1, 2))
    difference = (across.transpose(1, 2).int() - down.int()).abs().max()
    assert difference <= 2  # the two directions are rounded in another order


def test_colours_are_scaled_as_the_encoders_expect():
    black, white = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((2, 3, 4, 4), 255)
    assert normalize_sync(black).unique().tolist() == [-1]
    assert normalize_sync(white.byte()).unique().tolist() == [1]
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    torch.testing.assert_close(normalize_clip(black)[0, :, 0, 0], -mean / std)
    torch.testing.assert_close(normalize_clip(white.byte())[1, :, 3, 3], (1 - mean) / std)


@pytest.mark.parametrize(
    "frame",
    [torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(3, 0, 8).byte()],
)
def test_what_is_no_picture_is_refused(frame):
    for transform in (sync_frame, lambda frame: clip_frame(frame, 8)):
        with pytest.raises(FeatureError, match=r"must be an RGB picture \(3, H, W\)"):
            transform(frame)
