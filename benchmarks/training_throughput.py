"""Speed and memory of the training: clips per second, peak memory, share of the peak arithmetic.

Usage, from the project's folder, with one card for all figures in one call:

    python -m benchmarks.training_throughput [--preset medium_16k --preset large_44k]
        [--device auto] [--micro-batch N] [--steps 10] [--precision bf16] [--output report.json]

Every preset is measured with and without compiled blocks, in a process of its own, on features
and sounds of random numbers: loss, gradients, clipping, AdamW and two averages, as
`training.train` does them. Where the memory does not suffice, the batch is halved. Without a card:

    python -m benchmarks.training_throughput --estimate

says what follows from the model alone: operations per clip, the memory of weights and optimizer,
and what the forward pass keeps for the backward pass.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.build import share_out
from training.config import ExecutionConfig, OptimConfig
from training.data import TrainBatch
from training.distributed import World
from training.ema import Average
from training.log import memory_gib
from training.optim import make_optimizer
from training.step import TrainingStep, checkpoint_blocks
from wavflow_core.conditions import FeatureBatch, prepare_batch
from wavflow_core.devices import choose_device
from wavflow_core.model import WavFlow, initialize
from wavflow_core.presets import get_preset

from .processes import run_alone

GIBIBYTE = 2**30
# Dense bf16 operations per second, from the makers' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
BATCHES = {"medium_16k": 32, "medium_44k": 8, "large_16k": 16, "large_44k": 8}
BYTES_PER_VALUE = 4 + 4 + 8 + 8  # weight, gradient, two moments, two averages, all in fp32


def random_batch(
    preset: str, size: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> TrainBatch:
    """Clips of random numbers, a tenth of the modalities missing."""
    config = get_preset(preset)
    model, lengths = config.model, config.lengths(config.audio.window)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(size, *shape, device=device, dtype=dtype)

    def there() -> torch.Tensor:
        return torch.rand(size, device=device) > 0.1

    return TrainBatch(
        ids=tuple(map(str, range(size))),
        x_1=normal(lengths.tokens, model.patch_size),
        x_0=normal(lengths.tokens, model.patch_size),
        t=torch.full((size,), 0.5, device=device),
        features=FeatureBatch(
            clip=normal(lengths.clip_frames, model.clip_dim),
            sync=normal(lengths.sync_tokens, model.sync_dim),
            text=normal(model.text_tokens, model.text_dim),
            has_clip=there(),
            has_sync=there(),
            has_text=there(),
        ),
    )


def operations(preset: str) -> int:
    """Floating-point operations of a forward and backward pass of one clip; 2 for multiply-add."""
    config = get_preset(preset)
    device = torch.device("meta")
    step = TrainingStep(WavFlow(config.model, device=device), config.flow)
    with FlopCounterMode(display=False) as counter:
        step(random_batch(preset, 1, device)).mean().backward()
    return counter.get_total_flops()


def kept(preset: str, *, checkpointed: bool) -> int:
    """Bytes that the forward pass of one clip in bf16 keeps for the backward pass."""
    config = get_preset(preset)
    device = torch.device("meta")
    model = WavFlow(config.model, device=device, dtype=torch.bfloat16)
    if checkpointed:
        checkpoint_blocks(model)
    weights = {id(parameter) for parameter in model.parameters()}
    seen: dict[int, int] = {}
    held = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in weights:
            held.append(base)  # so that no other takes its number
            seen[id(base)] = base.numel() * base.element_size()
        return tensor

    batch = random_batch(preset, 1, device, torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        conditions = prepare_batch(model, batch.features, num_tokens=batch.x_1.shape[1])
        model(batch.x_1, batch.t, conditions)
    # What enters a block that is computed again is kept where the hooks do not see it.
    lengths = config.lengths(config.audio.window)
    streams = lengths.tokens + lengths.clip_frames + config.model.text_tokens
    rows = config.model.joint_depth * streams + config.model.fused_depth * lengths.tokens
    inputs = rows * config.model.hidden_dim * batch.x_1.element_size()
    return sum(seen.values()) + (inputs if checkpointed else 0)


def measure(preset: str, given: argparse.Namespace, *, compiled: bool) -> dict[str, object]:
    """Train some steps; halve the batch where the memory does not suffice."""
    device = choose_device(given.device)
    size = given.micro_batch or BATCHES.get(preset, 4)
    while True:
        try:
            return _measure(preset, given, size=size, compiled=compiled, device=device)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _measure(
    preset: str, given: argparse.Namespace, *, size: int, compiled: bool, device: torch.device
) -> dict[str, object]:
    config = get_preset(preset)
    generator = torch.Generator().manual_seed(0)
    model = initialize(WavFlow(config.model), generator=generator).to(device)
    execution = ExecutionConfig(compile=compiled, checkpoint_activations=given.checkpoint)
    stepper = share_out(
        TrainingStep(model, config.flow, precision=given.precision),
        execution,
        World(rank=0, size=1, device=device),
    )
    optimizer = make_optimizer(model, OptimConfig(), device=device)
    averages = [Average(model, decay=decay) for decay in (0.9999, 0.9996)]
    batch = random_batch(preset, size, device)
    times = []
    for _ in range(given.warmup + given.steps):
        begun = time.perf_counter()
        stepper(batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for average in averages:
            average.update(model)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    seconds = sorted(times[given.warmup :])[given.steps // 2]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    rate = size / seconds
    return {
        "preset": preset,
        "device": name,
        "compiled": compiled,
        "checkpointed": given.checkpoint,
        "precision": given.precision,
        "micro_batch": size,
        "seconds_per_step": seconds,
        "first_step_seconds": times[0],
        "clips_per_second": rate,
        "peak_memory_gib": memory_gib(device),
        "operations_per_clip": operations(preset),
        "model_flop_utilisation": peak and rate * operations(preset) / peak,
    }


def estimate(preset: str) -> dict[str, object]:
    """What follows from the model alone."""
    model = WavFlow(get_preset(preset).model, device="meta")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "preset": preset,
        "parameters": parameters,
        "teraflop_per_clip": operations(preset) / 1e12,
        "weights_and_optimizer_gib": parameters * BYTES_PER_VALUE / GIBIBYTE,
        "kept_per_clip_gib": kept(preset, checkpointed=False) / GIBIBYTE,
        "kept_per_clip_checkpointed_gib": kept(preset, checkpointed=True) / GIBIBYTE,
    }


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--checkpoint", action="store_true", help="recompute activations")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=("plain", "compiled"), help=argparse.SUPPRESS)
    return parser


def child_arguments(given: argparse.Namespace, preset: str, only: str) -> list[str]:
    """The options of the process that takes one measurement."""
    arguments = [f"--preset={preset}", f"--only={only}", f"--device={given.device}"]
    arguments += [f"--steps={given.steps}", f"--warmup={given.warmup}"]
    arguments += [f"--precision={given.precision}"]
    if given.micro_batch:
        arguments.append(f"--micro-batch={given.micro_batch}")
    if given.checkpoint:
        arguments.append("--checkpoint")
    return arguments


def main() -> int:
    """Measure or estimate, and print JSON."""
    given = build_parser().parse_args()
    presets = given.preset or ["medium_16k", "large_44k"]
    if given.only:
        print(json.dumps(measure(presets[0], given, compiled=given.only == "compiled")))
        return 0
    results = []
    for preset in presets:
        if given.estimate:
            results.append(estimate(preset))
            print(json.dumps(results[-1], indent=2))
            continue
        for only in ("plain", "compiled"):
            arguments = child_arguments(given, preset, only)
            line = run_alone("benchmarks.training_throughput", *arguments)
            results.append(json.loads(line))
            print(json.dumps(results[-1], indent=2), flush=True)
    if given.output:
        given.output.write_text(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
