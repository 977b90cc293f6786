"""Memory and speed of the full-size system: medium_16k with ViT-H and Synchformer.

Usage, from the project's folder: python -m benchmarks.full_size VIDEO [--folder DIR] [--steps 4]
[--preset medium_16k] [--device auto] [--dtype auto]

Writes random weights of full size into the folder (about 5 GB), then measures in a process of its
own each: loading the model, loading each encoder, and a whole generation. Loading may hold at most
1.15 times the weights' size.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from .processes import peak_memory, run_alone

ALLOWED = 1.15


def make(preset: str, folder: Path) -> dict[str, Path]:
    """Write random weights of full size, unless they are there."""
    import torch

    from wavflow_core.checkpoint import Checkpoint, write_checkpoint
    from wavflow_core.features import init_clip, init_synchformer
    from wavflow_core.model import WavFlow, initialize
    from wavflow_core.presets import get_preset

    files = {
        "model": folder / f"{preset}.safetensors",
        "clip": folder / "clip_vit_h.safetensors",
        "synchformer": folder / "synchformer.safetensors",
    }
    if not files["clip"].exists():
        init_clip("clip_vit_h", files["clip"], dtype=torch.float32)
    if not files["synchformer"].exists():
        init_synchformer("synchformer", files["synchformer"], dtype=torch.float32)
    if not files["model"].exists():
        config = get_preset(preset)
        generator = torch.Generator().manual_seed(0)
        model = initialize(WavFlow(config.model), generator=generator)
        for name, parameter in model.named_parameters():
            if not parameter.any():  # what training starts at zero would make silence
                bias = name.endswith("bias") or name.startswith("empty")
                std = 0.1 if bias or parameter.ndim < 2 else parameter[0].numel() ** -0.5
                torch.nn.init.normal_(parameter.data, std=std, generator=generator)
        write_checkpoint(Checkpoint(config=config, tensors=model.state_dict()), files["model"])
    return files


def load(kind: str, path: str, device: str, dtype: str) -> dict[str, float]:
    """Load one file and touch all of it."""
    import torch

    from wavflow_core import load_model
    from wavflow_core.devices import choose_device, choose_dtype
    from wavflow_core.features import load_clip, load_synchformer

    place = choose_device(device)
    options = {"device": place, "dtype": choose_dtype(dtype, place)}
    if kind.startswith("clip"):
        import open_clip  # noqa: F401  # what the library itself takes is not the weights'
    before, began = peak_memory(), time.perf_counter()
    if kind == "model":
        module = load_model(path, device=device, dtype=dtype).model
    elif kind == "synchformer":
        module = load_synchformer(path, **options)
    else:
        towers = ("visual", "text") if kind == "clip" else (kind.removeprefix("clip_"),)
        module = load_clip(path, towers=towers, **options)
    with torch.no_grad():
        size = sum(p.numel() * p.element_size() for p in module.parameters())
        _ = [float(p.sum()) for p in module.parameters()]
    seconds = time.perf_counter() - began
    return {"weights_mb": size / 2**20, "held_mb": peak_memory() - before, "seconds": seconds}


def generate(files: dict[str, Path], given: argparse.Namespace) -> dict[str, float]:
    """One clip, from the video to the sound."""
    import torch

    import wavflow_core

    began = time.perf_counter()
    stages: dict[str, tuple[float, float]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        now = time.perf_counter() - began
        stages[stage] = (stages.get(stage, (now, now))[0], now)

    model = wavflow_core.load_model(files["model"], device=given.device, dtype=given.dtype)
    encoders = wavflow_core.Encoders(
        model.config,
        clip=files["clip"],
        synchformer=files["synchformer"],
        device=model.device,
        dtype=model.dtype,
    )
    request = wavflow_core.Request(video=given.video, prompt="a drum is struck", duration=8.0)
    sampler = wavflow_core.SamplerConfig(steps=given.steps)
    [clip] = wavflow_core.generate(
        model, request, encoders=encoders, sampler=sampler, progress=progress
    )
    first, last = stages["sample"]
    result = {
        "encode_s": stages["encode"][1] - stages["encode"][0],
        "seconds_per_step": (last - first) / max(1, given.steps - 1),
        "total_s": time.perf_counter() - began,
        "peak_mb": peak_memory(),
        "samples": clip.waveform.shape[1],
        "level": float(clip.waveform.std()),
    }
    if model.device.type == "cuda":
        result["peak_cuda_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def measure(arguments: list[str]) -> dict[str, float]:
    """Figures of one stage in a process of its own."""
    return json.loads(run_alone("benchmarks.full_size", *arguments))


def main() -> int:
    """Measure everything, or one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--preset", default="medium_16k")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if given.stage == "generate":
            print(json.dumps(generate(make(given.preset, folder), given)))
            return 0
        if given.stage:
            path = make(given.preset, folder)[given.stage.split("_")[0]]
            print(json.dumps(load(given.stage, str(path), given.device, given.dtype)))
            return 0
        make(given.preset, folder)
        common = [str(given.video.resolve()), "--folder", str(folder.resolve())]
        common += ["--preset", given.preset, "--steps", str(given.steps)]
        common += ["--device", given.device, "--dtype", given.dtype]
        worst = 0.0
        for stage in ("model", "clip", "clip_visual", "clip_text", "synchformer"):
            figures = measure([*common, "--stage", stage])
            ratio = figures["held_mb"] / figures["weights_mb"]
            worst = max(worst, ratio)
            sizes = f"{figures['weights_mb']:.0f} MB of weights, {figures['held_mb']:.0f} MB held"
            print(f"{stage}: {sizes} ({ratio:.3f} times) in {figures['seconds']:.1f} s")
        for name, value in measure([*common, "--stage", "generate"]).items():
            print(f"generate: {name} = {value:.4g}")
    print(f"loading holds at most {worst:.3f} times the weights' size (allowed: {ALLOWED})")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
