"""What one partial says about the others."""

from __future__ import annotations

import math

import pytest
import torch

from wavflow_core.model.layers import LayerFactory
from wavflow_core.model.ratios import KINDS, OCTAVES, STEPS, RatioLayer, _tables

BINS, TIMES, CHANNELS, WIDTH = 1025, 6, 2, 8
HIGHEST = BINS - 1


def layer(scatter_steps=0, shown=KINDS):
    """One that shows in its first channel its first kind's pitch, scattered by some steps or as
    it is (``shown`` 0)."""
    made = RatioLayer(WIDTH, CHANNELS, LayerFactory(dtype=None, device=None))
    centre = STEPS * OCTAVES - 1
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.get_parameter("enter.weight")[0, 0] = 1
        made.gather[:, centre] = 1
        made.scatter[:, centre + scatter_steps] = 1
        made.get_parameter("leave.weight")[0, shown] = 1
    return made


def partial(frequency):
    """A peak of a few frequencies that lasts, in the first channel."""
    maps = torch.zeros(1, CHANNELS, TIMES, BINS)
    maps[0, 0] = 20 * torch.exp(-((torch.arange(BINS) - frequency) ** 2) / 8)
    return maps


@torch.no_grad()
def highest(made, maps):
    found = made(maps, torch.zeros(1, TIMES, WIDTH))
    return found[0, 0].argmax(-1).float().mean().item()


@pytest.mark.parametrize("frequency", [60, 131, 200, 333, 480])
@pytest.mark.parametrize("ratio", [0.5, 1.5, 2.0])
def test_a_partial_tells_of_others_at_the_same_ratio_at_every_pitch(frequency, ratio):
    steps = round(STEPS * math.log2(ratio))
    exact = frequency * 2 ** (steps / STEPS)
    found = highest(layer(steps), partial(frequency))
    assert abs(math.log2(found / exact)) < 1 / STEPS + 1 / exact


def test_a_pitch_is_where_the_partial_is():
    assert highest(layer(shown=0), partial(300)) == pytest.approx(300, rel=1 / STEPS)


def test_what_lies_above_all_frequencies_is_left_out():
    with torch.no_grad():
        made = layer(STEPS)(partial(800), torch.zeros(1, TIMES, WIDTH))
    assert made.abs().max() < 0.1
    with torch.no_grad():
        assert layer()(partial(800), torch.zeros(1, TIMES, WIDTH)).max() > 1


def test_the_stream_says_how_much_of_a_kind_there_is():
    made, stream = layer(), torch.zeros(1, TIMES, WIDTH)
    with torch.no_grad():
        full = made(partial(200), stream)
        made.get_parameter("modulation.bias")[0] = -0.25  # level of the first kind, halved
        assert torch.allclose(made(partial(200), stream), full / 2, atol=1e-6)


@torch.no_grad()
def test_what_is_seen_once_or_lasts_counts_at_all_times():
    made = layer()
    always, once = partial(200), partial(200)
    once[:, :, 1:] = 0
    stream = torch.zeros(1, TIMES, WIDTH)
    expected = made(always, stream)
    made.get_parameter("enter.weight").zero_()
    made.get_parameter("enter.weight")[2 * KINDS, 0] = 1
    assert torch.allclose(made(once, stream), expected)
    made.get_parameter("enter.weight").zero_()
    made.get_parameter("enter.weight")[KINDS, 0] = 1
    assert torch.allclose(made(always, stream), expected)
    assert made(once, stream).max() < expected.max()
    assert torch.equal(made(once, stream)[0, :, :1].expand(-1, TIMES, -1), made(once, stream)[0])


@torch.no_grad()
def test_the_scale_keeps_what_is_smooth():
    to_scale, from_scale = _tables(BINS, torch.zeros(0))
    assert torch.allclose(to_scale.sum(0), torch.ones(STEPS * OCTAVES), atol=1e-5)
    frequency = torch.arange(BINS).clamp(min=1)
    curve = torch.log2(frequency / HIGHEST)
    back = curve @ to_scale @ from_scale
    lowest = HIGHEST * 2 ** -(OCTAVES - 0.1)
    assert (back - curve)[frequency > lowest].abs().max() < 0.05


def test_it_begins_with_a_pitch_at_each_partial_and_says_nothing_yet():
    made = layer()
    made.reset_kernels(torch.Generator().manual_seed(0))
    centre = made.gather.shape[1] // 2
    assert (made.gather.argmax(1) == centre).all()
    assert 0.01 < made.scatter.std().item() < 0.03
