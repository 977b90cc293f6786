"""The picture of a sound shows what is there, where it is."""

import math
import time

import pytest
import torch

from wavflow_core.errors import MediaError
from wavflow_core.picture import CLIPPING, LOWEST, MARK, WAVEFORM_SHARE, picture

RATE = 16000
WIDTH, HEIGHT = 512, 256
ABOVE = round(HEIGHT * WAVEFORM_SHARE)
BELOW = HEIGHT - ABOVE


def sine(frequency, seconds=2.0, amplitude=0.5, rate=RATE):
    return amplitude * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)) / rate)


def brightness(image):
    return image.sum(dim=2).float()


def row_of(frequency, rate=RATE):
    octaves = math.log(frequency / LOWEST) / math.log(rate / 2 / LOWEST)
    return ABOVE + (BELOW - 1) * (1 - octaves)


@pytest.mark.parametrize("frequency", [100, 440, 1000, 3000, 7000])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_sine_shines_at_the_row_of_its_frequency(frequency, rate):
    below = brightness(picture(sine(frequency, rate=rate), rate))[ABOVE:]
    shining = below[:, WIDTH // 4 : -WIDTH // 4].mean(dim=1)
    rows = (shining == shining.max()).nonzero().float().mean().item() + ABOVE
    # A window of 0.05 s tells frequencies 20 Hz apart, which are many rows low down.
    blur = row_of(frequency, rate) - row_of(frequency + 12, rate)
    assert rows == pytest.approx(row_of(frequency, rate), abs=1 + blur)


def test_an_impulse_shines_at_its_column_in_both_halves():
    sound = torch.zeros(8 * RATE)
    sound[3 * RATE] = 1.0
    light = brightness(picture(sound, RATE))
    column = 3 / 8 * WIDTH
    assert light[:ABOVE].sum(dim=0).argmax().item() == pytest.approx(column, abs=1)
    shining = light[ABOVE:].sum(dim=0)
    shining = (shining - shining.min()).clamp_min(0)
    centre = (shining * (torch.arange(WIDTH) + 0.5)).sum() / shining.sum()
    assert centre.item() == pytest.approx(column, abs=1)


def test_an_impulse_is_not_lost_in_a_long_sound():
    sound = torch.zeros(300 * RATE)
    sound[123 * RATE + 77] = 0.9
    light = brightness(picture(sound, RATE, width=128))[ABOVE:].sum(dim=0)
    assert light.argmax().item() == pytest.approx(123 / 300 * 128, abs=1)


def test_silence_is_dark_and_flat():
    image = picture(torch.zeros(RATE), RATE)
    assert (image[ABOVE:] == image[ABOVE, 0]).all()
    assert brightness(image[ABOVE:]).max() < 0.15 * 3 * 255
    assert (brightness(image[:ABOVE]).amax(dim=1) > 0.5 * 3 * 255).sum() <= 2


def test_a_louder_sound_fills_more_of_the_upper_half():
    def filled(amplitude):
        light = brightness(picture(sine(440, amplitude=amplitude), RATE))[:ABOVE]
        return (light > 250).sum().item()

    assert filled(0.8) / filled(0.4) == pytest.approx(2, rel=0.1)


def test_clipping_is_red_at_its_columns_alone():
    sound = sine(50, amplitude=0.5)
    sound[RATE : RATE + 400] = 1.0
    image = picture(sound, RATE)
    red = (image == torch.tensor(CLIPPING, dtype=torch.uint8)).all(dim=2).any(dim=0).nonzero()
    assert red.min() == WIDTH // 2
    assert red.max() == pytest.approx(WIDTH // 2 + 400 / (2 * RATE) * WIDTH, abs=1)


def test_marks_are_vertical_lines_and_those_outside_are_left_out():
    image = picture(torch.zeros(4 * RATE), RATE, marks=[1.0, -3.0, 4.0, 9.0])
    marked = (image == torch.tensor(MARK, dtype=torch.uint8)).all(dim=2).all(dim=0).nonzero()
    assert marked.flatten().tolist() == [WIDTH // 4]


@pytest.mark.parametrize("samples", [1, 2, 100, 511, 513, 16001])
def test_any_length_is_drawn(samples):
    image = picture(torch.rand(samples) * 2 - 1, RATE, width=200, height=99)
    assert image.shape == (99, 200, 3)
    assert image.dtype == torch.uint8


def test_what_is_not_finite_is_drawn_as_silence():
    silence = torch.zeros(RATE)
    broken = silence.clone()
    broken[::3], broken[1::3], broken[2::3] = torch.nan, torch.inf, -torch.inf
    assert torch.equal(picture(broken, RATE), picture(silence, RATE))


def test_the_argument_is_not_changed():
    sound = torch.full((RATE,), torch.nan)
    picture(sound, RATE)
    assert sound.isnan().all()


def test_a_half_precision_tensor_with_a_gradient_is_drawn():
    sound = torch.rand(RATE, dtype=torch.bfloat16, requires_grad=True)
    assert picture(sound, RATE).shape == (HEIGHT, WIDTH, 3)


def test_colours_rise_in_even_steps_of_lightness():
    from wavflow_core.picture import _colours

    linear = (_colours().double() / 255) ** 2.2
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    assert (luminance[8:].diff() > -1e-3).all()
    assert luminance[-1] > 0.8


def test_a_live_picture_costs_little():
    sound = torch.rand(8 * RATE) - 0.5
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            picture(sound, RATE)
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 0.03 * 3  # measured alone it is under 0.03; the margin is for busy hosts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 5), RATE, {}), r"shape \(2, 5\); it must be \(T,\)"),
        ((torch.zeros(0), RATE, {}), r"shape \(0,\)"),
        ((torch.zeros(9), 60, {}), "sample_rate is 60"),
        ((torch.zeros(9), RATE, {"width": 3}), "3x256; it must be 16 or more"),
    ],
)
def test_mistakes_are_explained(arguments, message):
    waveform, rate, settings = arguments
    with pytest.raises(MediaError, match=message):
        picture(waveform, rate, **settings)
