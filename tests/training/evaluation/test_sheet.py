"""The sheet shows a row for each sound, result left and original right."""

import pytest
import torch

from training.evaluation.sheet import GAP, HEIGHT, MAX_ROWS, WIDTH, draw_row, stack_rows
from wavflow_core.errors import MediaError
from wavflow_core.media.audio import AudioClip
from wavflow_core.picture import MARK


def noise(seconds, rate=16000, channels=1):
    generator = torch.Generator().manual_seed(0)
    shape = channels, int(seconds * rate)
    return AudioClip(waveform=0.1 * torch.randn(shape, generator=generator), sample_rate=rate)


def marked(image):
    mark = torch.tensor(MARK, dtype=torch.uint8)
    return (image == mark).all(dim=2).all(dim=0).nonzero().flatten().tolist()


def test_a_row_has_the_result_left_and_the_original_right():
    row = draw_row(noise(4), noise(4, rate=48000, channels=2), marks=[1.0], original_marks=[2.0])
    assert row.shape == (HEIGHT, 2 * WIDTH + GAP, 3)
    assert marked(row) == [WIDTH // 4, WIDTH + GAP + WIDTH // 2]


def test_both_have_the_same_time_axis():
    row = draw_row(noise(2), noise(4), marks=[1.0], original_marks=[1.0])
    assert marked(row) == [WIDTH // 4, WIDTH + GAP + WIDTH // 4]


def test_a_result_alone_fills_the_row_or_leaves_room():
    assert draw_row(noise(1), columns=1).shape == (HEIGHT, WIDTH, 3)
    row = draw_row(noise(1))
    assert row.shape == (HEIGHT, 2 * WIDTH + GAP, 3)
    assert (row[:, WIDTH + GAP :] == row[0, -1]).all()


def test_long_sounds_are_cut():
    row = draw_row(noise(40), columns=1, marks=[15.0, 35.0])
    assert marked(row) == [WIDTH // 2]


def test_rows_are_stacked_with_lines_between():
    row = draw_row(noise(1), columns=1)
    assert stack_rows([row]).shape == row.shape
    sheet = stack_rows([row] * 3)
    assert sheet.shape == (3 * HEIGHT + 2 * GAP, WIDTH, 3)
    assert torch.equal(sheet[-HEIGHT:], row)
    assert sheet.dtype == torch.uint8


@pytest.mark.parametrize("count", [0, MAX_ROWS + 1])
def test_the_number_of_rows_is_limited(count):
    with pytest.raises(MediaError, match=f"cannot have {count} rows; it has 1 to {MAX_ROWS}"):
        stack_rows([torch.zeros(2, 2, 3, dtype=torch.uint8)] * count)
