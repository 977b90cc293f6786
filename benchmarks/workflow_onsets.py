"""Onsets of what the example workflows make in ComfyUI, against those of the command line.

Usage, from the project's folder: COMFYUI_DIR=... COMFYUI_PYTHON=... python -m
benchmarks.workflow_onsets [--clips FOLDER] [--count 20] [--batch 1] [--steps N] [--only NAME ...]

Runs each workflow of workflows/api on the bundled model, with the videos and captions of FoleyWorld
clips of the test split, through a started ComfyUI server; makes the same sounds with `wavflow
generate` and the same seeds; and compares the F1 of the onsets at 50 ms against the clips' true
events. Fails where the two differ by more than 0.02. A workflow's batch of seeds is cut to --batch.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support import comfy
from training.evaluation.onsets import NONE, OnsetAgreement, detect_onsets, onset_f1
from training.foley_world.__main__ import main as make_clips
from training.foley_world.storage import read_truth
from wavflow_core.cli import main as wavflow
from wavflow_core.media.audio import read_audio

ALLOWED = 0.02
WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows" / "api"
SUFFIXES = {"WavFlowSaveAudio": ".flac", "SaveVideo": ".mp4"}
COLUMNS = ("id", "video_path", "caption", "video_exist", "text_exist")


def read_clips(folder: Path, count: int) -> list[dict]:
    """What is known of the first clips of a folder; they are made if they are not there."""
    assert make_clips([str(folder), "--split", "test", "--count", str(count)]) == 0
    return list(read_truth(folder).values())[:count]


def savers(prompt: dict) -> dict[str, str]:
    """Nodes that write sounds, each with the sampler that they come from."""
    found = {}
    for id, item in prompt.items():
        if item["class_type"] in SUFFIXES:
            source = id
            while prompt[source]["class_type"] != "WavFlowSampler":
                inputs = prompt[source]["inputs"]
                source = inputs["audio" if "audio" in inputs else "video"][0]
            found[id] = source
    return found


def for_clip(prompt: dict, clip: dict, given: argparse.Namespace) -> dict:
    """A workflow with the clip's video and caption."""
    changed = json.loads(json.dumps(prompt))
    for item in changed.values():
        kind, inputs = item["class_type"], item["inputs"]
        if kind == "WavFlowLoadVideo":
            inputs["file"] = f"{clip['id']}.mp4"
        elif kind == "WavFlowEncodeText":
            inputs["prompt"] = clip["caption"]
        elif kind == "WavFlowSampler":
            inputs["batch"] = min(inputs["batch"], given.batch)
            inputs["steps"] = given.steps or inputs["steps"]
    return changed


def run_nodes(server: comfy.Server, prompt: dict, clips: list[dict], given) -> dict:  # noqa: ANN001
    """Files of each saver and clip, from the server."""
    files = {}
    for clip in clips:
        result = server.run(for_clip(prompt, clip, given), seconds=3600)
        if not result.ok:
            raise SystemExit(f"ComfyUI failed: {result.error}")
        for saver in savers(prompt):
            one = comfy.Result({saver: result.outputs[saver]}, [])
            files[saver, clip["id"]] = sorted(server.files(one))
    return files


def run_command(folder: Path, saver: str, prompt: dict, clips: list[dict], clips_at: Path) -> dict:
    """Files of each clip, from the command line with the settings of the saver's sampler."""
    sampler = prompt[savers(prompt)[saver]]["inputs"]
    seen, read = "clip_features" in sampler, "text_features" in sampler
    folder.mkdir()
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for clip in clips:
            video = clips_at / f"{clip['id']}.mp4"
            rows.writerow((clip["id"], video.resolve(), clip["caption"], int(seen), int(read)))
    suffix = SUFFIXES[prompt[saver]["class_type"]]
    options = {name: sampler[name] for name in ("steps", "cfg", "solver", "seed")}
    options |= {"count": sampler["batch"], "loudness": sampler["loudness"] or "none"}
    options |= {"format": suffix, "device": "cpu", "csv": folder / "rows.csv", "output": folder}
    if sampler["noise_shift"]:
        options["noise-shift"] = sampler["noise_shift"]
    assert wavflow(["generate", *(f"--{name}={value}" for name, value in options.items())]) == 0
    seeds = range(sampler["seed"], sampler["seed"] + sampler["batch"])
    names = [""] if len(seeds) == 1 else [f"_{seed}" for seed in seeds]
    return {
        (saver, clip["id"]): [folder / f"{clip['id']}{name}{suffix}" for name in names]
        for clip in clips
    }


def measure(files: list[Path], clip: dict) -> OnsetAgreement:
    """Agreement of some sounds with a clip's true events."""
    times = [event["time"] for event in clip["events"]]
    total = NONE
    for file in files:
        total += onset_f1(detect_onsets(read_audio(file)), times)
    return total


def compare(name: str, saver: str, clips: list[dict], nodes: dict, command: dict) -> float:
    """Print what both came to, and return how far their F1 lie apart."""
    in_nodes, on_line = (
        sum((measure(files[saver, clip["id"]], clip) for clip in clips), NONE)
        for files in (nodes, command)
    )
    pairs = [pair for key in command for pair in zip(nodes[key], command[key], strict=True)]
    apart = 0.0
    for first, second in pairs:
        sounds = [read_audio(path).waveform.mean(dim=0) for path in (first, second)]
        length = min(map(len, sounds))
        apart = max(apart, float((sounds[0][:length] - sounds[1][:length]).abs().max()))
    print(
        f"{name:<28} node {saver:>2}: {len(pairs)} sounds; onset F1 {in_nodes.f1:.4f} with "
        f"{in_nodes.found} onsets in ComfyUI, {on_line.f1:.4f} with {on_line.found} by wavflow; "
        f"samples at most {apart:.2e} apart",
        flush=True,
    )
    return abs(in_nodes.f1 - on_line.f1)


def main() -> int:
    """Compare all workflows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of clips, made if they are not there")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1, help="seeds of a workflow at most")
    parser.add_argument("--steps", type=int, help="instead of each workflow's own")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the workflows")
    given = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips_at = given.clips or folder / "clips"
        clips = read_clips(clips_at, given.count)
        base = comfy.make_base(folder / "comfyui")
        for clip in clips:
            shutil.copy(clips_at / f"{clip['id']}.mp4", base / "input")
        server = comfy.Server(base)
        try:
            for path in sorted(WORKFLOWS.glob("*.json")):
                if given.only and path.stem not in given.only:
                    continue
                prompt = for_clip(json.loads(path.read_text()), clips[0], given)
                nodes = run_nodes(server, prompt, clips, given)
                for saver in savers(prompt):
                    made = folder / f"{path.stem}_{saver}"
                    command = run_command(made, saver, prompt, clips, clips_at)
                    worst = max(worst, compare(path.stem, saver, clips, nodes, command))
        finally:
            server.close()
    print(f"onset F1 differs by at most {worst:.4f} (allowed: {ALLOWED})")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
