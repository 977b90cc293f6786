"""How a video frame becomes the picture that an encoder reads; the only place that does it.

Pictures are resized as 8-bit integers. Resizing them as floats and rounding afterwards gives
levels that differ by up to ten, because the integer filter rounds after each direction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FeatureError

SYNC_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_frame(frame: Tensor, size: int) -> Tensor:
    """Resize a frame to a square for CLIP; the aspect ratio is given up, nothing is cut off.

    Args:
        frame: RGB picture ``(3, H, W)``, uint8.
        size: Side of the square in pixels.

    Returns:
        ``(3, size, size)``, uint8, on the CPU.

    Raises:
        FeatureError: The frame is not an RGB picture of unsigned bytes.
    """
    return _resize(_checked(frame), size, size)


def sync_frame(frame: Tensor, size: int = SYNC_SIZE) -> Tensor:
    """Resize the short side of a frame for Synchformer and cut the square in the middle.

    Args:
        frame: RGB picture ``(3, H, W)``, uint8.
        size: Side of the square in pixels.

    Returns:
        ``(3, size, size)``, uint8, on the CPU.

    Raises:
        FeatureError: The frame is not an RGB picture of unsigned bytes.
    """
    height, width = _checked(frame).shape[1:]
    short, long = sorted((height, width))
    long = int(size * long / short)
    height, width = (size, long) if height <= width else (long, size)
    resized = _resize(frame, height, width)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resized[:, top : top + size, left : left + size]


def normalize_clip(frames: Tensor) -> Tensor:
    """Scale pictures to the colour statistics that CLIP was trained with.

    Args:
        frames: ``(..., 3, H, W)``, uint8.

    Returns:
        The same shape in fp32, on the same device.
    """
    mean = torch.tensor(CLIP_MEAN, device=frames.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=frames.device).view(3, 1, 1)
    return (frames.float() / 255 - mean) / std


def normalize_sync(frames: Tensor) -> Tensor:
    """Scale pictures to -1..1, as Synchformer was trained.

    Args:
        frames: ``(..., 3, H, W)``, uint8.

    Returns:
        The same shape in fp32, on the same device.
    """
    return (frames.float() / 255 - 0.5) / 0.5


def _checked(frame: Tensor) -> Tensor:
    if frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[0] != 3 or 0 in frame.shape:
        raise FeatureError(
            f"A frame of shape {tuple(frame.shape)} and type {frame.dtype} was given; "
            "it must be an RGB picture (3, H, W) of torch.uint8."
        )
    return frame


def _resize(frame: Tensor, height: int, width: int) -> Tensor:
    if frame.shape[1:] == (height, width):
        return frame.cpu()
    # The integer filter exists on the CPU alone.
    picture = frame.cpu().unsqueeze(0)
    return F.interpolate(picture, (height, width), mode="bicubic", antialias=True)[0]
