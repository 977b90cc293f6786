"""Peak memory of reading a 4K 60 fps two-minute video and an 8 s 480p one.

Usage, from the project's folder: python -m benchmarks.decode_memory [--seconds 120] [--keep FOLDER]

Makes both clips, reads each whole at 8 and 25 frames per second with the transforms of the model
in a process of its own, prints the peak resident memory of each, and fails if they differ by more
than 300 MB.
"""

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .processes import peak_memory, run_alone

ALLOWED = 300.0
SMALL, LARGE = (854, 480), (3840, 2160)
PATTERNS = 8


def make(path: Path, size: tuple[int, int], fps: int, seconds: float) -> None:
    """H.264 whose pictures repeat a few moving patterns."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    frames = []
    for n in range(PATTERNS):
        shade = ((x + 40 * n) // 64 * 37 + y // 64 * 53) % 256
        picture = np.stack([shade, shade[:, ::-1], 255 - shade], 2).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frames.append(frame.reformat(format="yuv420p"))
    with av.open(str(path), "w") as out:
        options = {"preset": "ultrafast", "tune": "fastdecode", "crf": "30"}
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 2 * fps
        for n in range(round(seconds * fps)):
            frame = frames[n // 4 % PATTERNS]
            frame.pts, frame.time_base = n, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def read(path: Path) -> None:
    """Read a clip whole and print counts, seconds and peak memory in MB."""
    import torch

    from wavflow_core.features.preprocess import clip_frame, sync_frame
    from wavflow_core.media.video import FrameRequest, open_video, stream_frames

    torch.set_num_threads(2)
    began, counts = time.perf_counter(), [0, 0]
    requests = [
        FrameRequest(fps=8, transform=lambda frame: clip_frame(frame, 384)),
        FrameRequest(fps=25, transform=sync_frame),
    ]
    for index, _, _ in stream_frames(open_video(path), requests):
        counts[index] += 1
    print(*counts, round(time.perf_counter() - began, 1), round(peak_memory(), 1))


def measure(path: Path) -> float:
    """Peak memory in MB of reading a clip in a fresh process."""
    printed = run_alone("benchmarks.decode_memory", "--read", str(path.resolve()))
    clip, sync, seconds, peak = printed.split()
    print(f"{path.name}: {clip} + {sync} frames in {seconds} s, peak {peak} MB")
    return float(peak)


def main() -> int:
    """Make, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the 4K clip")
    parser.add_argument("--keep", type=Path, help="folder for the clips, which then stay")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(given.read)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        small, large = folder / "480p24.mp4", folder / "4k60.mp4"
        for path, size, fps, seconds in (
            (small, SMALL, 24, 8.0),
            (large, LARGE, 60, given.seconds),
        ):
            if not path.exists():
                began = time.perf_counter()
                make(path, size, fps, seconds)
                print(f"made {path.name} in {time.perf_counter() - began:.0f} s")
        difference = measure(large) - measure(small)
    print(f"difference {difference:.1f} MB, allowed {ALLOWED:.0f} MB")
    return 0 if difference <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
