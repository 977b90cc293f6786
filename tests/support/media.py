"""Synthetic video and sound whose content says what it is."""

from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest
import torch

BITS = 12
FAST = {
    "libx264": {"crf": "10", "preset": "ultrafast"},
    "libx265": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "1M"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "1M"},
}


def numbered(n, size=(96, 64)):
    """A grey picture (H, W, 3) that spells n in black and white columns."""
    width, height = size
    picture = np.full((height, width, 3), 128, np.uint8)
    step = width // BITS
    for bit in range(BITS):
        picture[:, bit * step : (bit + 1) * step] = 235 if n >> bit & 1 else 20
    return picture


def number_of(picture):
    """The n of a decoded uint8 picture (3, H, W)."""
    step = picture.shape[2] // BITS
    row = picture[1, picture.shape[1] // 2, step // 2 :: step][:BITS]
    return sum(1 << bit for bit in range(BITS) if row[bit] > 128)


def quadrants(n, size=(96, 64)):
    """Red, green / blue, white: which side is up."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2, 0] = 255
    picture[: height // 2, width // 2 :, 1] = 255
    picture[height // 2 :, : width // 2, 2] = 255
    picture[height // 2 :, width // 2 :] = 255
    return picture


def sine(frequency, seconds, rate=48000, level=0.5, channels=1, phase=0.0):
    """A sine (C, T)."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    wave = level * torch.sin(2 * torch.pi * frequency * time + phase)
    return wave.to(torch.float32).expand(channels, -1).contiguous()


def make_video(
    path,
    *,
    fps=Fraction(24),
    seconds=1.0,
    times=None,
    offset=0,
    size=(96, 64),
    codec="libx264",
    gop=12,
    rotation=None,
    matrix=None,
    audio=None,
    audio_rate=16000,
    picture=numbered,
    options=None,
    container_options=None,
    metadata=None,
):
    """Write a video; frame n shows n, at ``times[n]`` or n / fps, plus ``offset``, in seconds."""
    fps = Fraction(fps)
    if times is None:
        times = [n / fps for n in range(round(seconds * fps))]
    fine = fps.denominator == 1 and not str(path).endswith("avi")
    ticks = 1 / (fps * 1000) if fine else 1 / Fraction(fps.numerator)
    settings = FAST.get(codec, {})
    with av.open(str(path), "w", options=container_options or {}) as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=fps, options={**settings, **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = ticks
        stream.codec_context.time_base = ticks
        stream.codec_context.gop_size = gop
        if (rotation or matrix) and not hasattr(stream, "set_display_matrix"):
            pytest.skip("this PyAV cannot write a display matrix")
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        sound = None
        if audio is not None:
            sound = out.add_stream("libopus" if str(path).endswith("webm") else "aac", audio_rate)
            sound.layout = "mono"
        for n, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(n, size), format="rgb24")
            frame.pts = round((Fraction(time) + Fraction(offset)) / ticks)
            frame.time_base = ticks
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), "fltp", "mono")
            frame.sample_rate = audio_rate
            frame.pts = 0
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def make_sound(path, waveform, rate, codec="pcm_f32le"):
    """Write a sound file without the code under test."""
    with av.open(str(path), "w") as out:
        layout = {1: "mono", 2: "stereo"}[waveform.shape[0]]
        stream = out.add_stream(codec, rate=rate, layout=layout)
        packed = np.ascontiguousarray(waveform.numpy().T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
        frame.sample_rate = rate
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def fps_filter(path, fps):
    """Numbers of the frames that ffmpeg's own filter gives, counted from the first frame's time."""
    shown, zero = [], None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream, time_base=stream.time_base)
        rate = graph.add("fps", str(fps))
        sink = graph.add("buffersink")
        source.link_to(rate)
        rate.link_to(sink)
        graph.configure()

        def pull():
            while True:
                try:
                    frame = graph.vpull()
                except (av.BlockingIOError, av.EOFError):
                    return
                picture = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                shown.append(number_of(picture.permute(2, 0, 1)))

        for frame in container.decode(stream):
            zero = frame.pts if zero is None else zero
            frame.pts -= zero
            if not frame.duration:
                frame.duration = round(1 / stream.average_rate / stream.time_base)
            graph.vpush(frame)
            pull()
        graph.vpush(None)
        pull()
    return shown


def packets(path):
    """Content and timing of the video packets, seconds from the first displayed."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [item for item in container.demux(stream) if item.size]
        zero = min(item.pts for item in found)
        return [
            (
                bytes(item),
                (item.pts - zero) * stream.time_base,
                None if item.dts is None else (item.dts - zero) * stream.time_base,
                item.is_keyframe,
            )
            for item in found
        ]
