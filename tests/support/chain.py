"""The whole way from clips to a checkpoint, with the programs that a user would run."""

from support.extraction import tiny_video
from support.launch import write_settings
from support.training import TINY_RUN
from training.export import main as export
from training.extract_features import main as extract
from training.make_manifest import main as make_manifest
from training.train import main as train


def train_checkpoint(folder, clip, synchformer, *, count=3):
    """Make clips, list them, encode them, train a little, export; gives the checkpoint."""
    clips = folder / "clips"
    clips.mkdir()
    for number in range(count):
        tiny_video(clips / f"clip{number}.mp4", number=number)
        (clips / f"clip{number}.txt").write_text(f'a sound, "number {number}", is heard')
    assert make_manifest([str(clips), "-o", str(folder / "clips.csv")]) == 0
    store = folder / "store"
    encoders = ["--clip", str(clip), "--synchformer", str(synchformer)]
    options = [*encoders, "--device", "cpu", "--duration", "1", "--workers", "0"]
    assert extract([str(folder / "clips.csv"), "-o", str(store), *options]) == 0
    settings = {**TINY_RUN, "data": {"train": [str(store)], "workers": 0, "name": "made clips"}}
    path = write_settings(settings, folder / "run.yaml")
    assert train([str(path), "-o", str(folder / "run")]) == 0
    checkpoint = folder / "trained.safetensors"
    assert export([str(folder / "run"), "-o", str(checkpoint)]) == 0
    return checkpoint
