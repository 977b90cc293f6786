"""What the nodes convert, as far as it needs no ComfyUI."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pack():
    """The pack as ComfyUI imports it, under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        "wavflow_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["wavflow_pack"] = module
    spec.loader.exec_module(module)
    yield lambda name: importlib.import_module("wavflow_pack." + name)
    for name in [item for item in sys.modules if item.split(".")[0] == "wavflow_pack"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def convert(pack):
    return pack("nodes.convert")


@pytest.fixture(scope="module")
def features(pack):
    return pack("wavflow_core.features").Features


def test_audio_comes_back_as_it_went_with_batch_and_channels(convert):
    audio = {"waveform": torch.rand(3, 2, 100), "sample_rate": 44100}
    clips = convert.to_clips(audio)
    assert [clip.waveform.shape for clip in clips] == [(2, 100)] * 3
    again = convert.from_clips(clips)
    assert torch.equal(again["waveform"], audio["waveform"])
    assert again["sample_rate"] == 44100


def test_audio_that_is_none_or_of_another_shape_is_told(convert):
    with pytest.raises(ValueError, match="audio holds no sound"):
        convert.to_clips(None)
    with pytest.raises(ValueError, match=r"waveform of \(2, 100\); it must be \(batch"):
        convert.to_clips({"waveform": torch.rand(2, 100), "sample_rate": 16000})


def test_features_of_three_sockets_become_one_record(convert, features):
    clip = features(clip=torch.rand(16, 64), duration=2.0)
    sync = features(sync=torch.rand(24, 64), duration=2.0)
    text = features(text=torch.rand(77, 64), duration=8.0)
    made = convert.merge_features(clip, sync, text)
    assert made.duration == 2.0
    assert made.clip is clip.clip
    assert made.sync is sync.sync
    assert made.text is text.text
    assert convert.merge_features(text=text).duration == 8.0


def test_empty_features_count_as_none(convert, features):
    assert convert.merge_features() is None
    assert convert.merge_features(text=features(duration=8.0)) is None


def test_features_of_different_durations_are_refused(convert, features):
    clip = features(clip=torch.rand(16, 64), duration=2.0)
    sync = features(sync=torch.rand(24, 64), duration=3.0)
    with pytest.raises(ValueError, match="CLIP features 2 s and sync features 3 s"):
        convert.merge_features(clip, sync)


def test_a_prompt_read_by_another_clip_than_the_pictures_is_refused(pack, convert, features):
    config = pack("wavflow_core.config").EncoderConfig
    one = config(architecture="clip_tiny", fingerprint="a" * 12)
    other = config(architecture="clip_tiny", fingerprint="b" * 12)
    clip = features(clip=torch.rand(16, 64), duration=2.0, clip_encoder=one)
    text = features(text=torch.rand(77, 64), duration=8.0, clip_encoder=other)
    with pytest.raises(ValueError, match="clip_tiny \\(a+\\) and the text with clip_tiny"):
        convert.merge_features(clip, text=text)


def test_images_at_a_rate_last_as_long_as_they_are_shown(convert):
    images = torch.rand(48, 4, 4, 4)  # with transparency
    footage = convert.images_to_footage(images, fps=23.976, start=0.5)
    assert footage.images.shape == (48, 4, 4, 3)
    assert footage.seconds == pytest.approx(48 / 23.976 - 0.5)
    with pytest.raises(ValueError, match="48 images at 24 fps last only 2.000 s"):
        convert.images_to_footage(images, fps=24, start=2.0)
    with pytest.raises(ValueError, match="fps is 0"):
        convert.images_to_footage(images, fps=0)
    with pytest.raises(ValueError, match="images have shape"):
        convert.images_to_footage(images[:0], fps=24)
