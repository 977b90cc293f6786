import math

import pytest
import torch
from support.training import features, make_clip, run_config

from training.clips import HOP_SECONDS, ClipReader, cut_window
from wavflow_core.config import AudioConfig, WavFlowConfig
from wavflow_core.errors import FeatureError, MediaError
from wavflow_core.features.store import Features
from wavflow_core.presets import get_preset

LENGTHS = WavFlowConfig().lengths(8.0)


def long_features(seconds=12.0):
    """Rows that say where they come from: frame or token number in the first column."""
    clip_rows, sync_rows = int(8 * seconds), 8 * ((int(25 * seconds) - 16) // 8 + 1)
    return Features(
        clip=torch.arange(clip_rows).float()[:, None].repeat(1, 3),
        sync=torch.arange(sync_rows).float()[:, None].repeat(1, 2),
        text=torch.ones(5, 4),
        duration=seconds,
    )


@pytest.mark.parametrize("crop", [0.0, 0.2, 0.5, 0.999999])
def test_sound_motion_and_pictures_of_a_window_begin_together(crop):
    cut, start = cut_window(long_features(), LENGTHS, seconds=12.0, window=8.0, crop=crop)
    assert cut.clip.shape == (64, 3)
    assert cut.sync.shape == (192, 2)
    # A segment of 8 tokens begins every 8 frames at 25 per second.
    assert cut.sync[0, 0].item() / 8 * 8 / 25 == pytest.approx(start)
    assert abs(cut.clip[0, 0].item() / 8 - start) <= 1 / 16
    assert start + 8.0 <= 12.0
    assert cut.duration == 8.0


def test_every_window_that_fits_is_chosen_and_no_other():
    starts = {
        round(cut_window(long_features(), LENGTHS, seconds=12.0, window=8.0, crop=i / 500)[1], 6)
        for i in range(500)
    }
    assert starts == {round(i * HOP_SECONDS, 6) for i in range(math.floor(4.0 / HOP_SECONDS) + 1)}


@pytest.mark.parametrize("seconds", [9.0, 8.0, 2.0])
def test_a_sound_that_ends_earlier_keeps_the_window_inside_of_it(seconds):
    _, start = cut_window(long_features(), LENGTHS, seconds=seconds, window=8.0, crop=0.99)
    assert start <= max(0.0, seconds - 8.0)


def test_text_alone_can_begin_at_any_segment_of_the_sound():
    only_text = Features(text=torch.ones(5, 4), duration=8.0)
    cut, start = cut_window(only_text, LENGTHS, seconds=20.0, window=8.0, crop=0.999)
    assert start == pytest.approx(math.floor(12 / HOP_SECONDS) * HOP_SECONDS)
    assert cut.clip is None
    assert torch.equal(cut.text, only_text.text)


def test_features_that_are_too_short_are_refused():
    message = r"have 32 CLIP rows and 88 sync rows \(4 s\), but the window of 8 s needs 64 and 192"
    with pytest.raises(FeatureError, match=message):
        cut_window(long_features(4.0), LENGTHS, seconds=12.0, window=8.0, crop=0.0)


def test_sounds_come_mono_at_the_rate_and_are_kept_within_the_memory_given(tmp_path):
    rows = [make_clip(tmp_path, f"clip{i}") for i in range(3)]
    reader = ClipReader(get_preset("tiny"), cache_bytes=2.5 * 16000 * 4)
    first = reader.sound(rows[0])
    assert first.shape == (1, 16000)
    assert reader.sound(rows[0]) is first
    for row in rows[1:]:
        reader.sound(row)
    assert reader.sound(rows[0]) is not first
    assert torch.equal(reader.sound(rows[0]), first)


def test_a_rate_other_than_the_models_is_changed(tmp_path):
    config = WavFlowConfig(audio=AudioConfig(sample_rate=8000))
    assert ClipReader(config, cache_bytes=0).sound(make_clip(tmp_path, "a")).shape == (1, 8000)


def test_a_modality_that_the_manifest_denies_is_not_shown(tmp_path):
    from dataclasses import replace

    row = make_clip(tmp_path, "a")
    reader = ClipReader(run_config(tmp_path).wavflow, cache_bytes=0)
    assert reader.features(row).clip is not None
    silent = reader.features(replace(row, has_video=False, has_text=False))
    assert silent.clip is silent.sync is silent.text is None


def test_what_a_clip_lacks_is_named(tmp_path):
    from dataclasses import replace

    row = make_clip(tmp_path, "a")
    reader = ClipReader(get_preset("tiny"), cache_bytes=0)
    with pytest.raises(MediaError, match="names no sound"):
        reader.sound(replace(row, audio=None))
    with pytest.raises(FeatureError, match="names no features"):
        reader.features(replace(row, features=None))
    other = ClipReader(get_preset("medium_16k"), cache_bytes=0)
    with pytest.raises(FeatureError, match="CLIP encoder given is clip_tiny"):
        other.features(row)


def test_the_test_data_are_what_they_say():
    assert features("x", seconds=1.0).sync.shape == (16, 64)
