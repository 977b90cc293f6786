"""The demonstration as a picture: frames, waveform with the true moments, spectrogram, prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from wavflow_core.media.audio import AudioClip
from wavflow_core.media.video import FrameRequest, VideoClip, stream_frames
from wavflow_core.picture import BACKGROUND, MARK, picture

WIDTH = 1200  # pixels of the picture
MARGIN = 20
INNER = WIDTH - 2 * MARGIN
SOUND_HEIGHT = 320
PROMPT_HEIGHT = 200
GAP = 12
LINE = 26  # of text
SCALE = 40  # onsets and seconds below a sound
JOINT = 28  # between frames and sound
FRAMES, LEAST_FRAMES = 8, 5
RATE = 100  # frames are chosen to a hundredth of a second

PAPER = (30, 28, 40)
INK = (226, 226, 236)
DIM = (150, 150, 170)
ONSET = (255, 170, 70)

Colour = tuple[int, int, int]


class Sheet:
    """A picture that grows downwards."""

    def __init__(self) -> None:
        self._strips: list[Image.Image] = []

    def add(self, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """A new strip below what is there, and a pen for it."""
        strip = Image.new("RGB", (WIDTH, height), PAPER)
        self._strips.append(strip)
        return strip, ImageDraw.Draw(strip)

    def whole(self) -> Tensor:
        """All strips as (H, 1200, 3) uint8 RGB."""
        rows = [np.array(strip) for strip in self._strips]
        return torch.from_numpy(np.concatenate(rows))


def draw_sheet(
    video: VideoClip,
    sound: AudioClip,
    *,
    title: str,
    caption: str,
    events: Sequence[float],
    onsets: Sequence[float],
    prompts: Sequence[tuple[str, AudioClip]],
) -> Tensor:
    """Draw the video with its new sound, and below it the sounds of the prompts.

    Args:
        video: What the sound was made for.
        sound: Made for it.
        title: Text above all.
        caption: What is to be seen.
        events: Seconds at which things touch in the video.
        onsets: Seconds of the onsets found in the sound.
        prompts: Prompts and what was made for them.

    Returns:
        (H, 1200, 3) uint8 RGB.

    Raises:
        MediaError: The video cannot be read, or a sound is empty.
    """
    sheet = Sheet()
    _write(sheet, title, INK, size=18)
    _write(sheet, caption, DIM, size=14)
    _draw_frames(sheet, video, sound.duration, events)
    strip, _ = sheet.add(SOUND_HEIGHT)
    _paste_sound(strip, sound, (MARGIN, 0), (INNER, SOUND_HEIGHT), marks=events)
    _draw_scale(sheet, sound.duration, onsets)
    _, pen = sheet.add(LINE)
    pen.text((MARGIN, 2), "green: things touch in the video", fill=MARK, font=_font(14))
    pen.text((MARGIN + 250, 2), "orange: onsets heard in the sound", fill=ONSET, font=_font(14))
    for text, clip in prompts:
        _write(sheet, f"text alone: {text!r}", INK, size=16)
        strip, _ = sheet.add(PROMPT_HEIGHT + GAP)
        _paste_sound(strip, clip, (MARGIN, 0), (INNER, PROMPT_HEIGHT))
    return sheet.whole()


def _write(sheet: Sheet, text: str, colour: Colour, *, size: int) -> None:
    _, pen = sheet.add(LINE + GAP)
    pen.text((MARGIN, GAP), text, fill=colour, font=_font(size))


def _draw_frames(sheet: Sheet, video: VideoClip, seconds: float, moments: Sequence[float]) -> None:
    """The frames of some moments side by side, each joined to its moment in the sound below."""
    shown = list(moments)[:FRAMES] or [0.0]
    side = INNER // max(len(shown), LEAST_FRAMES)
    height = max(1, round(side * video.height / video.width))
    strip, pen = sheet.add(height + JOINT)
    wanted = [int(RATE * moment) for moment in shown]
    request = FrameRequest(fps=RATE, transform=lambda frame: frame, limit=max(wanted) + 1)
    for _, index, frame in stream_frames(video, [request]):
        for place in (n for n, number in enumerate(wanted) if number == index):
            left = MARGIN + place * side
            pixels = frame.permute(1, 2, 0).contiguous().numpy()
            strip.paste(Image.fromarray(pixels).resize((side - 2, height)), (left, 0))
            pen.text((left + 6, 4), f"{shown[place]:.2f} s", fill=INK, font=_font(14))
            below = MARGIN + shown[place] / seconds * INNER
            pen.line((left + side / 2, height, below, height + JOINT), fill=MARK)


def _paste_sound(
    strip: Image.Image,
    clip: AudioClip,
    corner: tuple[int, int],
    size: tuple[int, int],
    *,
    marks: Sequence[float] = (),
) -> None:
    width, height = size
    waveform = clip.waveform.mean(dim=0)
    drawn = picture(waveform, clip.sample_rate, width=width, height=height, marks=marks)
    strip.paste(Image.fromarray(drawn.numpy()), corner)


def _draw_scale(sheet: Sheet, seconds: float, onsets: Sequence[float]) -> None:
    """Onsets as triangles, and below them the seconds."""
    strip, pen = sheet.add(SCALE)
    strip.paste(BACKGROUND, (MARGIN, 0, MARGIN + INNER, SCALE // 2))
    for onset in onsets:
        x = MARGIN + onset / seconds * INNER
        pen.polygon([(x, 2), (x - 5, 15), (x + 5, 15)], fill=ONSET)
    for second in range(int(seconds) + 1):
        x = MARGIN + second / seconds * INNER
        place = min(x, MARGIN + INNER - 24)
        pen.text((place, SCALE // 2 + 2), f"{second} s", fill=DIM, font=_font(13))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
