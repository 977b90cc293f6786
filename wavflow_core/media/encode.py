"""Encoding sound into a container, for sound files and for the sound of videos."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from torch import Tensor

from ..errors import MediaError
from .waveform import AudioClip, layout_name, resample

logger = logging.getLogger(__name__)

BLOCK = 16384
# By default so many bits per second and channel; AAC cannot use more than six per sample.
CHANNEL_BITRATE = 112_000
BITS_PER_SAMPLE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioCodec:
    """What an encoder takes.

    Attributes:
        name: Ffmpeg's name of the encoder.
        sample_format: Ffmpeg's name of packed or planar samples it takes.
        bits: Bits of whole-number samples; None for floats.
        rates: Sample rates it can hold, ascending; None for all.
        max_channels: Channels it can hold.
        lossy: Whether it has a bit rate.
        scales: Factors by which the encoder turns every sound down, up to which bits per second.
    """

    name: str
    sample_format: str
    bits: int | None = None
    rates: tuple[int, ...] | None = None
    max_channels: int = 8
    lossy: bool = False
    scales: tuple[tuple[int, float], ...] = ()

    def scale(self, bit_rate: int) -> float:
        """What the encoder multiplies every sound by at a bit rate."""
        return next((factor for limit, factor in self.scales if bit_rate <= limit), 1.0)


MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_RATES = (7350, *MP3_RATES, 64000, 88200, 96000)

AAC = AudioCodec(name="aac", sample_format="fltp", rates=AAC_RATES, lossy=True)
# LAME's presets leave some room for peaks; a level that was asked for shall be the file's.
MP3 = AudioCodec(
    name="libmp3lame",
    sample_format="fltp",
    rates=MP3_RATES,
    max_channels=2,
    lossy=True,
    scales=((176_000, 0.95), (208_000, 0.97), (240_000, 0.98)),
)
OPUS = AudioCodec(name="libopus", sample_format="flt", rates=(48000,), lossy=True)
FLAC_16 = AudioCodec(name="flac", sample_format="s16", bits=16)
FLAC_24 = AudioCodec(name="flac", sample_format="s32", bits=24)
PCM_16 = AudioCodec(name="pcm_s16le", sample_format="s16", bits=16)
PCM_24 = AudioCodec(name="pcm_s24le", sample_format="s32", bits=24)
PCM_FLOAT = AudioCodec(name="pcm_f32le", sample_format="flt")


def fit_rate(clip: AudioClip, codec: AudioCodec) -> AudioClip:
    """The sound at a rate the codec can hold: its own, or else the next one above.

    Raises:
        MediaError: The codec cannot hold so many channels.
    """
    channels = clip.waveform.shape[0]
    if channels > codec.max_channels:
        raise MediaError(
            f"{codec.name} holds at most {codec.max_channels} channels, the sound has {channels}; "
            "mix it down, or write .wav or .flac."
        )
    rates = codec.rates
    if rates is None or clip.sample_rate in rates:
        return clip
    rate = next((item for item in rates if item >= clip.sample_rate), rates[-1])
    logger.info("%s cannot hold %d Hz: written at %d Hz.", codec.name, clip.sample_rate, rate)
    return AudioClip(waveform=resample(clip.waveform, clip.sample_rate, rate), sample_rate=rate)


@contextlib.contextmanager
def open_output(
    path: Path,
    *,
    name: str,
    muxer: str,
    options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[OutputContainer]:
    """Open a container for writing; what goes wrong with it becomes a MediaError.

    Args:
        path: File to write, usually a temporary one.
        name: How messages call the file.
        muxer: Ffmpeg's name of the container.
        options: Ffmpeg's options of the container.
        metadata: Tags to write; the container may not know them all.
    """
    try:
        with av.open(
            os.fspath(path), mode="w", format=muxer, options=dict(options or {})
        ) as container:
            container.metadata.update(metadata or {})
            yield container
    except MediaError:
        raise
    except (FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"Cannot write {name} ({reason}); check the space on the disk, or write another format."
        ) from error


def add_sound(
    container: OutputContainer, codec: AudioCodec, clip: AudioClip, *, bitrate: int | None = None
) -> AudioStream:
    """Add a stream for a sound whose rate fits the codec (:func:`fit_rate`)."""
    channels = clip.waveform.shape[0]
    stream = container.add_stream(codec.name, rate=clip.sample_rate, layout=layout_name(channels))
    assert isinstance(stream, AudioStream)
    stream.codec_context.format = codec.sample_format
    if codec.lossy:
        usual = channels * min(CHANNEL_BITRATE, BITS_PER_SAMPLE * clip.sample_rate)
        stream.bit_rate = usual if bitrate is None else bitrate
    return stream


def encode_sound(stream: AudioStream, codec: AudioCodec, clip: AudioClip) -> Iterator[Packet]:
    """Encode a whole sound block by block, its first sample at time zero."""
    context = stream.codec_context
    context.open(strict=False)
    size = context.frame_size or BLOCK
    waveform = clip.waveform.detach().cpu()
    if codec.scales:
        waveform = waveform / codec.scale(stream.bit_rate or 0)
    for start in range(0, waveform.shape[1], size):
        samples = _quantise(waveform[:, start : start + size], codec.bits)
        if not codec.sample_format.endswith("p"):
            samples = samples.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format=codec.sample_format, layout=stream.layout.name
        )
        frame.sample_rate = clip.sample_rate
        frame.pts = start
        frame.time_base = Fraction(1, clip.sample_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def warn_if_clipped(clip: AudioClip, codec: AudioCodec) -> None:
    """Say how many samples are above full scale, where the codec has whole numbers."""
    clipped = int((clip.waveform.abs() > 1).sum()) if codec.bits else 0
    if clipped:
        logger.warning("%d samples above full scale were clipped.", clipped)


def _quantise(waveform: Tensor, bits: int | None) -> np.ndarray:
    """Samples (C, T) as the encoder takes them: floats, or integers rounded and clipped."""
    if bits is None:
        return waveform.numpy()
    full = 2 ** (bits - 1)
    values = (waveform.to(torch.float64) * full).round().clamp(-full, full - 1)
    if bits == 16:
        return values.to(torch.int16).numpy()
    return (values.to(torch.int32) * 2 ** (32 - bits)).numpy()
