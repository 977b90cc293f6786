"""A PNG file holds exactly the picture that was given."""

import av
import numpy as np
import pytest
import torch

from wavflow_core.errors import MediaError
from wavflow_core.media.image import MAX_SIDE, png_bytes, write_png


def decoded(path):
    with av.open(str(path)) as container:
        [frame] = container.decode(video=0)
        assert frame.format.name == "rgb24"
        return torch.from_numpy(frame.to_ndarray(format="rgb24"))


def noise(height, width):
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (99, 201), (256, 512), (3, 4097)])
def test_a_picture_comes_back_bit_for_bit(tmp_path, size):
    image = noise(*size)
    write_png(image, tmp_path / "a.png")
    assert torch.equal(decoded(tmp_path / "a.png"), image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_view_with_strides_comes_back_bit_for_bit(tmp_path):
    image = noise(40, 60).transpose(0, 1)[::2]
    write_png(image, tmp_path / "a.png")
    assert torch.equal(decoded(tmp_path / "a.png"), image)


def test_the_bytes_are_a_png_of_one_image():
    content = png_bytes(noise(5, 7))
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert content.count(b"IHDR") == 1
    assert np.frombuffer(content[16:24], ">u4").tolist() == [7, 5]


def test_a_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.png"
    write_png(noise(4, 4), target)
    old = target.read_bytes()
    with pytest.raises(MediaError):
        write_png(torch.zeros(4, 4), target)
    assert target.read_bytes() == old


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.uint8), r"shape \(4, 4\); it must be \(H, W, 3\)"),
        (torch.zeros(4, 4, 4, dtype=torch.uint8), r"shape \(4, 4, 4\)"),
        (torch.zeros(0, 4, 3, dtype=torch.uint8), "H and W above 0"),
        (torch.zeros(4, 4, 3), "is torch.float32; it must be torch.uint8"),
        (torch.zeros(1, MAX_SIDE + 1, 3, dtype=torch.uint8), "32768x1; a side has at most 32767"),
    ],
)
def test_mistakes_are_explained(image, message):
    with pytest.raises(MediaError, match=message):
        png_bytes(image)


def test_another_suffix_and_a_missing_folder_are_explained(tmp_path):
    with pytest.raises(MediaError, match="suffix must be .png"):
        write_png(noise(4, 4), tmp_path / "a.jpg")
    with pytest.raises(MediaError, match="does not exist; create it first"):
        write_png(noise(4, 4), tmp_path / "none" / "a.png")


def test_the_largest_side_can_be_written():
    assert png_bytes(torch.zeros(1, MAX_SIDE, 3, dtype=torch.uint8))
