"""The Wiener filters that refine a clean estimate."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from wavflow_core.config import ModelConfig, WavFlowConfig
from wavflow_core.errors import ConfigError
from wavflow_core.flow import interpolate
from wavflow_core.model import WavFlow
from wavflow_core.model.init import initialize
from wavflow_core.model.layers import LayerFactory
from wavflow_core.model.wiener import GAIN, START, WienerFilter, analyse, synthesise
from wavflow_core.presets import get_preset

WINDOW, HOP, PATCH, TOKENS = 1024, 400, 100, 160
BINS = WINDOW // 2 + 1
SMALL = get_preset("small_16k").model
PLAIN = replace(SMALL, hidden_dim=16, num_heads=2, filter_windows=())


def filter_of(log_power):
    """One that says the same powers everywhere, whatever it is given."""
    wiener = WienerFilter(PLAIN, LayerFactory(dtype=None, device=None), WINDOW)
    with torch.no_grad():
        for parameter in wiener.parameters():
            parameter.zero_()
        wiener.get_parameter("power.maps.bias")[:BINS] = (log_power - START) / GAIN
    return wiener


@torch.no_grad()
def refine(log_power, x_1, t, estimate=None, share=0.0, gate=0.0):
    x_0 = torch.randn(x_1.shape, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([t])
    x_t = interpolate(x_0, x_1, time)
    estimate = torch.zeros_like(x_1) if estimate is None else estimate
    stream, rows = torch.randn(1, TOKENS, 16), torch.zeros(TOKENS, dtype=torch.long)
    wiener = filter_of(log_power)
    wiener.get_parameter("power.conv_out.bias")[1] = share
    wiener.get_parameter("gate.bias").copy_(torch.as_tensor(gate))
    return wiener(estimate, x_t, time, stream, torch.zeros(1, 1, 16), rows)


def tone():
    return (2**0.5 * torch.sin(0.3 * torch.arange(TOKENS * PATCH))).view(1, TOKENS, PATCH)


def error(estimate, x_1):
    return (estimate - x_1)[:, 6:-6].square().mean().item()


@pytest.mark.parametrize(
    ("window", "hop"), [(1024, 400), (1024, 100), (200, 100), (255, 64), (1024, 1)]
)
def test_a_sound_is_that_of_its_spectra(window, hop):
    x = torch.randn(2, 7, hop)
    spectra = analyse(x, window, hop)
    assert spectra.shape == (2, 7, window // 2 + 1)
    assert (synthesise(spectra, window, hop) - x.flatten(1)).abs().max() < 1e-5


def test_white_noise_has_power_one_and_a_window_lies_around_the_middle_of_its_hop():
    power = analyse(torch.randn(1, 400, PATCH), WINDOW, PATCH)[:, 6:-6].abs().square()
    assert power.mean().item() == pytest.approx(1, abs=0.03)
    click = torch.zeros(1, 41, PATCH)
    click[0, 20, PATCH // 2] = 1
    heard = analyse(click, WINDOW, PATCH).abs().square().sum(-1)[0]
    assert heard.argmax() == 20
    assert (heard - heard.flip(0)).abs().max() < 1e-6


@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
def test_noise_of_known_power_has_the_error_of_its_formula(t):
    x_1 = 0.5 * torch.randn(1, TOKENS, PATCH)
    log_power = torch.full((BINS,), math.log(0.25))
    noise = (1 - t) ** 2
    expected = 0.25 * noise / (t * t * 0.25 + noise)
    assert error(refine(log_power, x_1, t), x_1) == pytest.approx(expected, rel=0.03)


def test_a_tone_of_known_pitch_is_found_where_patches_alone_do_not_show_it():
    x_1, t = tone(), 0.1
    log_power = analyse(x_1, WINDOW, HOP)[0, TOKENS // 8].abs().square().log()
    assert error(refine(log_power, x_1, t), x_1) < 0.3
    transform = torch.fft.rfft(x_1[0], norm="ortho").abs().square()
    snr = t * t * transform / (1 - t) ** 2
    oracle = ((transform / (1 + snr)).sum() / transform.sum()).item()
    assert oracle > 0.5  # one patch by itself, though its own powers were known


def test_an_estimate_that_is_right_stays_and_one_that_lacks_something_gets_it():
    x_1 = tone()
    log_power = torch.full((BINS,), 0.0)
    exact = refine(log_power, x_1, 0.8, estimate=x_1)
    assert error(exact, x_1) < error(refine(log_power, x_1, 0.8), x_1) < 0.1


def test_a_share_of_the_estimate_is_taken_away_or_added():
    x_1, nothing = tone(), torch.full((BINS,), -30.0)
    halved = refine(nothing, x_1, 0.1, estimate=2 * x_1, share=-0.5)
    assert error(halved, x_1) < 1e-6
    assert error(refine(nothing, x_1, 0.1, estimate=x_1, share=-7.0), 0 * x_1) < 1e-6


def test_a_gate_says_at_which_samples_all_this_counts():
    x_1, log_power = tone(), torch.full((BINS,), 0.0)
    gate = torch.zeros(PATCH)
    gate[:50], gate[50:60] = -1, -0.25
    change, gated = (refine(log_power, x_1, 0.5, gate=g).view(-1, PATCH) for g in (0.0, gate))
    assert not gated[:, :50].any()
    assert torch.allclose(gated[:, 50:60], change[:, 50:60] / 2)
    assert torch.equal(gated[:, 60:], change[:, 60:])


def test_an_opened_gate_lets_all_count_and_is_told_nothing_any_more():
    wiener = filter_of(2.0)
    with torch.no_grad():
        for parameter in wiener.gate.parameters():
            parameter.normal_()
    x_t, stream, t = tone(), torch.randn(1, TOKENS, 16), torch.tensor([0.5])
    given = (torch.zeros_like(x_t), x_t, t, stream)
    rest = (torch.zeros(1, 1, 16), torch.zeros(TOKENS, dtype=torch.long))
    with torch.no_grad():
        shut = wiener(*given, *rest)
    wiener.open_gate()
    opened = wiener(*given, *rest)
    opened.square().sum().backward()
    whole = filter_of(2.0)(*given, *rest)  # its gate is open, to begin with
    assert not torch.allclose(shut, whole)
    assert torch.equal(opened, whole)
    assert not any(parameter.grad.any() for parameter in wiener.gate.parameters())


def test_before_anything_is_learned_only_states_near_the_data_change_an_estimate():
    x_1 = tone()
    start = torch.full((BINS,), START)
    assert error(refine(start, x_1, 0.1), 0 * x_1) < 1e-4
    assert error(refine(start, x_1, 0.99), x_1) < 0.02
    assert error(refine(start, x_1, 0.0), 0 * x_1) == 0


@torch.no_grad()
def test_a_new_model_with_a_filter_begins_as_the_one_without():
    generator = torch.Generator().manual_seed(0)
    plain = initialize(WavFlow(PLAIN), generator=generator)
    filtered = WavFlow(replace(PLAIN, filter_windows=(WINDOW,)))
    initialize(filtered, generator=generator)
    filtered.load_state_dict(plain.state_dict(), strict=False)
    features = (torch.randn(2, 16, 64), torch.randn(2, 40, 128), torch.randn(2, 77, 64))
    x_t, t = torch.randn(2, 320, PATCH), torch.tensor([0.05, 0.3])
    made = [m(x_t, t, m.prepare_conditions(*features, 320)) for m in (plain, filtered)]
    assert 0 < (made[0] - made[1]).abs().max() < 0.05


@pytest.mark.parametrize("tokens", [1, 3, 160])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_learns_from_all_its_weights_in_any_type_and_length(tokens, dtype):
    model = WavFlow(replace(PLAIN, filter_windows=(WINDOW, 256)), dtype=dtype)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.02)
        parameter.requires_grad_(name.startswith("wiener"))
    features = (torch.randn(1, 8, 64), torch.randn(1, 8, 128), torch.randn(1, 77, 64))
    conditions = model.prepare_conditions(*(f.to(dtype) for f in features), tokens)
    x_t = torch.randn(1, tokens, PATCH).to(dtype)
    output = model(x_t, torch.tensor([0.5]), conditions)
    assert output.dtype == dtype
    assert output.isfinite().all()
    output.float().square().sum().backward()
    names = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}


def test_ratios_count_where_a_window_tells_partials_apart():
    model = WavFlow(replace(PLAIN, filter_windows=(2048, 1024, 1000, 256)))
    assert [one.power.ratios is not None for one in model.wiener.filters()] == [1, 1, 0, 0]


def test_a_window_holds_two_patches_and_refines_clean_estimates_alone():
    assert ModelConfig(filter_windows=(400, 1000)).filter_windows == (400, 1000)
    with pytest.raises(ConfigError, match=r"filter_windows is \(400, 300\).*two patches \(400\)"):
        ModelConfig(filter_windows=(400, 300))
    config = replace(get_preset("small_16k"), model=replace(PLAIN, filter_windows=(WINDOW,)))
    assert WavFlowConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ConfigError, match="prediction is 'v'; allowed: x, where filter_windows"):
        replace(config, flow=replace(config.flow, prediction="v"))
