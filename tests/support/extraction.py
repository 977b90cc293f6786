"""Clips, encoders and command lines for the tests of the extraction."""

import os
import subprocess
import sys
import wave
from pathlib import Path

from safetensors.torch import load_file

from support.media import make_sound, make_video, numbered, sine
from training.extract_features import main
from training.lock import NAME as LOCK
from training.manifest import Row, write_manifest
from wavflow_core.features.untrained import init_clip, init_synchformer
from wavflow_core.media.files import file_hash

ROOT = Path(__file__).parents[2]
RATE = 16000


def tiny_encoders(folder):
    """Write both encoders; gives the options that name them."""
    init_clip("clip_tiny", folder / "clip.safetensors")
    init_synchformer("synchformer_tiny", folder / "synchformer.safetensors")
    return [
        *("--clip", str(folder / "clip.safetensors")),
        *("--synchformer", str(folder / "synchformer.safetensors")),
        *("--device", "cpu", "--duration", "1"),
    ]


def tiny_video(path, seconds=1.0, number=0):
    """A video of 64 x 48 whose pictures differ from those of another number, with sound."""
    return make_video(
        path,
        fps=10,
        seconds=seconds,
        size=(64, 48),
        picture=lambda n, size: numbered(n + 16 * number, size),
        audio=sine(220 + number, seconds, RATE).numpy(),
        audio_rate=RATE,
    )


def tiny_sound(path, seconds=1.0):
    return make_sound(path, sine(440, seconds, RATE), RATE)


def empty_sound(path):
    """A valid header and not one sample."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
    return path


def mixed_rows(folder, count):
    """T2A, V2A and VT2A rows in turn."""
    rows = []
    for n in range(count):
        kind = n % 3
        row = {"id": f"clip{n:03d}", "caption": f'sound {n}, "loud"' if kind != 1 else ""}
        if kind:
            path = tiny_video(folder / f"clip{n:03d}.mp4", number=n)
            row |= {"video": path, "audio": path}
        else:
            row |= {"audio": tiny_sound(folder / f"clip{n:03d}.wav")}
        rows.append(Row(**row, has_video=kind > 0, has_text=kind != 1))
    return rows


def missing_rows(folder, count):
    """Rows whose video is not there."""
    sound = tiny_sound(folder / "missing.wav")
    return [Row(id=f"missing{n:02d}", video=folder / "none.mp4", audio=sound) for n in range(count)]


def manifest(path, rows):
    write_manifest(rows, path)
    return path


def extract(table, store, options, *more):
    """Run in this process; gives the exit code."""
    return main([str(table), "-o", str(store), *options, "--workers", "0", *map(str, more)])


def command(table, store, options, *more):
    """The command line that does it in a process of its own."""
    arguments = [str(table), "-o", str(store), *options, *map(str, more)]
    return [sys.executable, "-m", "training.extract_features", *arguments]


def environment():
    """One thread, so that sums are the same in every process."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(line, **options):
    return subprocess.run(
        line, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, **options
    )


def files(store):
    """Every file but the lock, which names the last run."""
    return [path for path in sorted(store.iterdir()) if path.name != LOCK]


def content(store):
    """What every file holds; short, and of shards by tensor, so that a difference says where."""
    return {path.name: summary(path) for path in files(store)}


def summary(path):
    """The file's hash with the sums of its tensors; of other files the bytes."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    sums = {name: value.double().sum().item() for name, value in load_file(path).items()}
    return {"file": file_hash(path), **sums}


def times(store):
    """When every file was written last."""
    return {path.name: path.stat().st_mtime_ns for path in files(store)}
