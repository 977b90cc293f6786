"""Every setting that a training run can have."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from wavflow_core.checkpoint import WEIGHTS
from wavflow_core.config import (
    AudioConfig,
    EncoderConfig,
    FlowConfig,
    ModelConfig,
    SamplerConfig,
    WavFlowConfig,
)
from wavflow_core.errors import ConfigError

from .precision import PRECISIONS

CROPS = ("random", "start")
SCHEDULES = ("constant", "cosine", "step")
STRATEGIES = ("ddp", "fsdp")


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; allowed: {allowed}.")


def _at_least(section: str, config: object, minimum: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        fits = math.isfinite(value) and value >= minimum
        _require(fits, f"{section}.{name}", value, f"{minimum:g} or more")


def _share(section: str, config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(0 <= value <= 1, f"{section}.{name}", value, "0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is trained on.

    Attributes:
        train: Manifests with features, or folders made by the extraction.
        repeat: Manifests of clips of ``train`` that come once more in each round, such as those of
            a kind that is learned badly; named twice, twice more.
        validation: The same for the validation loss and the samples; () takes neither from data
            that is not trained on, and the samples from the training data.
        crop: ``random`` or ``start``: which window of a longer clip.
        drop_video: Chance that a clip's CLIP and sync features are dropped together.
        drop_text: Chance that its caption is dropped, independently.
        overfit: Train on the first so many clips alone, with one noise each, without dropping
            anything and always from the start: a first check that all fits together. 0: off.
        workers: Processes that read beside the training, in each process of it; 0: none.
        cache_gb: Memory for sounds that were read, in each process of the training.
        max_failures: Share of the clips that may be unreadable.
        name: What the data are called in the checkpoint.
        license: Licence of the weights, for the checkpoint.
    """

    train: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    crop: str = "random"
    drop_video: float = 0.1
    drop_text: float = 0.1
    overfit: int = 0
    workers: int = 2
    cache_gb: float = 1.0
    max_failures: float = 0.01
    name: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        _require(self.crop in CROPS, "data.crop", self.crop, ", ".join(CROPS))
        _share("data", self, "drop_video", "drop_text", "max_failures")
        _at_least("data", self, 0, "overfit", "workers", "cache_gb")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """What is added to the loss of the flow.

    Attributes:
        mel_weight: Of the distance of log-mel spectra between the clean estimate and the data,
            times t: in the noise there is no estimate to speak of.
        perceptual: File of a network that hears what begins when, see
            :mod:`~training.event_network`; None: no such part.
        perceptual_weight: Of the distance of what it hears in the clean estimate and in the data,
            see :class:`~training.perceptual_loss.PerceptualLoss`.
    """

    mel_weight: float = 0.0
    perceptual: str | None = None
    perceptual_weight: float = 0.3

    def __post_init__(self) -> None:
        _at_least("loss", self, 0, "mel_weight", "perceptual_weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """How the weights move.

    Attributes:
        steps: Optimizer steps of the whole training.
        batch_size: Clips per step, over all processes.
        micro_batch: Clips per process that are computed at once; None: its whole share.
        lr: Learning rate after the warm-up.
        base_lr: Instead of ``lr``: it becomes base_lr · batch_size / 256.
        betas: Of AdamW.
        eps: Of AdamW.
        weight_decay: Of weights with two axes or more.
        warmup_steps: Steps over which the rate rises linearly.
        schedule: ``constant``, ``cosine`` to ``final_lr``, or ``step``.
        final_lr: Where ``cosine`` ends, as a share of the rate.
        milestones: Steps at which ``step`` multiplies the rate by ``decay``.
        decay: See ``milestones``.
        clip_norm: Largest norm of all gradients together.
        freeze: Modules of the network that stay as they begin, such as ``audio_input_proj``.
    """

    steps: int = 100_000
    batch_size: int = 64
    micro_batch: int | None = None
    lr: float = 1e-4
    base_lr: float | None = None
    betas: tuple[float, ...] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 1000
    schedule: str = "constant"
    final_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    clip_norm: float = 1.0
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _at_least("optim", self, 1, "steps", "batch_size")
        _at_least("optim", self, 0, "lr", "weight_decay", "warmup_steps", "decay")
        _require(0 < self.eps < 1, "optim.eps", self.eps, "a number above 0 and below 1")
        _share("optim", self, "final_lr")
        _require(self.clip_norm > 0, "optim.clip_norm", self.clip_norm, "a number above 0")
        _require(self.schedule in SCHEDULES, "optim.schedule", self.schedule, ", ".join(SCHEDULES))
        two = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _require(two, "optim.betas", self.betas, "two numbers from 0 to below 1")
        if self.micro_batch is not None:
            _at_least("optim", self, 1, "micro_batch")
        if self.base_lr is not None:
            _at_least("optim", self, 0, "base_lr")

    @property
    def peak_lr(self) -> float:
        """The rate after the warm-up."""
        return self.lr if self.base_lr is None else self.base_lr * self.batch_size / 256


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """Averages of the weights over the steps.

    Attributes:
        decays: One average each. The decay after n updates is min(decay, (1 + n) / (10 + n)).
    """

    decays: tuple[float, ...] = (0.9999, 0.9996)

    def __post_init__(self) -> None:
        fits = all(0 < decay < 1 for decay in self.decays) and len(set(self.decays)) == len(
            self.decays
        )
        _require(fits, "ema.decays", self.decays, "different numbers above 0 and below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionConfig:
    """Where and how it is computed.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``bf16`` multiplies matrices in bf16 (autocast); weights stay in fp32.
        strategy: ``ddp`` (weights on every process) or ``fsdp`` (each holds a share).
        compile: Compile the transformer's blocks.
        checkpoint_activations: Compute activations again in the backward pass: less memory for a
            third more work.
        seed: Of the weights, the order, the crops, the noise and the times. Give another one than
            ``start.weights`` were trained with, who know its noise by heart.
    """

    device: str = "auto"
    precision: str = "fp32"
    strategy: str = "ddp"
    compile: bool = False
    checkpoint_activations: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("strategy", STRATEGIES)):
            value = getattr(self, name)
            _require(value in allowed, f"execution.{name}", value, ", ".join(allowed))
        _at_least("execution", self, 0, "seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class StartConfig:
    """What the training begins with, where its folder holds no state to resume from.

    Attributes:
        weights: File of any state dictionary with names of ours: a checkpoint, a ``.pth`` of the
            published system, a latent model with the same backbone. None: from nothing.
        choice: Which weights of a ``.pth``: ``live``, ``ema``, ``ema2`` or ``auto``.
        pass_through: Let new weights begin by passing the state on, see
            :func:`~wavflow_core.model.pass_through.pass_through`; for the prediction of x.
        open_gates: Let the Wiener filters count at every sample, for good, see
            :meth:`~wavflow_core.model.wiener.WienerFilter.open_gate`.
    """

    weights: str | None = None
    choice: str = "auto"
    pass_through: bool = False
    open_gates: bool = False

    def __post_init__(self) -> None:
        _require(self.choice in WEIGHTS, "start.choice", self.choice, ", ".join(WEIGHTS))


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """What is written while it runs; 0 turns something off.

    Attributes:
        log_every: Steps between two lines of the log.
        save_every: Steps between two states; one is always saved at the end.
        keep: States that stay.
        validate_every: Steps between two validation losses.
        validation_clips: Clips of the validation data that are looked at.
        sample_every: Steps between two sets of samples.
        samples: Sounds in a set.
        sample_steps: Sampling steps.
        sample_cfg: Guidance of the samples.
        tensorboard: Write event files too, where tensorboard is installed.
    """

    log_every: int = 10
    save_every: int = 1000
    keep: int = 3
    validate_every: int = 1000
    validation_clips: int = 256
    sample_every: int = 5000
    samples: int = 4
    sample_steps: int = 25
    sample_cfg: float = 4.5
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _at_least("output", self, 1, "log_every", "keep", "sample_steps", "validation_clips")
        _at_least("output", self, 0, "save_every", "validate_every", "sample_every", "samples")
        try:
            self.sampler  # noqa: B018
        except ConfigError as error:
            raise ConfigError(f"output.sample_{error}") from error

    @property
    def sampler(self) -> SamplerConfig:
        """How the samples are made."""
        return SamplerConfig(steps=self.sample_steps, cfg=self.sample_cfg)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run."""

    audio: AudioConfig
    model: ModelConfig
    flow: FlowConfig
    clip: EncoderConfig
    sync: EncoderConfig
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    start: StartConfig = field(default_factory=StartConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    @property
    def wavflow(self) -> WavFlowConfig:
        """What the checkpoint will say about itself."""
        return WavFlowConfig(
            audio=self.audio, model=self.model, flow=self.flow, clip=self.clip, sync=self.sync
        )

    def to_dict(self) -> dict[str, object]:
        """Plain nested dictionaries that :func:`~.settings.build_config` accepts."""
        return dataclasses.asdict(self)
