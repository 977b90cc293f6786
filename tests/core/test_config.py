from dataclasses import replace

import pytest

from wavflow_core.config import (
    AudioConfig,
    EncoderConfig,
    FlowConfig,
    ModelConfig,
    SamplerConfig,
    WavFlowConfig,
    frame_counts,
    num_samples,
)
from wavflow_core.errors import ConfigError
from wavflow_core.presets import PRESETS, get_preset
from wavflow_core.strict import from_dict


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_the_way_through_plain_dictionaries(name):
    config = get_preset(name)
    assert WavFlowConfig.from_dict(config.to_dict()) == config


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="no preset 'big'; presets: medium_16k, medium_44k"):
        get_preset("big")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"modle": {}}, "no setting 'modle'. Did you mean 'model'"),
        ({"model": {"hidden": 3}}, "ModelConfig has no setting 'hidden'"),
        ({"model": {"hidden_dim": "896"}}, "hidden_dim is '896'; it must be int"),
        ({"model": {"depth": True}}, "depth is True; it must be int"),
        ({"model": {"depth": 3.5}}, "depth is 3.5; it must be int"),
        ({"audio": 3}, "AudioConfig needs a mapping of settings, got 3"),
        ({"clip": {}}, "EncoderConfig is incomplete: .*architecture"),
        ({"clip": {"architecture": "a", "fingerprint": 1}}, "fingerprint is 1; it must be str"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_refused_by_name(data, message):
    with pytest.raises(ConfigError, match=message):
        WavFlowConfig.from_dict(data)


def test_whole_numbers_are_welcome_where_a_fraction_is_expected():
    config = from_dict(AudioConfig, {"window": 4})
    assert config.window == 4.0
    assert isinstance(config.window, float)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AudioConfig(sample_rate=0), "sample_rate is 0; allowed: a number above 0"),
        (lambda: AudioConfig(window=float("nan")), "window is nan"),
        (lambda: AudioConfig(normalization="loud"), "allowed: reference, unclipped"),
        (lambda: ModelConfig(fused_depth=12), "fused_depth is 12; allowed: 0 to depth - 1 = 11"),
        (lambda: ModelConfig(num_heads=13), "num_heads is 13"),
        (lambda: ModelConfig(hidden_dim=0), "hidden_dim is 0"),
        (lambda: FlowConfig(prediction="e"), "prediction is 'e'; allowed: x, v"),
        (lambda: FlowConfig(loss="e"), "loss is 'e'"),
        (lambda: FlowConfig(min_sigma=1.0), "min_sigma is 1.0"),
        (lambda: FlowConfig(noise_shift=1e-20), "noise_shift is 1e-20; allowed: 0.01 to 100"),
        (lambda: FlowConfig(time_mean=float("inf")), "time_mean is inf"),
        (lambda: SamplerConfig(solver="rk4"), "solver is 'rk4'; allowed: euler, heun"),
        (lambda: SamplerConfig(steps=0), "steps is 0; allowed: 1 to 10000"),
        (lambda: SamplerConfig(cfg=float("nan")), "cfg is nan"),
        (lambda: SamplerConfig(cfg_end=1.5), "cfg_end is 1.5; allowed: 0 to 1"),
        (lambda: FlowConfig(cfg_end=float("nan")), "cfg_end is nan; allowed: 0 to 1"),
        (lambda: SamplerConfig(rtol=0.0), "rtol is 0.0"),
        (lambda: SamplerConfig(noise_shift=-1.0), "noise_shift is -1.0; allowed: 0.01 to 100"),
        (lambda: num_samples(0, 16000), "duration is 0; allowed: seconds above 0, at most 600"),
        (lambda: num_samples(601, 16000), "at most 600"),
        (lambda: num_samples(float("nan"), 16000), "duration is nan"),
        (lambda: num_samples(1e-6, 16000), "at least one sample at 16000 Hz"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("preset", "duration", "expected"),
    [
        ("medium_16k", 8.0, (128000, 640, 64, 200, 192)),
        ("medium_44k", 8.0, (352800, 1764, 64, 200, 192)),
        ("medium_16k", 8.08, (129280, 647, 64, 202, 192)),
        ("medium_16k", 7.37, (117920, 590, 58, 184, 176)),
        ("medium_16k", 3.0, (48000, 240, 24, 75, 64)),
        ("medium_16k", 0.1, (1600, 8, 1, 16, 8)),
        ("small_16k", 4.0, (64000, 640, 32, 100, 88)),
    ],
)
def test_sequence_lengths_follow_the_duration(preset, duration, expected):
    lengths = get_preset(preset).lengths(duration)
    assert (
        lengths.samples,
        lengths.tokens,
        lengths.clip_frames,
        lengths.sync_frames,
        lengths.sync_tokens,
    ) == expected


def test_a_token_rate_must_be_that_of_the_patches():
    config = get_preset("small_16k")
    assert config.model.token_rate == config.audio.sample_rate / config.model.patch_size
    with pytest.raises(ConfigError, match=r"token_rate is 80.*allowed: 160 "):
        replace(config, model=replace(config.model, token_rate=80.0))
    with pytest.raises(ConfigError, match="token_rate is 160.*allowed: 320"):
        replace(config, model=replace(config.model, patch_size=50))


def test_parts_of_a_sync_token_need_a_token_rate():
    with pytest.raises(ConfigError, match="sync_parts is 2.*allowed: 1, unless token_rate"):
        ModelConfig(sync_parts=2)
    with pytest.raises(ConfigError, match="sync_parts is 0"):
        ModelConfig(sync_parts=0)


def test_durations_that_binary_fractions_miss_keep_their_frame():
    # 4.6 s at 25 frames per second are 115 frames, though 4.6 * 25 is 114.99999999999999.
    assert 4.6 * 25 < 115
    assert frame_counts(4.6)[1] == 115


def test_derived_widths_are_those_of_the_published_models():
    config = get_preset("medium_16k").model
    assert (config.joint_depth, config.head_dim, config.mlp_dim) == (4, 64, 2560)


def test_an_encoder_is_accepted_by_architecture_and_where_known_by_weights():
    any_weights = EncoderConfig(architecture="a")
    one, two = (EncoderConfig(architecture="a", fingerprint=x) for x in ("1", "2"))
    assert any_weights.accepts(one)
    assert one.accepts(any_weights)
    assert one.accepts(one)
    assert not one.accepts(two)
    assert not any_weights.accepts(EncoderConfig(architecture="b"))
    assert str(one) == "a (1)"
