"""Features in memory and on disk."""

import math

import pytest
import safetensors.torch
import torch

from wavflow_core.config import EncoderConfig
from wavflow_core.errors import FeatureError, MediaError
from wavflow_core.features.store import TENSORS, Features, load_features, save_features


def make(**changes):
    values = {
        "clip": torch.randn(16, 12),
        "sync": torch.randn(40, 8),
        "text": torch.randn(77, 14),
        "negative_text": torch.randn(77, 14),
        "duration": 2.1,
        "clip_encoder": EncoderConfig(architecture="clip_tiny", fingerprint="abc"),
        "sync_encoder": EncoderConfig(architecture="synchformer"),
    }
    return Features(**{**values, **changes})


def same(first, second):
    for name in TENSORS:
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)
    assert first.duration == second.duration
    assert first.clip_encoder == second.clip_encoder
    assert first.sync_encoder == second.sync_encoder


@pytest.mark.parametrize(
    "missing",
    [(), ("clip", "sync"), ("text", "negative_text"), ("negative_text",), ("clip_encoder",)],
)
def test_features_come_back_as_they_were(tmp_path, missing):
    features = make(**dict.fromkeys(missing))
    save_features(features, tmp_path / "a.safetensors")
    same(load_features(tmp_path / "a.safetensors"), features)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_any_duration_comes_back_exactly(tmp_path):
    for duration in (1 / 3, 0.64, 599.999999):
        save_features(make(duration=duration), tmp_path / "a.safetensors")
        assert load_features(tmp_path / "a.safetensors").duration == duration


def test_the_file_may_be_replaced_while_its_features_are_in_use(tmp_path):
    path = tmp_path / "a.safetensors"
    first = make()
    save_features(first, path)
    loaded = load_features(path)
    save_features(make(), path)
    same(loaded, first)


def test_one_tensor_under_two_names_and_views_are_saved(tmp_path):
    text = torch.randn(14, 77).T
    save_features(make(text=text, negative_text=text), tmp_path / "a.safetensors")
    assert torch.equal(load_features(tmp_path / "a.safetensors").negative_text, text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip": torch.randn(1, 16, 12)}, "clip has shape .* without a batch dimension"),
        ({"sync": torch.randn(40)}, "sync has shape"),
        ({"text": torch.randn(77, 14).half()}, "type torch.float16; it must be"),
        ({"clip": torch.randn(0, 12)}, "clip has shape"),
        ({"sync": torch.randn(41, 8)}, "sync has 41 tokens; it must be a multiple of 8"),
        ({"clip": torch.full((2, 2), math.nan)}, "clip holds values that are not finite"),
        ({"negative_text": torch.full((77, 14), math.inf)}, "negative_text holds values"),
        ({"negative_text": torch.randn(77, 15)}, "encode both with the same CLIP"),
        ({"duration": 0.0}, "duration is 0.0; allowed: seconds above 0, at most 600"),
        ({"duration": math.nan}, "duration is nan"),
        ({"duration": 601.0}, "duration is 601"),
    ],
)
def test_features_that_cannot_be_are_refused(changes, message):
    with pytest.raises(FeatureError, match=message):
        make(**changes)


def test_no_features_at_all_are_not_saved(tmp_path):
    with pytest.raises(FeatureError, match="no features to save"):
        save_features(make(**dict.fromkeys(TENSORS)), tmp_path / "a.safetensors")


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="does not exist"):
        save_features(make(), tmp_path / "none" / "a.safetensors")


def metadata(**changes):
    known = {"format": "wavflow.features", "version": "1", "duration": "2.0"}
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({}, metadata(format=None), "no file of WavFlow features"),
        ({}, metadata(format="wavflow.clip"), "no file of WavFlow features"),
        ({}, metadata(version="7"), "has version 7 and this WavFlow reads 1"),
        ({"audio": torch.ones(2, 2)}, metadata(), "holds audio; WavFlow features are clip, sync"),
        ({"clip": torch.ones(2)}, metadata(), "is not valid: clip has shape"),
        ({}, metadata(duration=None), "damaged metadata"),
        ({}, metadata(duration="long"), "damaged metadata"),
        ({}, metadata(duration="-1"), "is not valid: duration is -1"),
        ({}, metadata(clip_encoder="{"), "damaged metadata"),
        ({}, metadata(clip_encoder='{"name": "a"}'), "damaged metadata.*no setting 'name'"),
    ],
)
def test_files_are_read_strictly(tmp_path, tensors, header, message):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"clip": torch.ones(2, 2), **tensors}, path, header)
    with pytest.raises(FeatureError, match=message):
        load_features(path)


def test_what_is_no_file_of_tensors_is_an_error(tmp_path):
    (tmp_path / "text").write_text("hello")
    for name in ("text", "missing", "."):
        with pytest.raises(FeatureError, match="cannot be read"):
            load_features(tmp_path / name)
