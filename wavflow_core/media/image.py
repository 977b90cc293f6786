"""Writing pictures: PNG, by ffmpeg's own encoder, so that no other package is needed."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from ..errors import MediaError
from .files import atomic_path

MAX_SIDE = 32767  # ffmpeg's encoders refuse wider and higher pictures


def png_bytes(image: Tensor) -> bytes:
    """A picture as the content of a PNG file, without loss.

    Args:
        image: (H, W, 3) uint8 RGB on any device.

    Raises:
        MediaError: The shape or type is another, or a side is longer than 32767 pixels.
    """
    shape = tuple(image.shape)
    if image.ndim != 3 or shape[2] != 3 or 0 in shape:
        raise MediaError(f"The image has shape {shape}; it must be (H, W, 3), H and W above 0.")
    if image.dtype != torch.uint8:
        raise MediaError(f"The image is {image.dtype}; it must be torch.uint8.")
    if max(shape) > MAX_SIDE:
        raise MediaError(
            f"The image is {shape[1]}x{shape[0]}; a side has at most {MAX_SIDE} pixels: draw less."
        )
    pixels = np.ascontiguousarray(image.detach().cpu().numpy())
    try:
        context = av.CodecContext.create("png", "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = shape[:2]
        context.pix_fmt = "rgb24"
        context.time_base = Fraction(1, 1)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        packets = [*context.encode(frame), *context.encode(None)]
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"The image cannot be encoded as PNG ({reason}).") from error
    return b"".join(bytes(packet) for packet in packets)


def write_png(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write a picture as a PNG file, whole or not at all.

    Args:
        image: (H, W, 3) uint8 RGB on any device.
        path: File to write, ending in ``.png``; its folder must exist.

    Raises:
        MediaError: The image is not such a picture, the suffix is another, or the file cannot be
            written.
    """
    name = os.fspath(path)
    if not name.lower().endswith(".png"):
        raise MediaError(f"Cannot write {name!r}: a picture's suffix must be .png.")
    content = png_bytes(image)
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise MediaError(
                f"Cannot write {name!r} ({error.strerror}); check the space on the disk."
            ) from error
